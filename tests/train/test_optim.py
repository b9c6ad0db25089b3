"""Muon beside torch's own; which weights it takes; how it makes matrices orthogonal."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import gpt
from torch import nn

from limelight.models.build import build
from limelight.models.presets import preset
from limelight.train.optim import Muon, optimizers, orthogonal


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24), st.sampled_from([1e-6, 1.0, 1e6]), st.integers(0, 99))
def test_singular_values_are_about_one(count: int, rows: int, columns: int, size: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    few = min(rows, columns)
    left = torch.linalg.qr(torch.randn(count, rows, few, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(count, columns, few, generator=generator)).Q
    values = size * torch.empty(count, 1, few).uniform_(0.1, 1, generator=generator)
    made = orthogonal((left * values) @ right.transpose(1, 2))
    along = left.transpose(1, 2) @ made @ right  # in the same singular vectors: diagonal
    diagonal = along.diagonal(dim1=1, dim2=2)
    assert ((diagonal > 0.6) & (diagonal < 1.3)).all()
    assert torch.allclose(along, torch.diag_embed(diagonal), atol=1e-3)


def test_nothing_to_learn_moves_nothing() -> None:
    assert orthogonal(torch.zeros(2, 3, 5)).eq(0).all()


@pytest.mark.parametrize("shapes", [[(8, 8), (8, 8), (8, 8)], [(6, 12), (12, 6), (6, 12)]])
def test_as_torch_has_it(shapes: list[tuple[int, int]]) -> None:
    torch.manual_seed(1)
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    muon = Muon(ours, 0.1, torch.bfloat16)
    peer = torch.optim.Muon(theirs, lr=0.0, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        for group in (*muon.param_groups, *peer.param_groups):
            group["lr"] = 0.02 / (1 + step)
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        muon.step()
        peer.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, other, atol=1e-3)  # products are rounded to bfloat16 in another order


def test_matrices_below_each_other_are_moved_each_on_its_own() -> None:
    torch.manual_seed(2)
    gates = [nn.Parameter(torch.randn(6, 9)) for _ in range(4)]
    cell = nn.Parameter(torch.cat([gate.detach() for gate in gates]))
    for gate in gates:
        gate.grad = torch.randn_like(gate)
    cell.grad = torch.cat([gate.grad for gate in gates if gate.grad is not None])
    for muon in (Muon(gates, 0.1, torch.float32), Muon([{"params": [cell], "stacked": 4}], 0.1, torch.float32)):
        muon.param_groups[0]["lr"] = 0.02
        muon.step()
    assert torch.allclose(cell, torch.cat(list(gates)), atol=1e-6)


@pytest.mark.parametrize(("name", "gates"), [("lstm-attention", 4), ("gru", 3), ("rnn", 1)])
def test_muon_takes_cells_gate_by_gate(name: str, gates: int) -> None:
    network = build(preset(name, 20, width=16, context=16, dropout=0.0))
    _, muon = optimizers(network, "muon", (0.9, 0.98), 1e-9, 0.1, torch.float32)
    stacked = {id(p): group["stacked"] for group in muon.param_groups for p in group["params"]}
    cells = [m for m in network.modules() if isinstance(m, nn.RNNBase)]
    found = {stacked[id(p)] for m in cells for p in m.parameters() if p.dim() == 2}
    assert found == {gates}


def test_what_muon_takes() -> None:
    network = gpt(20)
    adamw, muon = optimizers(network, "muon", (0.9, 0.98), 1e-9, 0.1, torch.float32)
    taken = {id(p) for p in muon.param_groups[0]["params"]}
    names = {name for name, p in network.named_parameters() if id(p) in taken}
    assert names == {
        name for name, p in network.named_parameters() if name.startswith("decoder.blocks") and p.dim() == 2
    }
    rest = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert len(taken) + len(rest) == len(list(network.parameters()))
    (alone,) = optimizers(network, "adamw", (0.9, 0.98), 1e-9, 0.1, torch.float32)
    assert [group["weight_decay"] for group in alone.param_groups] == [0.1, 0.0]

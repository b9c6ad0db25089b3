"""Recurrent units: the parallel form against the recurrence of the papers, and against itself word by word."""

import pytest
import torch
from torch import Tensor

from limelight.nn.cells import Cells, MinGRU
from limelight.nn.delta import GatedDeltaNet
from limelight.nn.mamba import Mamba, Mamba2
from limelight.nn.positions import Positions
from limelight.nn.rwkv import FASTEST, ChannelMix, TimeMix, corrected_attention
from limelight.nn.unit import CausalConv, GroupedRMSNorm, RecurrentUnit, linear_attention, scan

WIDTH, T = 32, 150  # more than two chunks
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


UNITS = {
    "mamba": lambda: Mamba(WIDTH, 48, 8, 3, 4, bias=True, conv_bias=True),
    "mamba2": lambda: Mamba2(WIDTH, 64, 8, 4, 2, 4, bias=False, conv_bias=True, eps=1e-5, steps=(0.0, 1.0)),
    "delta": lambda: GatedDeltaNet(WIDTH, 2, 8, 4, 16, 4, eps=1e-6),
    "mingru": lambda: MinGRU(WIDTH, 40),
    "lstm": lambda: Cells(WIDTH, 40, "lstm"),
    "gru": lambda: Cells(WIDTH, 40, "gru"),
    "time-mix": lambda: TimeMix(WIDTH, 8, (4, 4, 4, 4), eps=1e-4, leads=True),
    "channel-mix": lambda: ChannelMix(WIDTH, 48),
}


def of(counts: Tensor | None) -> Positions:
    """The positions of a text of which so many are real; units ask for nothing else."""
    return Positions(torch.arange(T), T, counts=counts)


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest) -> RecurrentUnit:
    torch.manual_seed(0)
    made = UNITS[request.param]()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return made


@torch.inference_mode()
def test_word_by_word_and_in_pieces_equals_at_once(unit: RecurrentUnit) -> None:
    x = drawn(2, T, WIDTH)
    zero = unit.cache(2, T, x.dtype, x.device).tensors
    at_once, last = unit.read(x, zero, of(None))
    assert at_once.std() > 0.1
    for cuts in ([1] * T, [1, 70, 2, T - 73]):
        carried, outs = zero, []
        for piece in x.split(cuts, 1):
            out, carried = unit.read(piece, carried, of(None))
            outs.append(out)
        torch.testing.assert_close(torch.cat(outs, 1), at_once, rtol=1e-5, atol=1e-5 * float(at_once.abs().max()))
        for found, expected in zip(carried, last, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@torch.inference_mode()
def test_padding_changes_nothing_that_is_carried(unit: RecurrentUnit) -> None:
    x = drawn(4, 80, WIDTH)
    before = tuple(drawn(4, *shape, seed=1) * 0.3 for shape in unit.carries)
    counts = torch.tensor([80, 71, 2, 0])
    out, after = unit.read(x, before, of(counts))
    for row, count in enumerate(counts.tolist()):
        own = tuple(tensor[row : row + 1] for tensor in before)
        alone, carried = unit.read(x[row : row + 1, :count], own, of(None)) if count else (x[:1, :0], own)
        torch.testing.assert_close(out[row : row + 1, :count], alone, **CLOSE)
        for found, expected in zip(after, carried, strict=True):
            torch.testing.assert_close(found[row : row + 1], expected, **CLOSE)


def test_the_scan_is_the_recurrence_and_so_is_its_gradient() -> None:
    for length in (1, 2, 7, 50):
        keep, new = drawn(2, length, 3, seed=1).double().sigmoid(), drawn(2, length, 3, seed=2).double()
        before = drawn(2, 3, seed=3).double()
        inputs = [tensor.requires_grad_() for tensor in (keep, new, before)]
        state, states = before, []
        for t in range(length):
            state = keep[:, t] * state + new[:, t]
            states.append(state)
        expected, found = torch.stack(states, 1), scan(keep, new, before)
        torch.testing.assert_close(found, expected)
        slope = drawn(2, length, 3, seed=4).double()
        pairs = (torch.autograd.grad(out, inputs, slope) for out in (found, expected))
        for ours, plain in zip(*pairs, strict=True):
            torch.testing.assert_close(ours, plain)


@torch.inference_mode()
def test_a_minimal_gru_is_the_recurrence_of_the_paper() -> None:
    torch.manual_seed(0)
    unit, x = MinGRU(WIDTH, 40), drawn(2, 9, WIDTH)
    h, states = torch.zeros(2, 40), []
    for t in range(9):
        z = unit.gate(x[:, t]).sigmoid()
        h = (1 - z) * h + z * unit.new(x[:, t])
        states.append(h)
    found, after = unit.read(x, unit.cache(2, 9, x.dtype, x.device).tensors, of(None))
    torch.testing.assert_close(found, unit.out(torch.stack(states, 1)))
    torch.testing.assert_close(after[0], h)


@pytest.mark.parametrize("delta", [False, True])
def test_linear_attention_is_the_recurrence_and_so_is_its_gradient(delta: bool) -> None:
    B, G, H, N, P = 2, 2, 4, 6, 5
    q, k, v = drawn(B, T, G, N, seed=1), drawn(B, T, G, N, seed=2), drawn(B, T, H, P, seed=3)
    k = k / k.norm(dim=-1, keepdim=True)
    fall, beta = -drawn(B, T, H, seed=4).exp(), drawn(B, T, H, seed=5).sigmoid()
    inputs = [x.double().requires_grad_() for x in (q, k, v, fall, drawn(B, H, N, P, seed=6), beta)]
    q, k, v, fall, state, beta = inputs
    found, last = linear_attention(q, k, v, fall, state, beta if delta else None)
    outs = []
    for t in range(T):
        asked, key = (x[:, t].repeat_interleave(H // G, 1) for x in (q, k))  # [B, H, N]
        state = fall[:, t].exp()[..., None, None] * state
        value = v[:, t]
        if delta:
            value = beta[:, t, :, None] * (value - (key[..., None, :] @ state)[..., 0, :])
        state = state + key[..., None] * value[..., None, :]
        outs.append((asked[..., None, :] @ state)[..., 0, :])
    torch.testing.assert_close(found, torch.stack(outs, 1))
    torch.testing.assert_close(last, state)
    wanted = inputs if delta else inputs[:-1]
    ours, plain = (torch.autograd.grad(out.square().sum(), wanted) for out in (found, torch.stack(outs, 1)))
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_corrected_attention_is_the_recurrence_and_so_is_its_gradient() -> None:
    B, H, N, P = 2, 3, 6, 5
    q, k, v, written = (drawn(B, T, H, size, seed=seed) for seed, size in enumerate((N, N, P, N)))
    removed = torch.nn.functional.normalize(drawn(B, T, H, N, seed=4), dim=-1)
    fall, written = FASTEST * drawn(B, T, H, N, seed=5).sigmoid(), removed * written.sigmoid()
    inputs = [x.double().requires_grad_() for x in (q, k, v, fall, removed, written, drawn(B, H, N, P, seed=6))]
    found, last = corrected_attention(*inputs)
    q, k, v, fall, removed, written, state = inputs
    outs = []
    for t in range(T):
        gone = torch.einsum("bhn,bhnp->bhp", removed[:, t], state)
        state = fall[:, t, :, :, None].exp() * state - written[:, t, :, :, None] * gone[:, :, None]
        state = state + k[:, t, :, :, None] * v[:, t, :, None]
        outs.append(torch.einsum("bhn,bhnp->bhp", q[:, t], state))
    expected = torch.stack(outs, 1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(last, state)
    ours, plain = (torch.autograd.grad(out.square().sum(), inputs) for out in (found, expected))
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_what_falls_fastest_all_the_time_is_exact_still() -> None:
    fall = torch.full((1, T, 1, 4), FASTEST)
    q, k, v = (drawn(1, T, 1, 4, seed=seed) for seed in range(3))
    removed = torch.nn.functional.normalize(drawn(1, T, 1, 4, seed=3), dim=-1)
    inputs = q, k, v, fall, removed, 0.5 * removed, drawn(1, 1, 4, 4, seed=4)
    exact, _ = corrected_attention(*(x.double() for x in inputs))
    torch.testing.assert_close(corrected_attention(*inputs)[0].double(), exact, rtol=1e-5, atol=1e-5)


def test_a_state_that_falls_to_nothing_gives_numbers() -> None:
    fall = torch.full((1, T, 1), -200.0, requires_grad=True)
    q, k, v = drawn(1, T, 1, 4, seed=1), drawn(1, T, 1, 4, seed=2), drawn(1, T, 1, 4, seed=3)
    out, _ = linear_attention(q, k, v, fall, drawn(1, 1, 4, 4), torch.ones(1, T, 1))
    out.sum().backward()
    torch.testing.assert_close(out, (q * k).sum(-1, keepdim=True) * v)  # each position hears itself alone
    assert fall.grad is not None
    assert fall.grad.isfinite().all()


def test_the_convolution_is_torchs() -> None:
    conv = CausalConv(6, 4, bias=True)
    x, before = drawn(2, 9, 6), drawn(2, 3, 6, seed=1)
    found, after = conv.read(x, before, None)
    torch.testing.assert_close(found, conv(torch.cat((before, x), 1).mT).mT)
    torch.testing.assert_close(after, x[:, -3:])


def test_a_grouped_norm_is_one_norm_for_each_part() -> None:
    norm, x = GroupedRMSNorm(12, 1e-5, 3), drawn(2, 5, 12)
    torch.nn.init.normal_(norm.weight)
    parts = [part / (part.square().mean(-1, keepdim=True) + 1e-5).sqrt() for part in x.split(4, -1)]
    torch.testing.assert_close(norm(x), torch.cat(parts, -1) * norm.weight)


def test_what_is_left_is_exact_beside_what_fell_long_ago() -> None:
    fall = torch.full((1, 30, 1), -1e-3)
    fall[:, :20] = -50.0
    q, k, v = drawn(1, 30, 1, 4, seed=1), drawn(1, 30, 1, 4, seed=2), drawn(1, 30, 1, 4, seed=3)
    inputs = q, k, v, fall, drawn(1, 1, 4, 4)
    exact, _ = linear_attention(*(x.double() for x in inputs))
    found, _ = linear_attention(*inputs)
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=2e-6)

"""What is learned from, beside the same sums written out: answers, marked spans, liked answers, vectors."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_models import gpt
from torch import Tensor, nn

from limelight.errors import RequestError
from limelight.train import contrast, preference
from limelight.train.batches import IGNORE, Batch, Stream
from limelight.train.gaps import wanted
from limelight.train.loop import _shares
from limelight.train.loss import Answering, Marking
from limelight.train.optim import Average, Muon, optimizers, orthogonal
from limelight.train.parallel import World
from limelight.train.prepare import held_out
from limelight.train.settings import Settings


class Says(nn.Module):
    """A network that says the same of every batch."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, tokens: Tensor, lengths: Tensor, types: Tensor) -> Tensor:
        assert types.tolist() == [[7]]  # the batch's own are passed on
        return self.scores


def batch(targets: list[Any], lengths: list[int] | None = None) -> Batch:
    held = torch.tensor(lengths or [1] * len(targets))
    return Batch(torch.zeros(len(targets), 1), torch.tensor(targets), lengths=held, types=torch.tensor([[7]]))


def test_the_right_label_is_learned_smoothly() -> None:
    shares = [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]
    network: Any = Says(torch.tensor(shares).log())
    learned, plain = Answering(network, 0.3)(batch([0, IGNORE, 2]))
    right = -math.log(0.5) - math.log(0.6)
    spread = -sum(math.log(share) for row in (shares[0], shares[2]) for share in row) / 3
    assert plain.item() == pytest.approx(right)
    assert learned.item() == pytest.approx(0.7 * right + 0.3 * spread)
    assert Answering(network, 0.0)(batch([0, IGNORE, 2])).tolist() == pytest.approx([right, right])
    learned.backward()
    assert network.scores.grad[1].eq(0).all()
    assert network.scores.grad[0].ne(0).all()


def test_of_each_label_is_learned_whether_it_fits() -> None:
    fits = torch.tensor([[0.9, 0.25], [0.6, 0.5]])
    network: Any = Says(fits.logit())
    learned, plain = Answering(network, 0.3)(batch([[1.0, 0.0], [0.0, float(IGNORE)]]))
    assert learned.item() == plain.item() == pytest.approx(-math.log(0.9 * 0.75 * 0.4) / 2)
    learned.backward()
    assert network.scores.grad.flatten().tolist() == pytest.approx([-0.05, 0.125, 0.3, 0])


def test_the_ends_of_an_answer_are_learned_among_the_tokens_of_its_row() -> None:
    begins, ends = [[0.5, 0.25, 0.25], [0.75, 0.25, 9.0]], [[0.2, 0.2, 0.6], [0.9, 0.1, 9.0]]  # the 9s are padding
    network: Any = Says(torch.tensor([begins, ends]).permute(1, 2, 0).log())
    learned, plain = Marking(network)(batch([[0, 2], [1, IGNORE]], [3, 2]))
    assert learned.item() == plain.item() == pytest.approx(-math.log(0.5 * 0.6 * 0.25) / 2)


@pytest.mark.parametrize("chunk", [1, 2, 512])
def test_liked_answers_are_learned_as_dpo_has_it(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(preference, "CHUNK", chunk)
    network = gpt(20)
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]])
    targets = torch.tensor([[2, IGNORE, 4], [IGNORE] * 3, [IGNORE, 9, 1], [IGNORE, 3, IGNORE]])
    shares = network.logits(network.read(tokens)).log_softmax(-1)
    said = torch.stack([shares[0, 0, 2] + shares[0, 2, 4], shares[0, 0, 0] * 0, shares[2, 1, 9] + shares[2, 2, 1]])
    said = torch.cat((said, shares[3, 1, 3][None]))
    reference = torch.tensor([-5.0, 0.0, -7.0, -3.0])
    data = Batch(tokens, targets, reference=reference)
    torch.testing.assert_close(preference.likely(network, data), said)
    learned, plain = preference.Preferring(network, 0.5)(data)
    margin = (said[0] + 5) - (said[2] + 7)
    wanted = -F.logsigmoid(0.5 * margin)  # the second pair asks for nothing
    assert learned.item() == plain.item() == pytest.approx(wanted.item())
    for ours, theirs in zip(
        torch.autograd.grad(learned, [*network.parameters()]),
        torch.autograd.grad(wanted, [*network.parameters()]),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    found = preference.judged(network, data)
    gained = said.detach() - reference
    torch.testing.assert_close(found.margins, gained[:2] - gained[2:])
    assert not found.margins.requires_grad
    assert (found.gained, found.tokens) == (pytest.approx(float(gained[:2].sum())), 2)
    nothing = Batch(tokens, torch.full_like(targets, IGNORE))
    assert preference.likely(network, nothing).tolist() == [0, 0, 0, 0]


def test_texts_of_one_label_are_drawn_together(monkeypatch: pytest.MonkeyPatch) -> None:
    found = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [0.8, 0.6]], requires_grad=True)
    monkeypatch.setattr(contrast, "vectors", lambda network, batch: (found, None))
    network: Any = nn.Identity()
    loss = contrast.Contrasting(network)
    # alike: 0 and 1, cosine 0.6; different: 0 and 2, 0, and 1 and 2, 0.8; the fourth asks for nothing
    learned, plain = loss(batch([3, 3, 5, IGNORE]))
    assert learned.item() == plain.item() == pytest.approx(3 * (0.4**2 + (0 + 0.8**2) / 2) / 2)
    assert loss(batch([3, 3, IGNORE, IGNORE]))[0].item() == pytest.approx(2 * 0.4**2)
    lone = loss(batch([3, IGNORE, IGNORE, IGNORE]))[0]
    lone.backward()
    assert (lone.item(), found.grad is not None and found.grad.eq(0).all()) == (0, True)


def test_a_fit_is_where_the_penalised_loss_is_flat() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.8, 0.2], [0.0, 1.0], [-1.0, 0.5], [-0.5, -1.0]])
    labels = torch.tensor([0, 0, 1, 2, 1])
    with torch.no_grad():  # it learns nevertheless
        weights, biases = contrast.fit(rows, labels, 3)
    wrong = (rows @ weights.T + biases).softmax(-1) - F.one_hot(labels, 3)
    assert (weights.dtype, biases.dtype, weights.shape) == (torch.float32, torch.float32, (3, 2))
    torch.testing.assert_close(wrong.T @ rows, -weights, rtol=0, atol=1e-4)
    torch.testing.assert_close(wrong.sum(0), torch.zeros(3), rtol=0, atol=1e-4)


def test_a_matrix_of_one_number_goes_through_five_rounds() -> None:
    x = 1.0
    for _ in range(5):
        x = 3.4445 * x - 4.775 * x**3 + 2.0315 * x**5
    assert orthogonal(torch.tensor([[[4.0]], [[-0.5]]])).flatten().tolist() == pytest.approx([x, -x], rel=1e-3)
    still, moved = (nn.Parameter(torch.tensor([[2.0]])) for _ in range(2))
    moved.grad = torch.tensor([[3.0]])
    muon = Muon([still, moved], 0.1, torch.float32)
    assert muon.defaults["lr"] == 0.0
    muon.param_groups[0]["lr"] = 0.5
    muon.step()
    assert still.item() == 2
    assert moved.item() == pytest.approx(2 * (1 - 0.5 * 0.1) - 0.5 * 0.2 * x, rel=1e-3)
    assert muon.state[moved]["momentum"].item() == pytest.approx(0.05 * 3)


def test_adamw_is_made_as_asked_and_of_what_learns() -> None:
    network = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 2)).requires_grad_(False)
    assert optimizers(network, "adamw", (0.8, 0.9), 1e-3, 0.2, torch.float32) == []
    network[0].requires_grad_(True)
    (made,) = optimizers(network, "adamw", (0.8, 0.9), 1e-3, 0.2, torch.float32)
    (group,) = made.param_groups
    assert {name: group[name] for name in ("lr", "betas", "eps", "weight_decay", "fused")} == {
        "lr": 0.0,
        "betas": (0.8, 0.9),
        "eps": 1e-3,
        "weight_decay": 0.0,
        "fused": True,
    }


def test_the_average_forgets_where_it_began() -> None:
    network = nn.Linear(1, 1)
    network.bias.requires_grad_(False)
    nn.init.constant_(network.weight, 8)
    average = Average(network, 0.75)
    assert list(average.weights) == ["weight"]
    for step, now, mean in ((1, 4, 6), (2, 0, 4), (9, 8, 5)):  # by 1/2, 1/3, and no less than 1 − 0.75
        nn.init.constant_(network.weight, now)
        average.update(network, step)
        assert average.weights["weight"].item() == pytest.approx(mean)
    with average.inside(network):
        assert network.weight.item() == pytest.approx(5)
    assert network.weight.item() == 8


def test_about_a_seventh_of_the_tokens_are_gaps() -> None:
    assert {n: wanted(n) for n in (0, 1, 3, 9, 11, 100)} == {0: 0, 1: 1, 3: 1, 9: 1, 11: 2, 100: 15}


@pytest.mark.parametrize(
    ("share", "examples", "held"), [(0.1, 2, 1), (0.1, 26, 3), (0.5, 3, 2), (0.01, 10**6, 2000), (0.01, 10, 1)]
)
def test_a_share_of_the_examples_is_held_out(share: float, examples: int, held: int) -> None:
    assert held_out(Settings("generate", held_out=share), examples) == held


@pytest.mark.parametrize("examples", [0, 1])
def test_some_examples_must_be_left(examples: int) -> None:
    said = rf"^the text makes too few examples \({examples}\) to keep some from training; name validation files, or"
    with pytest.raises(RequestError, match=said + " lower context if a window of text is an example$"):
        held_out(Settings("generate"), examples)


def test_processes_share_a_batch_part_by_part() -> None:
    stream = Stream(np.arange(50, dtype=np.uint16), 4)
    shares = [
        [*_shares(stream, np.arange(7), 1, 2, World(rank, 2, torch.device("cpu")))] for rank in (0, 1)
    ]  # windows begin at 4 n + 3 in this epoch
    found = [[part.tokens[:, 0].tolist() for part in parts] for parts in shares]
    assert found == [[[3, 19], [7, 23]], [[11, 27], [15]]]
    (full, empty) = _shares(stream, np.array([2]), 0, 2, World(0, 1, torch.device("cpu")))
    assert (full.tokens[:, 0].tolist(), empty.tokens[:, 0].tolist()) == ([8], [8])
    assert full.targets.tolist() == [[9, 10, 11, 12]]
    assert empty.targets.tolist() == [[IGNORE] * 4]

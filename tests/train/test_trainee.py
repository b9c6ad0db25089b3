"""A step: the gradient of the mean loss of all targets, clipped, taken by the optimiser; and a state that is whole."""

import hashlib
import itertools
from typing import Any

import pytest
import torch
from small_models import gpt, translator
from torch import Tensor
from torch.nn.functional import cross_entropy

from limelight.models.api import Network
from limelight.train.batches import IGNORE, Batch
from limelight.train.parallel import World
from limelight.train.settings import Settings
from limelight.train.trainee import Trainee

VOCAB = 11
ALONE = World(0, 1, torch.device("cpu"))


def trainee(network: Network, **options: Any) -> Trainee:
    plain = {"optimizer": "adamw", "smoothing": 0.0, "precision": "float32", "clip": 0.0}
    return Trainee(network, Settings("generate", **plain | options), ALONE)


def texts(rows: int = 6, length: int = 7) -> Batch:
    """Rows of random tokens; of some places nothing is asked."""
    torch.manual_seed(1)
    tokens = torch.randint(0, VOCAB, (rows, length + 1))
    targets = tokens[:, 1:].masked_fill(torch.rand(rows, length) < 0.3, IGNORE)
    return Batch(tokens[:, :-1], targets)


def part(batch: Batch, rows: slice) -> Batch:
    return Batch(batch.tokens[rows], batch.targets[rows])


def total(network: Network, batch: Batch) -> Tensor:
    """The plain loss, summed over the targets, without any of the code that trains."""
    return cross_entropy(
        network(batch.tokens).flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum"
    )


def weights(network: Network) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize("clip", [0.0, 0.02, 1e3])
@pytest.mark.parametrize("cuts", [[6], [1, 5], [2, 1, 3]])
def test_a_step_is_torchs_own_on_the_mean_loss(cuts: list[int], clip: float) -> None:
    network, theirs, batch = gpt(VOCAB), gpt(VOCAB), texts()
    predicted = int((batch.targets != IGNORE).sum())
    ours = trainee(network, clip=clip, beta1=0.8, beta2=0.9, eps=1e-6, decay=0.0)
    reference = torch.optim.AdamW(theirs.parameters(), betas=(0.8, 0.9), eps=1e-6, weight_decay=0.0)
    for number, rate in enumerate((0.01, 0.003, 0.02), 1):
        loss = total(theirs, batch)
        reference.zero_grad()
        (loss / predicted).backward()
        expected = torch.nn.utils.get_total_norm([p.grad for p in theirs.parameters()])
        if clip:
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        bounds = torch.tensor([0, *cuts]).cumsum(0).tolist()
        parts = [part(batch, slice(a, b)) for a, b in itertools.pairwise(bounds)]
        sums, norm = ours.step(parts, predicted, rate, number)
        torch.testing.assert_close(sums, loss.detach().repeat(2))
        torch.testing.assert_close(norm, expected)
    for (name, mine), other in zip(network.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, msg=lambda text, name=name: f"{name}: {text}", rtol=1e-3, atol=1e-5)


def test_the_loss_for_evaluation_is_the_plain_one_without_dropout() -> None:
    network = translator("transformer2017-tiny", VOCAB, dropout=0.5)
    batch = texts()
    batch = Batch(batch.tokens, batch.targets, batch.tokens.flip(1), torch.full((6,), 7))
    ours = trainee(network, smoothing=0.1, dropout=0.5)
    network.train()
    found = ours.loss([batch, batch])
    network.eval()
    with torch.no_grad():
        logits = network(batch.source, batch.lengths, batch.tokens)
        expected = cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(found, 2 * expected)
    assert not found.requires_grad


@pytest.mark.parametrize("decay", [0.5, 0.9])
def test_the_average_is_there_for_a_while(decay: float) -> None:
    network, batch = gpt(VOCAB), texts()
    ours = trainee(network, ema=decay)
    average = weights(network)
    for number in range(1, 6):
        ours.step([batch], 10, 0.05, number)
        share = max(1 - decay, 1 / (number + 1))
        average = {name: average[name].lerp(p, share) for name, p in weights(network).items()}
    own = weights(network)
    with ours.averaged():
        for name, p in weights(network).items():
            torch.testing.assert_close(p, average[name], rtol=1e-5, atol=1e-6)
    assert all(torch.equal(p, own[name]) for name, p in weights(network).items())


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_from_a_state_it_goes_on_to_the_same_bits(optimizer: str, ema: float) -> None:
    batch = texts()
    first, second = (trainee(gpt(VOCAB), optimizer=optimizer, ema=ema) for _ in range(2))
    for number in (1, 2):
        first.step([batch], 10, 0.05, number)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    second.load(state.items())
    for number in (3, 4):
        for each in (first, second):
            each.step([batch], 10, 0.05, number)
    ends = first.state(), second.state()
    assert ends[0].keys() == ends[1].keys() == state.keys()
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())
    assert any(not torch.equal(tensor, state[name]) for name, tensor in ends[0].items())


def test_a_state_of_another_network_is_refused() -> None:
    ours = trainee(gpt(VOCAB))
    ours.step([texts()], 10, 0.05, 1)
    state = ours.state()
    name = next(name for name in state if name.startswith("weights/"))
    with pytest.raises(KeyError, match=name):
        trainee(gpt(VOCAB)).load((key, tensor) for key, tensor in state.items() if key != name)
    with pytest.raises(ValueError, match=rf"{name} has the shape"):
        trainee(gpt(VOCAB)).load({**state, name: torch.zeros(1)}.items())
    with pytest.raises(KeyError):
        trainee(gpt(VOCAB)).load({**state, "weights/nobody": torch.zeros(1)}.items())


def test_a_network_that_is_asked_does_not_drop() -> None:
    ours = trainee(translator("transformer2017-tiny", VOCAB, dropout=0.5))
    ours.network.train()
    with ours.asked() as network:
        assert network is ours.network
        assert not any(part.training for part in network.modules())


def test_weights_that_do_not_learn_are_known_by_their_sum() -> None:
    assert trainee(gpt(VOCAB)).frozen == ""
    network = gpt(VOCAB)
    found = hashlib.sha256()
    for name, p in network.named_parameters():
        if name.startswith("embed"):
            p.requires_grad_(False)
            found.update(name.encode() + p.detach().numpy().tobytes())
    ours = trainee(network)
    assert ours.frozen == found.hexdigest()
    ours.step([texts()], 10, 0.05, 1)
    assert not any("/embed" in name for name in ours.state())


def test_an_average_that_is_not_kept_is_passed_over() -> None:
    averaged = trainee(gpt(VOCAB), ema=0.9)
    averaged.step([texts()], 10, 0.05, 1)
    plain = trainee(gpt(VOCAB))
    plain.load(averaged.state().items())
    assert plain.state().keys() == {name for name in averaged.state() if not name.startswith("average/")}

"""The recurrent unit that stands in for self-attention: read at once, word by word, padded, taken back."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from limelight.errors import ConfigError, RequestError
from limelight.models import config as c
from limelight.models.api import Seq2Seq
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.nn.mask import CAUSAL
from limelight.nn.positions import Positions
from limelight.nn.ssru import SSRU

WIDTH, LENGTH = 12, 21
SOURCE = torch.randint(0, 61, (3, 9), generator=torch.Generator().manual_seed(1))
LENGTHS = torch.tensor([9, 4, 1])
TARGET = torch.randint(0, 61, (3, LENGTH), generator=torch.Generator().manual_seed(2))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def written_out(unit: SSRU, x: torch.Tensor) -> torch.Tensor:
    """The paper's equations, word by word."""
    cell, out = torch.zeros(len(x), WIDTH), []
    for word in x.unbind(1):
        forget = torch.sigmoid(word @ unit.gate.weight.T + unit.gate.bias)
        cell = forget * cell + (1 - forget) * (word @ unit.value.weight.T)
        out.append(cell.clamp(min=0))
    return torch.stack(out, 1)


@pytest.mark.parametrize("length", [1, 2, 3, 8, LENGTH])
def test_all_words_at_once_equal_the_equations(length: int) -> None:
    torch.manual_seed(0)
    unit = SSRU(nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH), WIDTH)
    x = torch.randn(2, length, WIDTH) * 3
    found = unit(x, Positions(torch.arange(length), length), CAUSAL, None, 0)
    torch.testing.assert_close(found, written_out(unit, x), **CLOSE)
    assert (found > 0).any()


def config(order: str = "post") -> c.ModelConfig:
    norm = c.LayerNorm(1e-6)
    attention = c.Attention(4, 4, 3, 3**-0.5, bias=True, out_bias=True)
    embeddings = c.Embeddings(WIDTH**0.5, c.Sinusoidal("fairseq"))

    def stack(own: c.Attention, cross: c.Attention | None) -> c.TransformerStack:
        block = c.Block(own, c.FeedForward(20, "relu"), norm, order, cross)  # type: ignore[arg-type]
        return c.TransformerStack(WIDTH, (block,) * 2, None, embeddings)

    decoder = stack(c.SSRU(1, 1, WIDTH, 1.0), attention)
    head = c.LMHead(tied=True, bias=True)
    return c.ModelConfig("limelight-marian", 61, 64, decoder, head, encoder=stack(attention, None))


@pytest.fixture(params=["post", "pre"])
def model(request: pytest.FixtureRequest) -> Seq2Seq:
    network = build(config(request.param)).eval()
    assert isinstance(network, Seq2Seq)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4 + 0.1)
    return network


@torch.inference_mode()
def test_steps_of_any_size_equal_reading_at_once(model: Seq2Seq) -> None:
    whole = model(SOURCE, LENGTHS, TARGET)
    for cuts in ((0, 7, 8, 21), (0, 1, 2, 3, 20, 21), tuple(range(22))):
        state = model.start(model.encode(SOURCE, LENGTHS), LENGTH)
        parts = [model.step(TARGET[:, a:b], state) for a, b in pairwise(cuts)]
        torch.testing.assert_close(torch.cat(parts, 1), whole, **CLOSE)


@torch.inference_mode()
def test_padding_changes_nothing_and_steps_are_taken_back(model: Seq2Seq) -> None:
    whole = model(SOURCE, LENGTHS, TARGET)
    counts = torch.tensor([5, 2, 8])
    state = model.start(model.encode(SOURCE, LENGTHS), LENGTH)
    model.step(TARGET[:, :8], state, counts)
    for step in range(4):
        tokens = TARGET.gather(1, (counts + step)[:, None])
        found = model.step(tokens, state)[:, 0]
        torch.testing.assert_close(found, whole[torch.arange(3), counts + step], **CLOSE)
    state.rewind(torch.tensor([6, 0, 3]))
    tokens = torch.stack([TARGET[0, 6:9], TARGET[1, :3], TARGET[2, 3:6]])
    found = model.step(tokens, state)
    torch.testing.assert_close(found, torch.stack([whole[0, 6:9], whole[1, :3], whole[2, 3:6]]), **CLOSE)
    both = state.select(torch.tensor([2, 0]))
    other = model.start(model.encode(SOURCE, LENGTHS), LENGTH + 5)
    other.put(1, both)
    found = model.step(TARGET[[0, 2, 0], [0, 6, 9]][:, None], other)[:, 0]
    torch.testing.assert_close(found, torch.stack([whole[0, 0], whole[2, 6], whole[0, 9]]), **CLOSE)


@torch.inference_mode()
def test_a_word_that_is_hidden_is_not_inherited(model: Seq2Seq) -> None:
    visible = torch.ones(3, LENGTH, LENGTH, dtype=torch.bool)
    assert torch.equal(model(SOURCE, LENGTHS, TARGET, visible), model(SOURCE, LENGTHS, TARGET))
    visible[1, 5:, 4] = False
    found, whole = model(SOURCE, LENGTHS, TARGET, visible), model(SOURCE, LENGTHS, TARGET)
    torch.testing.assert_close(found[[0, 2]], whole[[0, 2]], **CLOSE)
    torch.testing.assert_close(found[1, :5], whole[1, :5], **CLOSE)
    assert (found[1, 5:] - whole[1, 5:]).abs().amax(-1).min() > 1e-4
    # The other words stand where they stood; what the fourth said no later word knows, whatever it was.
    changed = TARGET.clone()
    changed[1, 4] = (TARGET[1, 4] + 7) % 61
    other = model(SOURCE, LENGTHS, changed, visible)
    torch.testing.assert_close(other[1, 5:], found[1, 5:], **CLOSE)
    for at in (5, 9):
        visible[1, at, 4] = True
        with pytest.raises(RequestError, match="hidden from all that follow it, or from none"):
            model(SOURCE, LENGTHS, TARGET, visible)
        visible[1, at, 4] = False
    last = torch.ones(3, LENGTH, LENGTH, dtype=torch.bool)
    last[1, -1, -2] = False  # only one word follows
    assert (model(SOURCE, LENGTHS, TARGET, last)[1, -1] - whole[1, -1]).abs().max() > 1e-4
    with pytest.raises(RequestError, match="cannot be hidden from later steps"):
        model.step(TARGET, model.start(model.encode(SOURCE, LENGTHS), LENGTH), visible=visible)


def test_gradients_reach_every_weight() -> None:
    network = build(config())
    initialise(network, torch.Generator().manual_seed(0))
    network(SOURCE, LENGTHS, TARGET).square().sum().backward()
    assert all(weight.grad is not None and bool(weight.grad.abs().sum() > 0) for weight in network.parameters())


def test_it_belongs_behind_an_encoder() -> None:
    made = config()
    with pytest.raises(ConfigError, match="recurrent unit"):
        build(c.ModelConfig("new", 61, 64, None, c.Pooling(), encoder=made.decoder))

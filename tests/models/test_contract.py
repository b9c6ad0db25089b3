"""A new norm, order of a block or head: one class and one line in a table, and it works everywhere, or is refused by
name."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from limelight.errors import ConfigError, RequestError
from limelight.look.decompose import Trace
from limelight.look.record import twin
from limelight.models import config as c
from limelight.models.api import Decoder, Encoder
from limelight.models.build import HEADS, NORMS, build
from limelight.models.init import initialise
from limelight.models.registry import config_to_hf
from limelight.models.ties import names
from limelight.nn.attention import Attention
from limelight.nn.block import ORDERS, Block, CrossSource, Join, NoCross
from limelight.nn.cache import KVCache
from limelight.nn.mask import Mask
from limelight.nn.norm import Norm
from limelight.nn.positions import Positions
from limelight.nn.stack import in_turn
from limelight.quant import native
from limelight.quant.linear import quantise
from limelight.quant.program import fuse
from limelight.train.swaps import swap

TOKENS = torch.randint(0, 61, (2, 12), generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class HalvedNorm:
    eps: float


class HalvedNormModule(Norm):
    """A centred norm whose stored weight is twice the gain."""

    centred = True

    @property
    def gain(self) -> Tensor:
        return self.weight / 2

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, self.weight.shape, self.gain, None, self.eps)


class ThirdNorm(Norm):
    """A root-mean-square norm whose stored weight is the gain less a third."""

    shift = 1 / 3

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.rms_norm(x, self.weight.shape, self.gain, self.eps)


class LateNormBlock(Block):
    """Each part reads the stream as it is, and what it adds is normalised (OLMo 2)."""

    order = "late"

    def __init__(
        self,
        attention: Attention,
        cross: Attention | None,
        feedforward: nn.Module,
        norm: Callable[[], nn.Module],
        dropout: nn.Module,
    ) -> None:
        super().__init__(attention, cross, feedforward, norm, dropout)
        self.attention, self.cross, self.feedforward = attention, NoCross(), feedforward
        self.attention_norm, self.feedforward_norm = norm(), norm()

    @property
    def joins(self) -> tuple[Join, ...]:
        nothing = nn.Identity()
        return (
            Join(self.attention, nothing, self.attention_norm, nothing),
            Join(self.feedforward, nothing, self.feedforward_norm, nothing),
        )

    def forward(
        self,
        x: Tensor,
        positions: Positions,
        mask: Mask,
        cache: KVCache | None,
        starts: int | Tensor,
        source: CrossSource | None,
    ) -> Tensor:
        x = x + self.attention_norm(self.attention(x, positions, mask, cache, starts))
        out: Tensor = x + self.feedforward_norm(self.feedforward(x))
        return out


@dataclass(frozen=True)
class Parity:
    """Whether a text is odd."""


def config(norm: object, order: str) -> c.ModelConfig:
    attention = c.Attention(4, 2, 16, 0.25, c.Rotary(16, 10000.0), bias=True, out_bias=True)
    block = c.Block(attention, c.FeedForward(96, "gelu"), norm, order)  # type: ignore[arg-type]
    stack = c.TransformerStack(64, (block,) * 2, norm)  # type: ignore[arg-type]
    return c.ModelConfig("new", 61, 64, stack, c.LMHead(tied=True))


@pytest.fixture(params=["norm", "shifted norm", "order"])
def new(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> c.ModelConfig:
    if "norm" in request.param:
        monkeypatch.setitem(NORMS, HalvedNorm, HalvedNormModule if request.param == "norm" else ThirdNorm)
        return config(HalvedNorm(1e-5), "sandwich")
    monkeypatch.setitem(ORDERS, "late", LateNormBlock)
    return config(c.RMSNorm(1e-6), "late")


def drawn(made: c.ModelConfig) -> Decoder:
    network = build(made).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3 + 0.1)
    assert isinstance(network, Decoder)
    return network


def test_it_is_initialised_and_trained(new: c.ModelConfig) -> None:
    network = build(new)
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(7.0)
    initialise(network, torch.Generator().manual_seed(0))
    assert all(bool((norm.gain - 1).abs().max() < 1e-6) for norm in network.modules() if isinstance(norm, Norm))
    before = network(TOKENS)
    swap(network)
    torch.testing.assert_close(network(TOKENS), before, rtol=1e-4, atol=1e-5)
    network(TOKENS).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


@torch.inference_mode()
def test_it_runs_in_one_call(new: c.ModelConfig) -> None:
    if not native.KERNELS:
        pytest.skip("the compiled kernels are not built")
    network = quantise(drawn(new))
    other = twin(network)
    other.decoder.run = in_turn  # type: ignore[union-attr]
    fuse(network)
    network.decoder.cache_dtype = None
    found, expected = network.read(TOKENS), other.read(TOKENS)
    made = network.decoder.run._made  # type: ignore[union-attr]
    assert made is not None
    ways_of_its_own = any(isinstance(module, HalvedNormModule) for module in network.modules())
    assert (made[1] is None) == ways_of_its_own  # whose gain the kernels do not know, so that the blocks run in turn
    off = (found - expected).abs() / expected.abs().mean()
    assert off.median() < 2e-5
    assert off.mean() < 2e-2


def test_it_is_taken_apart(new: c.ModelConfig) -> None:
    network = drawn(new)
    trace = Trace(network, TOKENS[0].tolist())
    direction = torch.randn(64, generator=torch.Generator().manual_seed(2))
    shares = trace.shares(direction)
    hidden = network.read(TOKENS[:1])[0, -1]
    torch.testing.assert_close(shares.tokens.sum() + shares.constant, direction @ hidden, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(trace.rollout().sum(), torch.tensor(1.0))


ATTENTION = c.Attention(4, 2, 16, 0.25, c.Rotary(16, 10000.0), bias=True, out_bias=True)
EXPERT = c.GatedFeedForward(32, "silu")
ODD = {
    "output": (c.Block(ATTENTION, c.FeedForward(96, "gelu"), c.RMSNorm(1e-6), "output"), True),
    "shared": (c.Block(ATTENTION, c.FeedForward(96, "gelu"), c.LayerNorm(1e-5), "shared"), True),
    "weightless": (c.Block(ATTENTION, EXPERT, c.WeightlessLayerNorm(1e-5)), True),
    "across heads": (
        c.Block(replace(ATTENTION, norm=c.RMSNorm(1e-6), normed="all"), EXPERT, c.RMSNorm(1e-6), "output"),
        True,
    ),
    "own norms": (c.Block(replace(ATTENTION, norm=c.RMSNorm(1e-6), normed="own"), EXPERT, c.RMSNorm(1e-6)), False),
    "clipped": (c.Block(replace(ATTENTION, clip=0.5), EXPERT, c.RMSNorm(1e-6)), True),
    "sloped": (c.Block(replace(ATTENTION, score_bias=c.LinearBias(0.5)), EXPERT, c.RMSNorm(1e-6)), True),
    "scaled": (c.Block(ATTENTION, EXPERT, c.RMSNorm(1e-6), scale=0.3), True),
    "squared": (c.Block(ATTENTION, c.FeedForward(96, "relu_squared"), c.RMSNorm(1e-6)), True),
    "experts": (c.Block(ATTENTION, c.Experts(EXPERT, 4, c.Router(2)), c.RMSNorm(1e-6)), False),
}
"""Parts that few families have, and whether the kernels know them."""


@pytest.mark.parametrize("name", ODD)
@torch.no_grad()
def test_odd_parts_run_in_one_call_or_are_left_to_the_blocks_and_are_taken_apart(name: str) -> None:
    block, compiles = ODD[name]
    made = replace(config(block.norm, "pre"), decoder=c.TransformerStack(64, (block,) * 2, block.norm))
    trace = Trace(plain := drawn(made), TOKENS[0].tolist())
    direction = torch.randn(64, generator=torch.Generator().manual_seed(2))
    shares, hidden = trace.shares(direction), plain.read(TOKENS[:1])[0, -1]
    if name != "clipped":  # which is not linear in what a position says
        torch.testing.assert_close(shares.tokens.sum() + shares.constant, direction @ hidden, rtol=1e-4, atol=1e-3)
    if not native.KERNELS:
        pytest.skip("the compiled kernels are not built")
    network = quantise(plain)
    other = twin(network)
    other.decoder.run = in_turn  # type: ignore[union-attr]
    fuse(network)
    network.decoder.cache_dtype = None
    found, expected = network.read(TOKENS), other.read(TOKENS)
    assert (network.decoder.run._made[1] is not None) == compiles  # type: ignore[union-attr]
    off = (found - expected).abs() / expected.abs().mean()
    assert off.median() < 2e-5
    assert off.mean() < 2e-2


def test_what_is_in_no_table_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="norm 'HalvedNorm'"):
        build(config(HalvedNorm(1e-5), "pre"))
    with pytest.raises(ConfigError, match="order of a block 'late'"):
        build(config(c.RMSNorm(1e-6), "late"))
    made = config(c.RMSNorm(1e-6), "pre")
    encoder = replace(made, decoder=None, encoder=made.decoder, head=Parity())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="head 'Parity'"):
        build(encoder)


def test_a_norm_that_does_not_say_what_it_computes_is_refused_by_who_must_know() -> None:
    network = drawn(config(c.RMSNorm(1e-6), "sandwich"))

    class Other(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    network.decoder.blocks[0].attention_after = Other()  # type: ignore[union-attr]
    with pytest.raises(RequestError, match="Other is not a norm"):
        Trace(network, TOKENS[0].tolist()).shares(torch.ones(64))


def test_a_block_must_say_how_its_parts_join() -> None:
    class Silent(Block):
        order = "silent"

    with pytest.raises(TypeError, match="joins"):
        Silent(None, None, None, None, None)  # type: ignore[abstract, arg-type]


def test_a_new_head(monkeypatch: pytest.MonkeyPatch) -> None:
    class ParityHead(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.proj = nn.Linear(width, 2)

        def forward(self, hidden: Tensor) -> Tensor:
            out: Tensor = self.proj(hidden.mean(-2))
            return out

    monkeypatch.setitem(HEADS, Parity, lambda head, made: ParityHead(made.width))
    decoder = config(c.LayerNorm(1e-5), "post")
    made = replace(decoder, decoder=None, encoder=decoder.decoder, head=Parity())  # type: ignore[arg-type]
    network = build(made).eval()
    assert isinstance(network, Encoder)
    initialise(network)
    assert network(TOKENS).shape == (2, 2)
    assert {"head.proj.weight", "head.proj.bias"} <= set(names(network))
    with pytest.raises(ConfigError, match="'Parity'"):
        build(replace(decoder, head=Parity()))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no model with a Parity"):
        config_to_hf(replace(made, family="bert"))

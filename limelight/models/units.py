"""The recurrent units that a config may have in the place of attention, as data; their modules are in `nn`."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from limelight.models.parts import Activation, Attention, FeedForward, RMSNorm
from limelight.nn.recurrent import Cell


@dataclass(frozen=True, kw_only=True)
class Recurrence(Attention):
    """A recurrent unit in the place of self-attention that keeps one state for a text, see `limelight.nn.unit`; as
    attention goes it has no heads."""

    carries: ClassVar[bool] = True
    heads: int = field(default=0, init=False)
    kv_heads: int = field(default=0, init=False)
    head_width: int = field(default=0, init=False)
    scale: float = field(default=1.0, init=False)


@dataclass(frozen=True, kw_only=True)
class Mamba(Recurrence):
    """A selective state space, see `limelight.nn.mamba.Mamba`.

    inner: its channels. size: of each one's state. rank: how many numbers the steps come through. conv: how many
    positions the convolution reads, with a bias if `conv_bias`.
    """

    inner: int
    size: int
    rank: int
    conv: int
    conv_bias: bool = True


@dataclass(frozen=True, kw_only=True)
class Mamba2(Recurrence):
    """A state space of several heads, see `limelight.nn.mamba.Mamba2`. inner: the features of its `units` heads
    together. groups: of heads that share what is written and asked. steps: the shortest and the longest. norm: of what
    is read. The rest: see `Mamba`.
    """

    inner: int
    size: int
    units: int
    groups: int
    conv: int
    norm: RMSNorm
    conv_bias: bool = True
    steps: tuple[float, float] = (0.0, math.inf)


@dataclass(frozen=True, kw_only=True)
class GatedDelta(Recurrence):
    """Linear attention by the gated delta rule, see `limelight.nn.delta.GatedDeltaNet`. keys, asking_width: heads
    of queries and keys; units, unit_width: of values. conv: positions that the convolution reads. norm: of each head.
    """

    keys: int
    asking_width: int
    units: int
    unit_width: int
    conv: int
    norm: RMSNorm


@dataclass(frozen=True, kw_only=True)
class ShortConv(Recurrence):
    """A short convolution between gates, see `limelight.nn.shortconv.ShortConv`. conv: positions that it reads."""

    conv: int


@dataclass(frozen=True, kw_only=True)
class Cells(Recurrence):
    """A layer of torch's cells, see `limelight.nn.cells.Cells`. inner: how many."""

    inner: int
    cell: Cell


@dataclass(frozen=True, kw_only=True)
class MinGRU(Recurrence):
    """A minimal GRU, see `limelight.nn.cells.MinGRU`. inner: how many cells it has."""

    inner: int


@dataclass(frozen=True, kw_only=True)
class TimeMix(Recurrence):
    """RWKV-7's attention, see `limelight.nn.rwkv.TimeMix`. wide: each of its heads. eps: of their norm."""

    wide: int
    ranks: tuple[int, int, int, int]
    eps: float
    leads: bool


@dataclass(frozen=True)
class ChannelMix(FeedForward):
    """RWKV-7's feed-forward, see `limelight.nn.rwkv.ChannelMix`; its block's order is "carried"."""

    activation: Activation = "relu_squared"
    bias: bool = False


@dataclass(frozen=True)
class NoFeedForward(FeedForward):
    """A block has no feed-forward; its order is then "lone"."""

    hidden: int = field(default=0, init=False)
    activation: Activation = field(default="identity", init=False)
    bias: bool = field(default=False, init=False)

"""What a model is, as nested frozen data. Which stacks are present says what kind of model it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from limelight.nn.positions import DynamicScaling, LinearScaling, Llama3Scaling, LongRopeScaling, YarnScaling

Scaling = LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling | LongRopeScaling
Activation = Literal["relu", "gelu", "gelu_tanh", "silu"]


@dataclass(frozen=True)
class RMSNorm:
    """Root-mean-square norm."""

    eps: float


@dataclass(frozen=True)
class ShiftedRMSNorm:
    """Root-mean-square norm whose stored weight is the scale minus one."""

    eps: float


@dataclass(frozen=True)
class LayerNorm:
    """Mean and variance norm with scale and bias."""

    eps: float


Norm = RMSNorm | ShiftedRMSNorm | LayerNorm


@dataclass(frozen=True)
class Rotary:
    """Rotary positions on the first `width` features of each head."""

    width: int
    base: float
    scaling: Scaling | None = None


@dataclass(frozen=True)
class Attention:
    """One attention layer. scale: what scores are multiplied by. cap: scores are softly limited to ±cap.

    window: each position sees this many last positions, itself included. bias: on q, k and v. out_bias: on out.
    norm: on each head of q and k.
    """

    heads: int
    kv_heads: int
    head_width: int
    scale: float
    rotary: Rotary | None = None
    bias: bool = False
    out_bias: bool = False
    norm: Norm | None = None
    cap: float | None = None
    window: int | None = None


@dataclass(frozen=True)
class FeedForward:
    """``down(activation(up(x)))``."""

    hidden: int
    activation: Activation
    bias: bool = True


@dataclass(frozen=True)
class GatedFeedForward:
    """``down(activation(gate(x)) · up(x))``."""

    hidden: int
    activation: Activation
    bias: bool = False


@dataclass(frozen=True)
class Block:
    """Attention and feed-forward; `order` says where the norms stand and how the parts are joined.

    pre: a norm before each part. sandwich: a norm before and after each part. parallel: both parts read the same
    stream.
    """

    attention: Attention
    feedforward: FeedForward | GatedFeedForward
    norm: Norm
    order: Literal["pre", "sandwich", "parallel"] = "pre"


@dataclass(frozen=True)
class Learned:
    """A learned vector for each of `context` positions."""

    context: int


@dataclass(frozen=True)
class TransformerStack:
    """Blocks over one stream of `width`; `positions` are added in front (None: the blocks know them by rotation).

    scale: what token embeddings are multiplied by before the first block.
    """

    width: int
    blocks: tuple[Block, ...]
    norm: Norm
    positions: Learned | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class LMHead:
    """Scores for each word of the vocabulary. tied: by the token embeddings. cap: scores limited softly to ±cap."""

    tied: bool
    bias: bool = False
    cap: float | None = None


@dataclass(frozen=True)
class ModelConfig:
    """A model: its family, vocabulary size, longest sequence in tokens, stack and head.

    extra: what the foreign config said and this one does not use (token ids, dropout rates, names), kept so that an
    export says it again.
    """

    family: str
    vocab: int
    context: int
    decoder: TransformerStack
    head: LMHead
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

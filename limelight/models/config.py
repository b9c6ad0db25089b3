"""What a model is, as nested frozen data. Which stacks are present says what kind of model it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from limelight.errors import ConfigError
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
    norm: on each head of q and k. dropout: of the weights, in training.
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
    dropout: float = 0.0


@dataclass(frozen=True)
class FeedForward:
    """``down(activation(up(x)))``. dropout: of the hidden layer, in training."""

    hidden: int
    activation: Activation
    bias: bool = True
    dropout: float = 0.0


@dataclass(frozen=True)
class GatedFeedForward:
    """``down(activation(gate(x)) · up(x))``. dropout: of the hidden layer, in training."""

    hidden: int
    activation: Activation
    bias: bool = False
    dropout: float = 0.0


@dataclass(frozen=True)
class Block:
    """Attention and feed-forward; `order` says where the norms stand and how the parts are joined.

    pre: a norm before each part. post: a norm behind each part, on the stream itself. sandwich: a norm before and
    after each part. parallel: both parts read the same stream. cross: attention to a source, between the two.
    dropout: of what each part adds to the stream, in training.
    """

    attention: Attention
    feedforward: FeedForward | GatedFeedForward
    norm: Norm
    order: Literal["pre", "post", "sandwich", "parallel"] = "pre"
    cross: Attention | None = None
    dropout: float = 0.0


@dataclass(frozen=True)
class Learned:
    """A learned vector for each of `context` positions."""

    context: int


@dataclass(frozen=True)
class Sinusoidal:
    """Sines and cosines of the position; see `limelight.nn.positions.SinusoidalPositions` for the layouts."""

    layout: Literal["interleaved", "halves"] = "interleaved"


@dataclass(frozen=True)
class TransformerStack:
    """Blocks over one stream of `width`; `positions` are added in front (None: the blocks know them by rotation).

    norm: behind the last block (None where the blocks end in one). scale: what token embeddings are multiplied by
    before the first block. dropout: of the sum of embeddings and positions, in training.
    """

    width: int
    blocks: tuple[Block, ...]
    norm: Norm | None
    positions: Learned | Sinusoidal | None = None
    scale: float = 1.0
    dropout: float = 0.0


@dataclass(frozen=True)
class AdditiveAttention:
    """``v · tanh(W q + U k)``, asked by the last state before each step (Bahdanau et al., 2015)."""


@dataclass(frozen=True)
class DotAttention:
    """``q · k``, asked by the state behind each step (Luong et al., 2015).

    feeding: each step also reads what the last one made of the source (their section 3.3).
    """

    feeding: bool = True


@dataclass(frozen=True)
class GeneralAttention:
    """``q · W k``, asked by the state behind each step (Luong et al., 2015). feeding: see `DotAttention`."""

    feeding: bool = True


@dataclass(frozen=True)
class RecurrentStack:
    """Layers of recurrent cells, each `width` wide.

    direction: in which an encoder reads; in both, each direction gives half of the width. attention: to the source, in
    a decoder. dropout: of what each layer and the head read, never between steps, in training. scale: of what is read.
    """

    cell: Literal["rnn", "gru", "lstm"]
    width: int
    layers: int
    direction: Literal["forward", "backward", "both"] = "forward"
    attention: AdditiveAttention | DotAttention | GeneralAttention | None = None
    dropout: float = 0.0
    scale: float = 1.0


Stack = TransformerStack | RecurrentStack


@dataclass(frozen=True)
class LMHead:
    """Scores for each word of the vocabulary. tied: by the token embeddings. cap: scores limited softly to ±cap."""

    tied: bool
    bias: bool = False
    cap: float | None = None


@dataclass(frozen=True)
class ModelConfig:
    """A model: its family, vocabulary size, longest sequence in tokens, stacks and head.

    encoder: reads a source text; with one the model is an encoder–decoder. source_vocab: the size of the source's own
    vocabulary, with embeddings of its own (None: source and target share both). extra: what the foreign config said
    and this one does not use (token ids, dropout rates, names), kept so that an export says it again.
    """

    family: str
    vocab: int
    context: int
    decoder: Stack
    head: LMHead
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)
    encoder: Stack | None = None
    source_vocab: int | None = None

    @property
    def longest(self) -> int:
        """The longest sequence in tokens once rotary scalings have stretched the context: `factor` times as long as
        the original where they begin from there."""
        if not isinstance(self.decoder, TransformerStack):
            return self.context
        return min(_longest(block.attention.rotary, self.context) for block in self.decoder.blocks)

    @property
    def transformer(self) -> TransformerStack:
        """The decoder, which must be a transformer's. Raises ConfigError if it is recurrent."""
        if not isinstance(self.decoder, TransformerStack):
            raise ConfigError(f"the family {self.family!r} is one of transformers and cannot have a recurrent decoder")
        return self.decoder


def _longest(rotary: Rotary | None, context: int) -> int:
    match rotary and rotary.scaling:
        case DynamicScaling(factor, original) | YarnScaling(factor, original):
            return max(context, int(factor * original))
    return context

"""What a model is, as nested frozen data. Which stacks are present says what kind of model it is.

What blocks are made of stands in `parts`, and has its name here too.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from limelight.errors import ConfigError
from limelight.models.parts import (
    SSRU,
    Activation,
    Attention,
    ClampedFeedForward,
    Disentangled,
    Experts,
    FeedForward,
    GatedFeedForward,
    Latent,
    LayerNorm,
    LinearBias,
    Norm,
    RelativeBias,
    RMSNorm,
    Rotary,
    Router,
    Scaling,
    ShiftedRMSNorm,
    UnbiasedLayerNorm,
    WeightlessLayerNorm,
)
from limelight.nn.positions import DynamicScaling, YarnScaling

__all__ = [
    "SSRU",
    "TRANSLATION",
    "Activation",
    "AdditiveAttention",
    "Attention",
    "Block",
    "ClampedFeedForward",
    "Disentangled",
    "DotAttention",
    "Embeddings",
    "Experts",
    "FeedForward",
    "GatedFeedForward",
    "GeneralAttention",
    "Head",
    "Hidden",
    "LMHead",
    "Latent",
    "LayerNorm",
    "Learned",
    "LinearBias",
    "MaskedLMHead",
    "ModelConfig",
    "Norm",
    "Order",
    "Pooled",
    "Pooling",
    "RMSNorm",
    "RecurrentStack",
    "RelativeBias",
    "Rotary",
    "Router",
    "Scaling",
    "SequenceClassifier",
    "ShiftedRMSNorm",
    "Sinusoidal",
    "SpanHead",
    "Stack",
    "TokenClassifier",
    "TransformerStack",
    "UnbiasedLayerNorm",
    "WeightlessLayerNorm",
]

Pooled = Literal["first", "last", "mean", "max"]
Order = Literal["pre", "bare", "post", "output", "sandwich", "carried", "parallel", "shared", "lone"]


@dataclass(frozen=True)
class Block:
    """Attention and feed-forward; `order` says where the norms stand and how the parts are joined.

    pre: a norm before each part. bare: before the feed-forward alone. post: behind each part, on the stream itself.
    output: on what each part adds. sandwich: before and after each part. carried: as pre, but both parts carry a state.
    parallel: both parts read the same stream; shared: through one norm. lone: one part alone, behind a norm. cross:
    attention to a source, between the two. dropout: of what a part adds, in training. scale: what it is multiplied by.
    """

    attention: Attention | SSRU
    feedforward: FeedForward | GatedFeedForward | ClampedFeedForward | Experts
    norm: Norm
    order: Order = "pre"
    cross: Attention | None = None
    dropout: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Learned:
    """A learned vector for each of `context` positions, behind `offset` rows that are never read."""

    context: int
    offset: int = 0


@dataclass(frozen=True)
class Sinusoidal:
    """Sines and cosines of the position, the first of which is number `offset`; see `limelight.nn.positions.sinusoids`
    for the layouts."""

    layout: Literal["interleaved", "halves", "fairseq"] = "interleaved"
    offset: int = 0


@dataclass(frozen=True)
class Embeddings:
    """What a stack makes of its tokens' vectors, see `limelight.nn.embeddings.Embeddings`.

    scale: what they are multiplied by. positions: what is added (None: the blocks know positions by rotation or bias).
    dropout: of their sum, in training. types: how many types of token there are (None: one, without a vector). norm: of
    the sum. width: of the tokens' vectors, which are projected to the stack's (None: they are as wide, and are not).
    """

    scale: float = 1.0
    positions: Learned | Sinusoidal | None = None
    dropout: float = 0.0
    types: int | None = None
    norm: Norm | None = None
    width: int | None = None


@dataclass(frozen=True)
class TransformerStack:
    """Blocks over one stream of `width`. norm: behind the last block (None where the blocks end in one).

    shared: for each block the first one that has its weights, where some share them (empty: each has its own).
    """

    width: int
    blocks: tuple[Block, ...]
    norm: Norm | None
    embeddings: Embeddings = Embeddings()
    shared: tuple[int, ...] = ()

    @property
    def recurrent(self) -> bool:
        """Whether a block keeps one state for a text."""
        return any(block.attention.carries for block in self.blocks)


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
    """Scores for each word of the vocabulary. tied: by the token embeddings. cap: scores limited softly to ±cap.

    scale: of the states that are scored.
    """

    tied: bool
    bias: bool = False
    cap: float | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Hidden:
    """A layer in front of a head's scores: ``norm(activation(dense(x)))``. bias: of dense."""

    activation: Activation
    norm: Norm | None = None
    bias: bool = True


@dataclass(frozen=True)
class MaskedLMHead:
    """Scores for the word behind a mask. tied: by the token embeddings. bias: of the scores."""

    tied: bool
    hidden: Hidden
    bias: bool = True


@dataclass(frozen=True)
class SequenceClassifier:
    """Scores for labels of a whole text, or for one thing, the text itself (a scorer). pooled: how its positions become
    one vector. several: whether any number of labels may fit a text, each by itself."""

    labels: tuple[str, ...]
    pooled: Pooled = "first"
    hidden: Hidden | None = Hidden("tanh")
    bias: bool = True
    several: bool = False


@dataclass(frozen=True)
class TokenClassifier:
    """Scores for labels of each token."""

    labels: tuple[str, ...]
    hidden: Hidden | None = None


@dataclass(frozen=True)
class SpanHead:
    """Scores of each token for being where an answer starts, and where it ends."""

    hidden: Hidden | None = None


@dataclass(frozen=True)
class Pooling:
    """No scores: one vector for a text. normalised: of length one. hidden: a layer behind the pooling. width: of the
    vectors that it makes (None: that of the stack)."""

    pooled: Pooled = "mean"
    normalised: bool = True
    hidden: Hidden | None = None
    width: int | None = None


TRANSLATION = "translation"
"""The task that a language model which has learnt to translate names in its config."""

Head = LMHead | MaskedLMHead | SequenceClassifier | TokenClassifier | SpanHead | Pooling


@dataclass(frozen=True)
class ModelConfig:
    """A model: its family, vocabulary size, longest sequence in tokens, stacks and head.

    decoder: writes a text from left to right; without one the model is an encoder. encoder: reads a text whole; beside
    a decoder the model is an encoder–decoder. source_vocab: the size of the source's own vocabulary, with embeddings of
    its own (None: source and target share both). extra: what the foreign config said and this one does not use (token
    ids, dropout rates, names), kept so that an export says it again.
    """

    family: str
    vocab: int
    context: int
    decoder: Stack | None
    head: Head
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)
    encoder: Stack | None = None
    source_vocab: int | None = None

    @property
    def longest(self) -> int:
        """The longest sequence in tokens once rotary scalings have stretched the context: `factor` times as long as
        the original where they begin from there."""
        stack = self.decoder or self.encoder
        if not isinstance(stack, TransformerStack):
            return self.context
        return min((_longest(block.attention.rotary, self.context) for block in stack.blocks), default=self.context)

    @property
    def transformer(self) -> TransformerStack:
        """The decoder, or the encoder where there is no decoder. Raises ConfigError if it is not a transformer's."""
        stack = self.decoder or self.encoder
        if not isinstance(stack, TransformerStack):
            raise ConfigError(f"the family {self.family!r} is one of transformers and cannot have a recurrent decoder")
        return stack

    def with_blocks(self, change: Callable[[int, Block], Block]) -> "ModelConfig":
        """The same model, but each block of its decoder as `change` makes it from the layer's number and the block."""
        stack = self.transformer
        blocks = tuple(change(i, block) for i, block in enumerate(stack.blocks))
        return replace(self, decoder=replace(stack, blocks=blocks))

    @property
    def tied(self) -> bool:
        """Whether the head scores words by the token embeddings."""
        return isinstance(self.head, LMHead | MaskedLMHead) and self.head.tied

    @property
    def translates(self) -> bool:
        """Whether a model translates: as an encoder–decoder, or as a language model that has learnt to and says so
        under transformers' own key."""
        tasks = self.extra.get("task_specific_params")
        learnt = isinstance(tasks, Mapping) and TRANSLATION in tasks
        return self.decoder is not None and (self.encoder is not None or learnt)

    @property
    def width(self) -> int:
        """Of the states that the head reads."""
        stack = self.decoder or self.encoder
        if stack is None:
            raise ConfigError("a model needs a decoder, an encoder or both")
        return stack.width


def _longest(rotary: Rotary | None, context: int) -> int:
    match rotary and rotary.scaling:
        case DynamicScaling(factor, original) | YarnScaling(factor, original) if math.isfinite(factor):
            return max(context, int(factor * original))
    return context

"""What blocks are made of, as frozen data: norms, positions, attention, feed-forwards, experts."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from limelight.nn.positions import DynamicScaling, LinearScaling, Llama3Scaling, LongRopeScaling, YarnScaling

Scaling = LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling | LongRopeScaling
Activation = Literal["relu", "relu_squared", "gelu", "gelu_tanh", "silu", "tanh", "identity"]


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


@dataclass(frozen=True)
class UnbiasedLayerNorm:
    """Mean and variance norm with scale alone."""

    eps: float


@dataclass(frozen=True)
class WeightlessLayerNorm:
    """Mean and variance norm without weights."""

    eps: float


Norm = RMSNorm | ShiftedRMSNorm | LayerNorm | UnbiasedLayerNorm | WeightlessLayerNorm


@dataclass(frozen=True)
class Rotary:
    """Rotary positions on the first `width` features of each head."""

    width: int
    base: float
    scaling: Scaling | None = None


@dataclass(frozen=True)
class RelativeBias:
    """A learned number for each head and bucket of distances, see `limelight.nn.bias.RelativeBias`.

    Layers whose relative biases are equal share one, unless each has its `own`.
    """

    buckets: int
    farthest: int
    both_ways: bool
    own: bool = False


@dataclass(frozen=True)
class LinearBias:
    """Scores fall with the distance at a fixed rate for each head, see `limelight.nn.bias.LinearBias`.

    scale: what the rates are multiplied by. steepest: the power of one half that the last head's rate is.
    """

    scale: float = 1.0
    steepest: float = 8.0


@dataclass(frozen=True)
class Disentangled:
    """What positions say is also scored against their distance, see `limelight.nn.disentangled`.

    span: how many distances there are before a position, and behind it. farthest: see `Distances`. of_query: what
    the query says is scored ("c2p"). of_key: what the key says is ("p2c"). projected: distances have projections of
    their own, instead of those of queries and keys. norm: of the vectors of distances, which layers share.
    """

    span: int
    farthest: int | None
    of_query: bool
    of_key: bool
    projected: bool = True
    norm: Norm | None = None


@dataclass(frozen=True)
class Latent:
    """Keys and values come from a vector `rank` wide, see `limelight.nn.latent`. query_rank: of one for queries (None:
    there is none). unturned: how many features of a key no position turns. norm: on both vectors."""

    rank: int
    query_rank: int | None
    unturned: int
    norm: Norm


@dataclass(frozen=True)
class Attention:
    """One attention layer. scale: what scores are multiplied by. cap: scores are softly limited to ±cap.

    window: each position sees this many last positions, itself included; in an encoder those that are less far away, on
    both sides. bias: on q, k and v. key_bias: False takes that of k away. out_bias: on out. norm: on q and k, `normed`:
    each head, each head by weights of its own, or all heads as one vector. clip: what q, k and v are cut off at.
    dropout: of the weights, in training. score_bias: added to the scores. sinks: each head has one more score that
    takes its share of the weight and gives nothing. latent: of keys and values, whose projections make it with `bias`;
    head_width is then that of values. gated: what heads heard is multiplied by a sigmoid of what their position says.
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
    score_bias: RelativeBias | LinearBias | Disentangled | None = None
    sinks: bool = False
    key_bias: bool = True
    normed: Literal["each", "own", "all"] = "each"
    clip: float | None = None
    latent: Latent | None = None
    gated: bool = False
    carries: ClassVar[bool] = False  # one state for a text, see `limelight.models.units`

    @property
    def key_width(self) -> int:
        """The width of each head's queries and keys."""
        latent, turned = self.latent, self.rotary
        return latent.unturned + turned.width if latent and turned else self.head_width


@dataclass(frozen=True)
class SSRU(Attention):
    """A recurrent unit in the place of self-attention, see `limelight.nn.ssru.SSRU`; as attention goes it has one head
    of the model's width, and none of the rest."""


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
class ClampedFeedForward:
    """``down((up(x) + 1) · gate(x) · sigmoid(alpha · gate(x)))``, gate and up cut off at `limit` (gpt-oss)."""

    hidden: int
    alpha: float
    limit: float
    bias: bool = True
    activation: Activation = "silu"


@dataclass(frozen=True)
class Router:
    """Chooses experts, see `limelight.nn.experts.Router`.

    chosen: how many at each position. normalised: whether the weights of those sum to one. scale: what weights are
    multiplied by. sigmoid: whether each score is a sigmoid, instead of a softmax over all. bias: on the scores.
    corrected: whether a number for each expert is added for the choice alone. groups: of experts, `open` of which may
    be chosen from, by the sum of their `best` scores.
    """

    chosen: int
    normalised: bool = True
    scale: float = 1.0
    sigmoid: bool = False
    bias: bool = False
    corrected: bool = False
    groups: int = 1
    open: int = 1
    best: int = 1


@dataclass(frozen=True)
class Experts:
    """As many feed-forwards, of which a router chooses some at each position, see `limelight.nn.experts.Experts`.

    shared: one that all positions pass. weighed: whether that is weighed by a sigmoid of its own.
    """

    expert: GatedFeedForward | ClampedFeedForward
    count: int
    router: Router
    shared: GatedFeedForward | None = None
    weighed: bool = False

    @property
    def hidden(self) -> int:
        """How wide the hidden layer of each expert is."""
        return self.expert.hidden

    @property
    def activation(self) -> Activation:
        """That of each expert."""
        return self.expert.activation

    @property
    def bias(self) -> bool:
        """Whether each expert has biases."""
        return self.expert.bias

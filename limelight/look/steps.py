"""The nine steps from a text to its next word, followed for one word, one layer and one head.

The steps are those of Vaswani et al. (2017), section 3, in this model's order and with its own numbers. What is
recorded is recorded (vectors, weights, the stream); the products and scores between them are worked out here from the
recorded queries and keys, in float32, so that anybody can work them out again.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from limelight.look.record import block_of, stack_of, twin
from limelight.look.text import Reading
from limelight.models.api import Decoder
from limelight.nn import scores as nn_scores
from limelight.nn.attention import mix
from limelight.nn.positions import Positions, Rotary
from limelight.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Tokens:
    """1: the text in pieces. text, ids: [T]. place: the piece that is followed, the last one of the word."""

    text: tuple[str, ...]
    ids: tuple[int, ...]
    place: int


@dataclass(frozen=True)
class Embedded:
    """2: the piece as a vector [W] from the table; `scale` is what the model multiplies it by."""

    vector: Tensor
    scale: float


@dataclass(frozen=True)
class Placed:
    """3: where the piece stands.

    added: [W] what its position adds to its vector, zeros where positions are turned in. stream: [W] what enters the
    first layer. angles: [R / 2] by how many radians features i and i + R / 2 of queries and keys are turned here, none
    where positions are added. amplitude: what turning multiplies them by, 1 for most models.
    """

    added: Tensor
    stream: Tensor
    angles: Tensor
    amplitude: float


@dataclass(frozen=True)
class Projected:
    """4: what the piece asks for, and what every piece offers, in this head.

    query: [D], and query_before before it was turned; keys, keys_before: [T, D]; values: [T, D]. kv_head: the head
    whose keys and values this one uses; `sharing` heads use the same.
    """

    query_before: Tensor
    query: Tensor
    keys_before: Tensor
    keys: Tensor
    values: Tensor
    kv_head: int
    sharing: int


@dataclass(frozen=True)
class Scores:
    """5: how well each piece's key answers the query.

    products: [T] query · key. values: [T] products · scale, and where there is a cap ``tanh(x / cap) · cap`` of that.
    """

    products: Tensor
    values: Tensor
    scale: float
    cap: float | None


@dataclass(frozen=True)
class Weights:
    """6: scores as shares. visible: [T] which pieces the mask lets through. values: [T] softmax over those, as the
    model computed it. total: the sum of ``exp(score - highest)`` over the visible ones, which softmax divides by.
    window: how many last pieces the layer sees (None: all).
    """

    visible: Tensor
    values: Tensor
    highest: float
    total: float
    window: int | None


@dataclass(frozen=True)
class Joined:
    """7: what was heard. heard: [D] the values in this head, by their weights. heads: [H · D] all heads side by side.
    own: [W] what this head alone adds through the layer's output matrix, without its bias.
    """

    heard: Tensor
    heads: Tensor
    own: Tensor


@dataclass(frozen=True)
class Added:
    """8: the stream through the layer.

    order: where the norms stand, "pre", "post", "sandwich" or "parallel". before, after: [W] the stream in front of
    the layer and behind it. attention, feedforward: [W] what the two parts add. In all orders but "post" after
    is the sum of the other three; in "post" the stream is normalised behind each part.
    """

    order: str
    before: Tensor
    attention: Tensor
    feedforward: Tensor
    after: Tensor


@dataclass(frozen=True)
class Output:
    """9: the model's answer behind the piece. top: the likeliest next tokens, each with its logit and its probability,
    ``exp(logit - total)``. total: the logarithm of the sum of exp over all logits. stream: [W] what the head reads.
    """

    stream: Tensor
    top: tuple[tuple[str, float, float], ...]
    total: float


@dataclass(frozen=True)
class Steps:
    """The nine steps. T tokens, W model width, H heads, D head width; all tensors are float32 on CPU."""

    layer: int
    head: int
    tokens: Tokens
    embedded: Embedded
    placed: Placed
    projected: Projected
    scores: Scores
    weights: Weights
    joined: Joined
    added: Added
    output: Output


@torch.inference_mode()
def steps(
    network: Decoder, tokenizer: Tokenizer, reading: Reading, word: int, layer: int, head: int, n: int = 10
) -> Steps:
    """Follows the last token of word number `word` through one head of one layer; n next words at the end.

    Raises RequestError if there is no such layer or head.
    """
    block, stack = block_of(network, layer, head), stack_of(network)
    attention, D = block.attention, block.attention.head_width
    place = reading.words[word].tokens[-1]
    at = _run(network, reading, layer)

    def here(x: Tensor) -> Tensor:
        """What is recorded [1, T, W] at the place that is followed: [W]."""
        return _own(x[0, place])

    q, k, v, how, weights = at["core"]
    sharing = q.shape[1] // k.shape[1]
    kv_head = head // sharing
    projected = Projected(
        _own(at["q"][0, head, place]),
        _own(q[0, head, place]),
        _own(at["k"][0, kv_head]),
        _own(k[0, kv_head]),
        _own(v[0, kv_head]),
        kv_head,
        sharing,
    )
    products = projected.keys @ projected.query
    scores = products * attention.scale
    if attention.cap is not None:
        scores = (scores / attention.cap).tanh() * attention.cap
    if how.bias is not None:
        scores = scores + _own(how.bias[0, head, place])
    allowed = how.mask.tensor(*weights.shape[-2:], weights.device)
    visible = torch.ones(len(scores), dtype=torch.bool)
    if allowed is not None:
        visible = allowed.expand(weights.shape)[0, head, place].cpu()
    highest = scores[visible].max()
    total = (scores[visible] - highest).exp().sum()
    if how.sinks is not None:
        total = total + (_own(how.sinks[head]) - highest).exp()

    (scaled, positions), (joined,) = at["scaled"], at["joined"]
    angles, amplitude = _turn(attention.rotary, positions, place)
    mine = slice(head * D, (head + 1) * D)
    alone = joined.new_zeros(2, joined.shape[-1])  # one row with this head, one with none, which leaves the bias
    alone[0, mine] = joined[0, place, mine]
    with_head, without = attention.out(alone)
    hidden = at["hidden"]
    attended, *_, fed = block.joins
    return Steps(
        layer,
        head,
        Tokens(tuple(map(tokenizer.token, reading.tokens)), reading.tokens, place),
        Embedded(here(at["embedded"]), stack.embeddings.scale),
        Placed(
            here(stack.embeddings.positions(torch.zeros_like(scaled), positions)), here(at["placed"]), angles, amplitude
        ),
        projected,
        Scores(products, scores, attention.scale, attention.cap),
        Weights(visible, _own(weights[0, head, place]), float(highest), float(total), attention.window),
        Joined(here(joined)[mine], here(joined), _own(with_head - without)),
        Added(
            block.order,
            here(at["before"][0]),
            here(attended.inner(at["attention"])),
            here(fed.inner(at["feedforward"])),
            here(at["after"]),
        ),
        _output(network, tokenizer, hidden[0, place], n),
    )


def _run(network: Decoder, reading: Reading, layer: int) -> dict[str, Any]:
    """Reads the text on a twin that records what goes into and comes out of the parts of one layer, by name."""
    other = twin(network)
    block, stack = block_of(other, layer), stack_of(other)
    attention = block.attention
    at: dict[str, Any] = {}

    def core(q: Tensor, k: Tensor, v: Tensor, how: nn_scores.Scores) -> Tensor:
        weights = attention.weigh(q, k, how)
        at["core"] = (q, k, v, how, weights)
        return mix(weights, v)

    attention.core = core
    before: dict[str, nn.Module] = {"scaled": stack.embeddings.positions, "joined": attention.out, "before": block}
    for name, module in before.items():
        module.register_forward_pre_hook(lambda _, inputs, name=name: at.__setitem__(name, inputs))
    behind: dict[str, nn.Module] = {"embedded": other.embed, "placed": stack.embeddings.positions}
    behind |= {"q": attention.q_norm, "k": attention.k_norm}
    behind |= {"attention": attention, "feedforward": block.feedforward, "after": block}
    for name, module in behind.items():
        module.register_forward_hook(lambda _, inputs, output, name=name: at.__setitem__(name, output))
    at["hidden"] = other.read(torch.tensor([reading.tokens], device=network.device))
    return at


def _turn(rotary: nn.Module, positions: Positions, place: int) -> tuple[Tensor, float]:
    """The angles [R / 2] by which features are turned at a place, and what turning multiplies them by."""
    if not isinstance(rotary, Rotary):
        return torch.zeros(0), 1.0
    cos, sin = rotary.table(Positions(torch.tensor([1]), positions.longest), torch.float32)
    half = rotary.width // 2
    steps = torch.atan2(sin[0, half:], cos[0, :half])  # from one place to the next, at most one radian
    return steps * place, float(torch.hypot(sin[0, half], cos[0, 0]))


def _output(network: Decoder, tokenizer: Tokenizer, stream: Tensor, n: int) -> Output:
    logits = network.logits(stream).cpu()
    total = logits.logsumexp(-1)
    best = logits.topk(min(n, network.vocab))
    names = map(tokenizer.spell, best.indices.tolist())
    top = zip(names, best.values.tolist(), (best.values - total).exp().tolist(), strict=True)
    return Output(_own(stream), tuple(top), float(total))


def _own(x: Tensor) -> Tensor:
    """A copy in float32 on CPU, so that what is kept does not keep the rest of what was recorded."""
    return x.detach().to("cpu", torch.float32, copy=True)

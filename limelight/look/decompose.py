"""Taking a decoder's answer apart along its residual stream, in one pass (ALTI-Logit, Ferrando et al., 2023).

What the asking position ends with is a sum: its own embedding, what each layer's attention heard from each position,
and what each feed-forward added. With the norms held at the spread they had, every summand's share of the logit is an
inner product. What was heard in a layer from a position is passed on to the tokens which that position is made of by
then, in proportions that are measured layer by layer (ALTI, Ferrando et al., 2022). What the feed-forwards add belongs
to no token and is, with the biases, the constant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.errors import RequestError
from limelight.look import links
from limelight.look.inquiry import Inquiry
from limelight.look.linear import along_bias, backward, pull, pulled, push
from limelight.look.question import Likelihood
from limelight.look.record import ROWS, block_of, heads_of, in_rows, twin
from limelight.look.session import DecoderSession, Progress
from limelight.models.api import Decoder
from limelight.nn.block import Block
from limelight.nn.heads import LMHead
from limelight.nn.scores import Scores
from limelight.nn.stack import Stack

ALTERNATIVES = 10
"""The likeliest other answers that one is held against where no foil is named: what the answer shares with all of them,
such as being a noun, is not what made it likely rather than them."""


@dataclass(frozen=True)
class Shares:
    """What each token gave to the logits explained, [T], and what no token did; together `total`, those logits."""

    tokens: Tensor
    constant: float
    total: float


@dataclass(frozen=True)
class Layer:
    """What one layer did with T positions, n of which ask; no more of it than the walk back needs.

    mixing: how much of each position behind the attention comes from each before it; see `mixing`. weights: [H, n, T],
    what the asking positions attend to. values: [K, T, D]. stream, read, fed: [n, W] of the asking positions: what
    they brought, and what attention and feed-forward put out.
    """

    mixing: list[Tensor]
    weights: Tensor
    values: Tensor
    stream: Tensor
    read: Tensor
    fed: Tensor


class Trace:
    """One text run once; what some of its positions answer can then be taken apart.

    asked: those n positions; the last one if None is given. attention: whether all attention is to be kept from the
    same run. hidden: [n, W], states: [T, W], of all positions. heads: each layer's attention [H, T, T], or none. Raises
    RequestError if the decoder is recurrent or hears a source.
    """

    @torch.inference_mode(False)  # the output projections keep their graphs for a moment
    def __init__(
        self, network: Decoder, tokens: Sequence[int], asked: Sequence[int] | None = None, attention: bool = False
    ) -> None:
        stack = network.decoder
        if not isinstance(stack, Stack) or stack.crosses or stack.recurrent:
            raise RequestError("only a transformer that reads one text can be taken apart; use leave-one-out instead")
        if not apart(stack):
            raise RequestError(
                "the heads of this model are gated or rest on sinks, which cannot be taken apart; measure it"
            )
        self._stack = stack
        self._asked = [len(tokens) - 1] if asked is None else list(asked)
        watched = twin(network)
        watches = []
        for layer in range(len(stack.blocks)):
            block, heads = block_of(watched, layer), heads_of(network, layer)
            watches.append(_Watch(block, heads, network.config.width, len(tokens), self._asked, keeps=attention))
        with torch.no_grad():
            self.states = watched.read(torch.tensor([tokens], device=network.device))[0]
        self.hidden = self.states[self._asked].float()
        taken = [watch.taken() for watch in watches]
        self._layers = [layer for layer, _ in taken]
        self.heads = [heads for _, heads in taken if heads is not None]

    def shares(self, direction: Tensor, offset: float = 0.0, i: int = 0, first: int = 0) -> Shares:
        """What each token gives to ``direction · hidden[i] + offset``, direction [W], through the attention of all
        layers from `first` on; what was in the stream in front of that layer counts as constant, except at layer 0,
        where it is the token's own."""
        with torch.inference_mode():
            return self._shares(direction.float(), offset, i, first)

    def rollout(self, i: int = 0) -> Tensor:
        """How much of the asking position i is made of each token, [T], behind all layers; they sum to one."""
        made = torch.zeros(self._layers[0].values.shape[1], device=self.hidden.device)
        made[self._asked[i]] = 1
        for layer in reversed(self._layers):
            made = _unmixed(made, layer.mixing)
        return made.cpu()

    def _shares(self, direction: Tensor, offset: float, i: int, first: int) -> Shares:
        total = float(direction @ self.hidden[i]) + offset
        norm = self._stack.norm
        blocks = [cast("Block", block) for block in self._stack.blocks]
        constant = offset + along_bias(norm, direction)
        direction = pull(norm, _behind(blocks[-1], self._layers[-1], i), direction)
        tokens = torch.zeros(self._layers[0].values.shape[1], device=direction.device)
        for number in reversed(range(len(blocks))):
            block, layer = blocks[number], self._layers[number]
            # What came from higher layers passes through this layer's mixture; what this one heard starts in front.
            tokens = _unmixed(tokens, layer.mixing)
            if number >= first:
                given, silent, direction = _taken_apart(block, layer, i, direction)
                tokens += given
                constant += silent
        brought = direction @ self._layers[first].stream[i]
        if first == 0:
            tokens[self._asked[i]] += brought
        else:
            constant += float(brought)
        return Shares(tokens.cpu(), constant, total)


def apart(stack: Stack) -> bool:
    """Whether what a stack's heads heard can be taken apart: all of it comes from tokens, none from sinks, and no gate
    changes it."""
    attentions = [cast("Block", block).attention for block in stack.blocks]
    return all(attention.sinks is None and attention.gate is None for attention in attentions)


def alti_logit(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """What each word gave to the log-odds, through every layer's attention, summed over the tokens of the word in
    question."""
    return inquiry.session.once((alti_logit, inquiry), lambda: _alti_logit(inquiry))


def _alti_logit(inquiry: Inquiry) -> list[float]:
    session, question = inquiry.session, inquiry.likelihood
    assert isinstance(session, DecoderSession)
    trace = traced(session, question.at)
    session.front(question.at[-1] + 1).forget((Trace, question.at))  # it is large
    network = session.network
    shares = [trace.shares(*explained(network, question, i, trace.hidden[i]), i) for i in range(len(question.at))]
    return inquiry.by_span(torch.stack([share.tokens for share in shares]).sum(0))


def traced(session: DecoderSession, at: tuple[int, ...]) -> Trace:
    """The trace of a text up to the last of some positions; what it read is kept for others who need it."""
    front, length = session.front(at[-1] + 1), at[-1] + 1

    def trace() -> Trace:
        whole = length == len(front.tokens)
        made = Trace(front.network, front.tokens[:length], at, attention=whole and links.keepable(front))
        if whole and made.heads:
            links.keep(front, made.heads, made.states)
        elif whole:
            vars(front).setdefault("hidden", made.states)
        return made

    return front.once((Trace, at), trace)


def explained(network: Decoder, question: Likelihood, i: int, hidden: Tensor) -> tuple[Tensor, float]:
    """The word's logit less that of the foil, or less the mean of its likeliest alternatives', each counted by its
    chance among them, as a direction [W] and an offset: ``direction · hidden + offset``. A soft cap on the logits is
    held at what it did to each of them."""
    answer = question.answer[i]
    if question.foil is None:
        with torch.inference_mode():
            best = network.logits(hidden.to(network.dtype)).topk(min(ALTERNATIVES + 1, network.vocab)).indices.tolist()
        alternatives = [id for id in best if id != answer][:ALTERNATIVES]
    else:
        alternatives = [question.foil]
    ids = [answer, *alternatives]
    weights, biases = _head_rows(network, ids)
    raw, cap = weights @ hidden + biases, _lm_head(network).cap
    logits = raw if cap is None else (raw / cap).tanh() * cap
    slopes = torch.cat((logits.new_ones(1), -logits[1:].softmax(-1))) * torch.where(raw == 0, 1, logits / raw)
    return slopes @ weights, float(slopes @ biases)


def _lm_head(network: Decoder) -> LMHead:
    assert isinstance(network.head, LMHead)
    return network.head


def _head_rows(network: Decoder, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The head's weights [n, W] and biases [n] for some tokens, without widening those of all others if it can be."""
    width, head = network.config.width, _lm_head(network)
    index = torch.tensor(ids, device=network.device)
    biases = torch.zeros(len(ids), device=network.device)
    with torch.inference_mode():
        if head.proj.bias is not None:
            biases = head.proj(torch.zeros(width, dtype=network.dtype, device=network.device)).float()[index]
        if network.config.tied:
            return network.embed(index).float() * head.scale, biases
    rows = backward(head.proj, width, F.one_hot(index, network.vocab), network.dtype)
    return rows * head.scale, biases


def mixing(
    block: Block,
    back: Callable[[Tensor], Tensor],
    weights: Sequence[Tensor],
    values: Tensor,
    stream: Tensor,
    read: Tensor,
) -> list[Tensor]:
    """How much of each position behind a block's attention comes from each before it: [T, T], rows sum to one.

    It is a lower triangle, in blocks of rows [n, S] that end where their last row does. back: directions [T, W] behind
    the attention's output projection as directions [T, H·D] in front of it. weights: such blocks too, [H, n, S].
    values: [K, T, D]. stream, read: [T, W], what the block was given and its attention put out.

    A position is a sum of vectors, one from each position before it. The share of each is its inner product with the
    sum, or nothing where that is negative. (Ferrando et al., 2022, section 3, compare distances; inner products need
    no vector for each pair of positions, so that they cost no more than the attention itself.)
    """
    K, T, D = values.shape
    first = block.joins[0]
    joined = stream + push(first.inner, read, read)
    whole = push(first.outer, joined, joined)
    own = (push(first.outer, joined, stream) * whole).sum(-1)
    directions = pull(first.inner, read, pull(first.outer, joined, whole))
    toward = back(directions).view(T, K, -1, D).permute(1, 2, 0, 3)  # [K, H / K, T, D]
    mixed, start = [], 0
    for part in weights:
        H, n, S = part.shape
        asking = toward[:, :, start : start + n].reshape(K, -1, D)  # [K, H / K · n, D]
        shares = (asking @ values[:, :S].transpose(-1, -2)).view(H, n, S).mul_(part).sum(0)
        shares.diagonal(start).add_(own[start : start + n])
        shares.clamp_(min=0)
        # A position all of whose parts point away from their sum cannot be; rounding is what could leave a row empty.
        mixed.append(shares.div_(shares.sum(-1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)))
        start += n
    return mixed


class _Watch:
    """Catches what one block of a twin does in its next run: its layer, and if it `keeps` them its heads [H, T, T]."""

    def __init__(self, block: Block, heads: int, width: int, length: int, asked: Sequence[int], *, keeps: bool) -> None:
        self._block, self._asked = block, asked
        attention, device = block.attention, next(chain(block.parameters(), block.buffers())).device
        # What stays is made before the run: among what goes it would keep the memory in between from being given back.
        room = partial(torch.empty, device=device)
        blocks = [(start, min(start + ROWS, length)) for start in range(0, length, ROWS)]
        self._layer = Layer(
            [room(stop - start, stop) for start, stop in blocks],
            room(heads, len(asked), length),
            room(attention.kv_heads, length, attention.head_width),
            *(room(len(asked), width) for _ in range(3)),
        )
        self._heads = torch.zeros(heads, length, length, device=device) if keeps else None
        self._weigh = attention.weigh
        self._out = attention.out = _Reversible(attention.out)
        attention.core = self._core
        attention.register_forward_hook(self._after_attention)
        block.feedforward.register_forward_hook(self._after_feedforward)
        block.register_forward_hook(self._after_all)

    def taken(self) -> tuple[Layer, Tensor | None]:
        """What was caught, given away: the block knows its watch and the watch its block, so that they stay a while."""
        caught = self._layer, self._heads
        del self._layer, self._heads
        return caught

    def _core(self, q: Tensor, k: Tensor, v: Tensor, scores: Scores) -> Tensor:
        self._layer.values.copy_(v[0])
        self._weights: list[Tensor] = []
        return in_rows(self._weigh, self._keep, q, k, v, scores)

    def _keep(self, start: int, weights: Tensor) -> None:
        self._weights.append(weights[0])
        if self._heads is not None:
            self._heads[:, start : start + weights.shape[2], : weights.shape[3]] = weights[0]

    def _after_attention(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._read = output[0].float()

    def _after_feedforward(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._layer.fed.copy_(output[0, self._asked])

    def _after_all(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        stream, kept = inputs[0][0].float(), self._layer
        mixed = mixing(self._block, self._out.back, self._weights, kept.values, stream, self._read)
        for room, part in zip(kept.mixing, mixed, strict=True):
            room.copy_(part)
        kept.weights.zero_()
        for i, place in enumerate(self._asked):
            row = self._weights[place // ROWS][:, place % ROWS]
            kept.weights[:, i, : row.shape[1]] = row
        kept.stream.copy_(stream[self._asked])
        kept.read.copy_(self._read[self._asked])
        del self._weights, self._read


class _Reversible(nn.Module):
    """A linear layer that can be run backwards once for each time it ran, at no more than the cost of that."""

    _x: Tensor
    _y: Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self._layer = layer

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            self._x = x.detach().requires_grad_()
            self._y = self._layer(self._x)
        return self._y.detach()

    def back(self, directions: Tensor) -> Tensor:
        """Directions [T, out] behind the layer as directions [T, in] in front of it."""
        found = pulled(self._y, self._x, directions[None].to(self._y.dtype))
        del self._x, self._y
        return found[0].float()


def _unmixed(tokens: Tensor, mixing: Sequence[Tensor]) -> Tensor:
    """What belongs to the positions behind a layer, [T], given to those in front of it."""
    found, start = torch.zeros_like(tokens), 0
    for part in mixing:
        n, S = part.shape
        found[:S] += tokens[start : start + n] @ part
        start += n
    return found


def _taken_apart(block: Block, layer: Layer, i: int, direction: Tensor) -> tuple[Tensor, float, Tensor]:
    """One layer's part in an asking position's answer along a direction [W] behind it.

    What attention gave from each position, [T]; what biases and the feed-forward gave; and the direction in front.
    """
    first, second = block.joins
    stream = layer.stream[i] + first.inner(layer.read[i])
    added = second.inner(layer.fed[i])
    constant = along_bias(second.outer, direction)
    direction = pull(second.outer, first.outer(stream) + added, direction)
    constant += float(direction @ added) + along_bias(first.outer, direction)
    direction = pull(first.outer, stream, direction)
    given, silent = _heard(block, layer, i, pull(first.inner, layer.read[i], direction))
    return given, constant + silent + along_bias(first.inner, direction), direction


def _behind(block: Block, layer: Layer, i: int) -> Tensor:
    """An asking position's stream [W] behind a layer."""
    first, second = block.joins
    stream = first.outer(layer.stream[i] + first.inner(layer.read[i]))
    out: Tensor = second.outer(stream + second.inner(layer.fed[i]))
    return out


def _heard(block: Block, layer: Layer, i: int, direction: Tensor) -> tuple[Tensor, float]:
    """What attention gave from each position, [T], along a direction behind its output; and what its biases gave."""
    attention = block.attention
    K, T, D = layer.values.shape
    weights = layer.weights[:, i]  # [H, T]
    H = len(weights)
    dtype = block.dtype
    nothing = torch.zeros(1, layer.stream.shape[1], dtype=dtype, device=layer.stream.device)
    said = attention.values(block.joins[0].before(nothing)[None])[0].float()  # [K, 1, D]
    silence = attention.out(said.expand(K, H // K, D).reshape(1, -1).to(dtype)).float()[0]
    toward = backward(attention.out, H * D, direction[None], dtype).view(K, H // K, D)
    products = toward @ (layer.values - said).transpose(-1, -2)  # [K, H / K, T]
    return (weights * products.view(H, T)).sum(0), float(silence @ direction)

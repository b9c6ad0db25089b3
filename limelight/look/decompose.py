"""Taking a decoder's answer apart along its residual stream, in one pass (ALTI-Logit, Ferrando et al., 2023).

What the asking position ends with is a sum: its own embedding, what each layer's attention heard from each position,
and what each feed-forward added. With the norms held at the spread they had, every summand's share of the logit is an
inner product. What was heard in a layer from a position is passed on to the tokens which that position is made of by
then, in proportions that are measured layer by layer (ALTI, Ferrando et al., 2022). What the feed-forwards add belongs
to no token and is, with the biases, the constant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from limelight.errors import RequestError
from limelight.look.linear import along_bias, backward, pull, push
from limelight.look.record import twin
from limelight.look.target import Question
from limelight.look.text import Reading
from limelight.look.variants import Progress
from limelight.models.api import Decoder
from limelight.nn.attention import mix
from limelight.nn.block import Block, ParallelBlock, PostNormBlock, PreNormBlock
from limelight.nn.mask import Mask
from limelight.nn.stack import Stack


@dataclass(frozen=True)
class Shares:
    """What each token gave to the logits explained, [T], and what no token did; together `total`, those logits."""

    tokens: Tensor
    constant: float
    total: float


@dataclass(frozen=True)
class Joint:
    """How a part joins the stream: ``outer(stream + inner(part))``; at most one of the two is a norm."""

    inner: nn.Module
    outer: nn.Module


@dataclass(frozen=True)
class Layer:
    """What one layer did with T positions, the last of which asks; no more of it than the walk back needs.

    mixing: [T, T] how much of each position behind the attention comes from each before it; rows sum to one. weights:
    [H, T], what the asking position attends to. values: [K, T, D]. stream, read, fed: [W] of the asking position: what
    it brought, and what attention and feed-forward put out.
    """

    mixing: Tensor
    weights: Tensor
    values: Tensor
    stream: Tensor
    read: Tensor
    fed: Tensor


class Trace:
    """One text run once; its last position's answers can then be taken apart.

    Raises RequestError if the decoder is recurrent or hears a source.
    """

    def __init__(self, network: Decoder, tokens: Sequence[int]) -> None:
        watched = twin(network)
        stack = watched.decoder
        if not isinstance(stack, Stack) or stack.crosses:
            raise RequestError("only a transformer that reads one text can be taken apart; use leave-one-out instead")
        self._stack = stack
        self._layers: list[Layer] = []
        for block in stack.blocks:
            _watch(cast("Block", block), self._layers)
        with torch.inference_mode():
            self.hidden = watched.read(torch.tensor([tokens], device=network.device))[0, -1].float()  # [W]

    def shares(self, direction: Tensor, offset: float = 0.0) -> Shares:
        """What each token gives to ``direction · hidden + offset``, direction [W] and hidden the last position's."""
        with torch.inference_mode():
            return self._shares(direction.float(), offset)

    def _shares(self, direction: Tensor, offset: float) -> Shares:
        total = float(direction @ self.hidden) + offset
        norm = self._stack.norm
        blocks = [cast("Block", block) for block in self._stack.blocks]
        constant = offset + along_bias(norm, direction)
        direction = pull(norm, _behind(blocks[-1], self._layers[-1]), direction)
        heard = []
        for block, layer in zip(reversed(blocks), reversed(self._layers), strict=True):
            first, second = joints(block)
            read = layer.stream + first.inner(layer.read)
            between = first.outer(read)
            constant += along_bias(second.outer, direction)
            direction = pull(second.outer, between + second.inner(layer.fed), direction)
            constant += float(direction @ second.inner(layer.fed)) + along_bias(first.outer, direction)
            direction = pull(first.outer, read, direction)
            given, silent = _heard(block, layer, pull(first.inner, layer.read, direction))
            constant += silent + along_bias(first.inner, direction)
            heard.append(given)
        tokens = torch.zeros_like(heard[-1])
        for layer, given in zip(reversed(self._layers), heard, strict=True):
            # What came from higher layers passes through this layer's mixture; what this one heard starts in front.
            tokens = tokens @ layer.mixing + given
        tokens[-1] += direction @ self._layers[0].stream
        return Shares(tokens.cpu(), constant, total)


def alti_logit(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """What each word gave to the log-odds, through every layer's attention; a pass for each token of the word in
    question."""
    values = [0.0] * target
    for i, place in enumerate(question.at):
        trace = Trace(network, reading.tokens[: place + 1])
        tokens = trace.shares(*explained(network, question, i, trace.hidden)).tokens
        for number, word in enumerate(reading.words[:target]):
            values[number] += float(tokens[word.tokens.start : word.tokens.stop].sum())
    return values


def explained(network: Decoder, question: Question, i: int, hidden: Tensor) -> tuple[Tensor, float]:
    """The word's logit less the mean of its rivals', each counted by its chance among them, as a direction [W] and an
    offset: ``direction · hidden + offset``. A soft cap on the logits is held at what it did to each of them."""
    with torch.inference_mode():
        raw = network.head(hidden.to(network.dtype)).float()  # [V]
        logits = network.logits(hidden.to(network.dtype))
        slopes = question.slopes(i, logits) * torch.where(raw == 0, 1, logits / raw)
        offset = float(network.head(torch.zeros_like(hidden, dtype=network.dtype)).float() @ slopes)
    return backward(network.head, len(hidden), slopes[None], network.dtype)[0], offset


def joints(block: Block) -> tuple[Joint, Joint]:
    """How a block's attention and its feed-forward join the stream."""
    nothing = nn.Identity()
    match block:
        case PreNormBlock():
            return Joint(block.attention_after, nothing), Joint(block.feedforward_after, nothing)
        case PostNormBlock():
            return Joint(nothing, block.attention_norm), Joint(nothing, block.feedforward_norm)
        case ParallelBlock():
            return Joint(nothing, nothing), Joint(nothing, nothing)


def mixing(block: Block, weights: Tensor, values: Tensor, stream: Tensor, read: Tensor) -> Tensor:
    """How much of each position behind a block's attention comes from each before it: [T, T], rows sum to one.

    weights: [H, T, T]. values: [K, T, D]. stream, read: [T, W], what the block was given and its attention put out.
    A position is a sum of vectors, one from each position before it. The share of each is its inner product with the
    sum, or nothing where that is negative. (Ferrando et al., 2022, section 3, compare distances; inner products need
    no vector for each pair of positions, so that they cost no more than the attention itself.)
    """
    attention = block.attention
    H, T, _ = weights.shape
    K, _, D = values.shape
    first, _ = joints(block)
    joined = stream + push(first.inner, read, read)
    own = push(first.outer, joined, stream)
    whole = push(first.outer, joined, joined)
    directions = pull(first.inner, read, pull(first.outer, joined, whole))
    toward = backward(attention.out, H * D, directions, _dtype(block)).view(T, K, H // K, D).permute(1, 2, 0, 3)
    products = (toward @ values[:, None].transpose(-1, -2)).view(H, T, T)
    shares = (weights * products).sum(0)
    shares.diagonal().add_((own * whole).sum(-1))
    shares = shares.clamp(min=0)
    # A position all of whose parts point away from their sum cannot be; rounding is what could leave a row empty.
    return shares / shares.sum(-1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)


def _watch(block: Block, layers: list[Layer]) -> None:
    """Makes a block of a twin add what it does to `layers` when it runs."""
    kept: dict[str, Tensor] = {}
    attention = block.attention

    def core(q: Tensor, k: Tensor, v: Tensor, mask: Mask, scale: float, cap: float | None) -> Tensor:
        kept["weights"], kept["values"] = attention.weigh(q, k, mask, scale, cap), v
        return mix(kept["weights"], v)

    def keep(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kept[name] = output[0].float()

    def finish(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weights, values, stream, read = (
            kept["weights"][0],
            kept["values"][0].float(),
            inputs[0][0].float(),
            kept["read"],
        )
        mixed = mixing(block, weights, values, stream, read)
        last = (kept[name][-1].clone() for name in ("read", "fed"))
        layers.append(Layer(mixed, weights[:, -1].clone(), values, stream[-1].clone(), *last))
        kept.clear()

    attention.core = core
    attention.register_forward_hook(partial(keep, "read"))
    block.feedforward.register_forward_hook(partial(keep, "fed"))
    block.register_forward_hook(finish)


def _behind(block: Block, layer: Layer) -> Tensor:
    """The asking position's stream [W] behind a layer."""
    first, second = joints(block)
    stream = first.outer(layer.stream + first.inner(layer.read))
    out: Tensor = second.outer(stream + second.inner(layer.fed))
    return out


def _heard(block: Block, layer: Layer, direction: Tensor) -> tuple[Tensor, float]:
    """What attention gave from each position, [T], along a direction behind its output; and what its biases gave."""
    attention = block.attention
    H, T = layer.weights.shape
    K, _, D = layer.values.shape
    dtype = _dtype(block)
    nothing = torch.zeros(1, len(layer.stream), dtype=dtype, device=layer.stream.device)
    said = attention.v(nothing if isinstance(block, PostNormBlock) else block.attention_norm(nothing)).float()
    silence = attention.out(said.view(K, 1, D).expand(K, H // K, D).reshape(1, -1).to(dtype)).float()[0]
    toward = backward(attention.out, H * D, direction[None], dtype).view(K, H // K, D)
    products = toward @ (layer.values - said.view(K, 1, D)).transpose(-1, -2)  # [K, H / K, T]
    return (layer.weights * products.view(H, T)).sum(0), float(silence @ direction)


def _dtype(block: Block) -> torch.dtype:
    return next(block.attention_norm.parameters()).dtype

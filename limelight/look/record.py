"""Opening a finished model: a twin over the same weights, with recorders where one asks for them.

The model itself is never touched, so it can go on serving others while it is looked at.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from limelight import given
from limelight.errors import RequestError
from limelight.models.api import Decoder, Encoder, Seq2Seq
from limelight.nn.attention import Attention, Core, Weigh, mix
from limelight.nn.block import Block
from limelight.nn.scores import Scores
from limelight.nn.stack import Stack

N = TypeVar("N", Decoder, Seq2Seq, Encoder)


@dataclass
class Recording(Generic[N]):
    """A twin to run, and what its last run left here.

    attention: layer → weights [B, H, T, S] in float32, or what `keep` made of them. hidden: layer → the stream
    [B, T, W] behind that layer. cross: layer → what `keep` made of its attention to the source, once for each time it
    asked, over all runs: a decoder that reads word by word asks once a word.
    """

    network: N
    attention: dict[int, Any] = field(default_factory=dict)
    hidden: dict[int, Tensor] = field(default_factory=dict)
    cross: dict[int, list[Any]] = field(default_factory=dict)


def record(
    network: N,
    *,
    attention: Iterable[int] = (),
    hidden: Iterable[int] = (),
    cross: Iterable[int] = (),
    keep: Callable[[Tensor], Any] = lambda weights: weights,
) -> Recording[N]:
    """A twin of `network` that records the attention and hidden states of the layers (from 0) asked for.

    In an encoder–decoder the layers are the decoder's. cross: layers whose attention to the source is recorded; that
    of a recurrent decoder is layer 0. keep: called with a layer's weights [B, H, T, S] as they are made; what it
    returns is kept, so that whoever needs a summary need not hold all of them at once. Raises RequestError for a layer
    that does not exist.
    """
    recording = Recording(twin(network))
    blocks = _stack(recording.network).blocks
    for layer in attention:
        part = _layer(blocks, layer).attention
        if not isinstance(part, Attention):
            raise RequestError(f"layer {layer} has a recurrent unit in the place of attention, so it has no weights")
        part.core = _recording_core(part.weigh, keep, partial(recording.attention.__setitem__, layer))
    crosses = _stack(recording.network).crosses
    for layer in cross:
        if not 0 <= layer < len(crosses):
            raise RequestError(f"layer {layer} has no attention to a source: the model has {len(crosses)} that do")
        part = crosses[layer]
        part.core = _recording_core(part.weigh, keep, recording.cross.setdefault(layer, []).append)
    for layer in hidden:
        _layer(blocks, layer).register_forward_hook(_recording_hook(recording, layer))
    return recording


ROWS = 64
"""Positions whose attention is written out at once, so that what lies between stays small."""


def in_rows(
    weigh: Weigh,
    take: Callable[[int, Tensor], None],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scores: Scores,
    *,
    causal: bool = True,
) -> Tensor:
    """A core that writes attention out `ROWS` positions at a time, and no further than they see: where the text is
    `causal`, no position sees a later one. take: called with the first of them and their weights [B, H, n, S]."""
    heard = []
    for start in range(0, q.shape[2], ROWS):
        stop = min(start + ROWS, q.shape[2])
        keys = stop if causal else k.shape[2]
        weights = weigh(q[:, :, start:stop], k[:, :, :keys], scores.rows(start, stop, keys))
        take(start, weights)
        heard.append(mix(weights, v[:, :, :keys]))
    return torch.cat(heard, dim=2)


def twin(network: N) -> N:
    """A second module tree over the same tensors: cores and hooks set on it do not reach the original."""
    copied: dict[int, nn.Module] = {}

    def double(module: nn.Module) -> nn.Module:
        if id(module) not in copied:
            # As copy.copy and the attributes' setters do, which take several times as long.
            copied[id(module)] = other = object.__new__(type(module))
            children = {name: None if child is None else double(child) for name, child in module._modules.items()}
            hooks, pre_hooks = OrderedDict(module._forward_hooks), OrderedDict(module._forward_pre_hooks)
            own = {"_modules": children, "_forward_hooks": hooks, "_forward_pre_hooks": pre_hooks}
            other.__dict__.update(vars(module) | own)
        return copied[id(module)]

    other = double(network)
    assert isinstance(other, type(network))
    return other


def numeric(network: N) -> N:
    """Lets a twin raise RequestError where what its layers or its head put out are no numbers; in place."""

    def check(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if bool(output.isnan().any()):
            raise RequestError(
                "the model's numbers are none (NaN): its weights are damaged, or its number type overflows; open it as "
                "float32 or bfloat16"
            )

    for module in (_stack(network), network.head):
        module.register_forward_hook(check)
    return network


def heedful(network: N, heed: Callable[..., None], *, deep: bool) -> N:
    """Lets a twin call `heed`, which may raise to end it, whenever it reads tokens, or, if `deep`, in front of each of
    its parts; in place.

    Deep, a long text can be given up within a layer, on the way back as well where there are gradients; but a stack
    that could run in one call (`limelight.quant.program`) then runs block by block.
    """

    def ahead(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        heed()
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].requires_grad:
            inputs[0].register_hook(heed)  # type: ignore[no-untyped-call]

    for module in list(network.modules()) if deep else [network.embed]:
        module.register_forward_pre_hook(ahead)
    return network


def stack_of(network: Decoder | Encoder) -> Stack:
    """The network's layers. Raises RequestError for a recurrent model, whose layers, or some of them, have no heads."""
    stack = _stack(network)
    if not isinstance(stack, Stack) or stack.recurrent:
        raise RequestError("this model is recurrent: it has no layers of attention to look into")
    return stack


def stream_of(network: Decoder | Encoder) -> Stack:
    """The network's layers, whatever reads in them, over one stream. Raises RequestError where there is no stream."""
    stack = _stack(network)
    if not isinstance(stack, Stack):
        raise RequestError("this model is recurrent: it has no stream through its layers to look into")
    return stack


def _stack(network: Decoder | Seq2Seq | Encoder) -> Any:
    """What the head reads from: the decoder, or the encoder where there is none."""
    return network.encoder if isinstance(network, Encoder) else network.decoder


def block_of(network: Decoder | Encoder, layer: int, head: int | None = None) -> Block:
    """One of the network's layers. Raises RequestError if there is no such layer, or no such head in it."""
    block = cast("Block", _layer(stack_of(network).blocks, layer))
    heads = heads_of(network, layer)
    if head is not None and not 0 <= given.whole("head", head) < heads:
        raise RequestError(f"there is no head {head}: layer {layer} has heads 0 to {heads - 1}")
    return block


def heads_of(network: Decoder | Encoder, layer: int) -> int:
    """How many heads a layer has."""
    return network.config.transformer.blocks[layer].attention.heads


def _layer(blocks: nn.ModuleList, layer: int) -> nn.Module:
    if not 0 <= given.whole("layer", layer) < len(blocks):
        raise RequestError(f"there is no layer {layer}: the model has layers 0 to {len(blocks) - 1}")
    return blocks[layer]


def _recording_core(weigh: Weigh, keep: Callable[[Tensor], Any], take: Callable[[Any], None]) -> Core:
    def core(q: Tensor, k: Tensor, v: Tensor, scores: Scores) -> Tensor:
        weights = weigh(q, k, scores)
        take(keep(weights))
        return mix(weights, v)

    return core


def _recording_hook(recording: Recording[Any], layer: int) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        recording.hidden[layer] = output.detach()

    return hook

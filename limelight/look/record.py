"""Opening a finished model: a twin over the same weights, with recorders where one asks for them.

The model itself is never touched, so it can go on serving others while it is looked at.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from limelight.errors import RequestError
from limelight.models.api import Decoder
from limelight.nn.attention import Attention, Core, Weigh, mix
from limelight.nn.mask import Mask


@dataclass
class Recording:
    """A twin to run, and what its last run left here.

    attention: layer → weights [B, H, T, S] in float32, or what `keep` made of them. hidden: layer → the stream
    [B, T, W] behind that layer.
    """

    network: Decoder
    attention: dict[int, Any] = field(default_factory=dict)
    hidden: dict[int, Tensor] = field(default_factory=dict)


def record(
    network: Decoder,
    *,
    attention: Iterable[int] = (),
    hidden: Iterable[int] = (),
    keep: Callable[[Tensor], Any] = lambda weights: weights,
) -> Recording:
    """A twin of `network` that records the attention and hidden states of the layers (from 0) asked for.

    keep: called with a layer's weights [B, H, T, S] as they are made; what it returns is kept, so that whoever needs
    a summary need not hold all of them at once. Raises RequestError for a layer that does not exist.
    """
    recording = Recording(twin(network))
    blocks = recording.network.decoder.blocks
    for layer in attention:
        part = _layer(blocks, layer).attention
        assert isinstance(part, Attention)
        part.core = _recording_core(recording, layer, part.weigh, keep)
    for layer in hidden:
        _layer(blocks, layer).register_forward_hook(_recording_hook(recording, layer))
    return recording


def twin(network: Decoder) -> Decoder:
    """A second module tree over the same tensors: cores and hooks set on it do not reach the original."""
    copied: dict[int, nn.Module] = {}

    def double(module: nn.Module) -> nn.Module:
        if id(module) not in copied:
            other = copy.copy(module)
            copied[id(module)] = other
            other._modules = {name: None if child is None else double(child) for name, child in module._modules.items()}
            other._forward_hooks = OrderedDict(module._forward_hooks)
            other._forward_pre_hooks = OrderedDict(module._forward_pre_hooks)
        return copied[id(module)]

    other = double(network)
    assert isinstance(other, Decoder)
    return other


def _layer(blocks: nn.ModuleList, layer: int) -> nn.Module:
    if not 0 <= layer < len(blocks):
        raise RequestError(f"there is no layer {layer}: the model has layers 0 to {len(blocks) - 1}")
    return blocks[layer]


def _recording_core(recording: Recording, layer: int, weigh: Weigh, keep: Callable[[Tensor], Any]) -> Core:
    def core(q: Tensor, k: Tensor, v: Tensor, mask: Mask, scale: float, cap: float | None) -> Tensor:
        weights = weigh(q, k, mask, scale, cap)
        recording.attention[layer] = keep(weights)
        return mix(weights, v)

    return core


def _recording_hook(recording: Recording, layer: int) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        recording.hidden[layer] = output.detach()

    return hook

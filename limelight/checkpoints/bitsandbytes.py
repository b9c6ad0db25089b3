"""bitsandbytes: weights of 4 bits that are places in a table, and rows of 8-bit integers."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight.checkpoints.made import Held, Made, Weights, blocks
from limelight.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from limelight.quant.packed import Packed


def bitsandbytes(file: Held, said: Mapping[str, Any]) -> Weights:
    """bitsandbytes' 4-bit tables (NF4 and FP4 of QLoRA; Dettmers et al., 2023) and rows of 8 bits (LLM.int8())."""
    made = {}
    for stem in file.stems("SCB"):
        rows, columns = file.shape(f"{stem}weight", 2)
        file.kind(f"{stem}weight", "I8")
        names: tuple[str, ...] = (f"{stem}weight", file.expect(f"{stem}SCB", (rows,)))
        fits = columns % 16 == 0

        def eight(weight: Tensor, peak: Tensor, fits: bool = fits) -> Tensor | Packed:
            scale = peak.float()[:, None] / 127
            if not fits:
                return weight.float() * scale
            return blocks("S8", weight.shape, 16, weight.view(torch.uint8).view(len(weight), -1, 16), scale)

        made[f"{stem}weight"] = Made(names, (rows, columns), "INT8", eight)
    for name in file.reader.names():
        weight, _, kind = name.partition(".quant_state.bitsandbytes__")
        if kind not in {"nf4", "fp4"}:
            continue
        state = _state(file, name)
        shape, block, nested = state["shape"], state["blocksize"], state.get("nested_blocksize")
        count = math.prod(shape)
        held = -(-count // block)
        file.expect(weight, (-(-count // 2), 1))
        file.kind(weight, "U8")
        names = (weight, file.expect(f"{weight}.absmax", (held,), "F32" if nested is None else "U8"))
        names += (file.expect(f"{weight}.quant_map", (16,)),)
        if nested is not None:
            names += (file.expect(f"{weight}.nested_absmax", (-(-held // nested),)),)
            names += (file.expect(f"{weight}.nested_quant_map", (256,)),)

        def make(
            packed: Tensor,
            peaks: Tensor,
            table: Tensor,
            outer: Tensor | None = None,
            inner: Tensor | None = None,
            state: Mapping[str, Any] = state,
        ) -> Tensor:
            if outer is not None and inner is not None:
                of_block = outer.repeat_interleave(state["nested_blocksize"])[: len(peaks)]
                peaks = inner[peaks.to(torch.int64)] * of_block + state["nested_offset"]
            codes = torch.stack((packed >> 4, packed & 15), -1).flatten()[: math.prod(state["shape"])]
            peaks = peaks.float().repeat_interleave(state["blocksize"])[: len(codes)]
            return (table.float()[codes.to(torch.int64)] * peaks).view(state["shape"])

        made[weight] = Made((*names, name), shape, kind.upper(), lambda *parts, make=make: make(*parts[:-1]))
    return made


def _state(file: Held, name: str) -> dict[str, Any]:
    """What bitsandbytes says of a weight, in JSON within a tensor. Raises ConfigError where that is no sense."""
    try:
        held = file.reader.read(name)
        assert isinstance(held, Tensor)
        state = json.loads(held.numpy().tobytes())
        state["shape"] = tuple(state["shape"])
        sizes = [*state["shape"], state["blocksize"], state.get("nested_blocksize", 1)]
        offset = state.get("nested_offset", 0.0)
        if not all(type(size) is int and 0 < size < 1 << 32 for size in sizes) or not isinstance(offset, int | float):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, AssertionError):
        raise ConfigError(f"the tensor {name!r} does not describe a quantised weight") from None
    return dict(state)

"""The compiled kernels: where they are, the order of bytes they read, and their functions.

``native/kernels.cpp`` is built with the package where there is a C++ compiler (``hatch_build.py``) and reached through
ctypes. Where it is missing, or ``LIMELIGHT_NATIVE=0``, ``KERNELS`` is empty and ``limelight.quant.kernels`` uses torch.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from limelight.errors import RequestError
from limelight.quant.packed import FORMATS, Groups, Packed, groups

if TYPE_CHECKING:
    from torch import Tensor

TILE = 16  # rows whose bytes are interleaved


class Layout(NamedTuple):
    """How the kernels hold a format's weights, ``scale * (code - zero) + minimum``."""

    bits: int  # of a code, 4 or 8
    group: int  # columns to a scale
    zero: int
    minima: bool
    wide: bool  # scales in float32, because float16 would round them

    @property
    def sizes(self) -> list[int]:
        """Bytes of the codes, scales and minima of one group of a tile."""
        scales = TILE * (4 if self.wide else 2)
        return [TILE * self.group * self.bits // 8, scales, scales if self.minima else 0]


LAYOUTS = {
    "Q4_0": Layout(4, 32, 8, minima=False, wide=False),
    "Q4_1": Layout(4, 32, 0, minima=True, wide=False),
    "Q5_0": Layout(8, 32, 16, minima=False, wide=False),
    "Q5_1": Layout(8, 32, 0, minima=True, wide=False),
    "Q8_0": Layout(8, 32, 128, minima=False, wide=False),
    "Q4_K": Layout(4, 32, 0, minima=True, wide=True),
    "Q5_K": Layout(8, 32, 0, minima=True, wide=True),
    "Q6_K": Layout(8, 16, 32, minima=False, wide=True),
}
_LAYOUT_ARGUMENTS = {name: (ctypes.c_int32 * 5)(*layout) for name, layout in LAYOUTS.items()}

# ---- the library


def _load() -> ctypes.CDLL | None:
    if os.environ.get("LIMELIGHT_NATIVE") == "0":
        return None
    path = Path(__file__).with_name("_native.so")
    try:
        library = ctypes.CDLL(str(path))
    except OSError:
        return None  # not built, or built for another machine
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    library.limelight_kernels.argtypes = [number]
    library.limelight_kernels.restype = ctypes.c_char_p
    matrix = [pointer, pointer, size, size]  # layout, data, rows, columns
    library.limelight_linear.argtypes = [number, *matrix, pointer, size, pointer, pointer, number, number]
    library.limelight_linear.restype = None
    library.limelight_rows.argtypes = [*matrix, pointer, size, pointer, number, number]
    library.limelight_rows.restype = number
    return library


def _kernels(library: ctypes.CDLL | None) -> tuple[str, ...]:
    names: list[str] = []
    while library and (name := library.limelight_kernels(len(names))):
        names.append(name.decode())
    return tuple(names)


_library = _load()

#: Names of the sets of kernels that this machine can run, the best first.
KERNELS = _kernels(_library)


def linear(x: Tensor, data: Tensor, bias: Tensor | None, format: str, rows: int, kernel: int = 0) -> Tensor:
    """``x · Wᵀ + bias``: x ``[..., columns]``, float32 or bfloat16, gives ``[..., rows]``; data as from ``repack``.

    Inputs are rounded to 8 bits, a scale for each group. A row's result depends on nothing but that row: neither on
    the other rows of ``x`` nor on the number of threads. ``kernel`` is an index into ``KERNELS``.
    """
    assert _library is not None
    x = x.contiguous()
    columns = x.shape[-1]
    y = x.new_empty(*x.shape[:-1], rows)
    if bias is not None:
        bias = bias.to(x.dtype).contiguous()
    _library.limelight_linear(
        kernel,
        _LAYOUT_ARGUMENTS[format],
        data.data_ptr(),
        rows,
        columns,
        x.data_ptr(),
        x.numel() // columns,
        None if bias is None else bias.data_ptr(),
        y.data_ptr(),
        x.dtype is torch.bfloat16,
        torch.get_num_threads(),
    )
    return y


def rows(data: Tensor, index: Tensor | None, format: str, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The rows that ``index`` names, or all, as float32 or bfloat16 ``[*index.shape, columns]``.

    Raises ``RequestError`` when there is no such row.
    """
    assert _library is not None
    index = None if index is None else index.to(torch.int64).contiguous()
    count = shape[0] if index is None else index.numel()
    y = torch.empty(*(shape[:1] if index is None else index.shape), shape[1], dtype=dtype)
    failed = _library.limelight_rows(
        _LAYOUT_ARGUMENTS[format],
        data.data_ptr(),
        *shape,
        None if index is None else index.data_ptr(),
        count,
        y.data_ptr(),
        dtype is torch.bfloat16,
        torch.get_num_threads(),
    )
    if failed:
        raise RequestError(f"a row outside 0 … {shape[0] - 1} was asked for")
    return y


# ---- the order of bytes


def repack(packed: Packed) -> Tensor:
    """The bytes in the kernels' order, uint8 ``[tiles, groups, bytes]`` (see ``kernels.cpp``)."""
    layout = LAYOUTS[packed.format]
    count, columns = packed.data.shape[0], packed.shape[-1]
    tiles = -(-count // TILE)
    data = torch.empty(tiles, columns // layout.group, sum(layout.sizes), dtype=torch.uint8)
    step = max(1, (1 << 20) // (TILE * columns))  # tiles at a time, so that what lies between stays small
    for start in range(0, tiles, step):
        q, scale, minimum = groups(packed.rows(slice(start * TILE, (start + step) * TILE)))
        codes = q.view(torch.uint8) + layout.zero  # [R, G, group]; an int8 below zero wraps round to where it belongs
        if layout.bits == 4:
            low, high = codes.chunk(2, dim=-1)
            codes = low | high << 4
        scales = [scale, minimum][: 1 + layout.minima]
        parts = [codes.unflatten(-1, (-1, 4))]
        parts += [
            t.to(torch.float32 if layout.wide else torch.float16).view(torch.uint8).unflatten(-1, (q.shape[1], 1, -1))
            for t in scales
        ]
        to = data[start : start + step]
        for part, place in zip(parts, to.split(layout.sizes, dim=-1), strict=False):
            padded = torch.nn.functional.pad(part, (0, 0, 0, 0, 0, 0, 0, len(to) * TILE - len(part)))
            interleaved = padded.unflatten(0, (-1, TILE)).permute(0, 2, 3, 1, 4)  # [tiles, G, units, 16, unit]
            place.copy_(interleaved.flatten(2))
    return data


def unpack(data: Tensor, format: str, rows: int) -> Groups:
    """Takes ``repack``'s bytes apart again, into the same integers, scales and minima as ``packed.groups``."""
    layout = LAYOUTS[format]
    parts = []
    for part, unit in zip(
        data.split(layout.sizes, dim=-1), (4, layout.sizes[1] // TILE, layout.sizes[1] // TILE), strict=True
    ):
        straight = part.unflatten(-1, (-1, TILE, unit)).permute(0, 3, 1, 2, 4)
        parts.append(straight.reshape(len(data) * TILE, data.shape[1], -1)[:rows])
    codes, *scales = parts
    if layout.bits == 4:
        codes = torch.cat((codes & 15, codes >> 4), dim=-1)
    codes = codes - layout.zero
    if not layout.minima:
        codes = codes.view(torch.int8)
    scale, *minima = (
        t.view(torch.float32 if layout.wide else torch.float16).float().squeeze(-1) for t in scales if t.numel()
    )
    return Groups(codes, scale, minima[0] if minima else torch.full_like(scale, -0.0))

"""The compiled kernels: where they are, the order of bytes they read, and their functions.

``native/kernels.cpp`` is built with the package where there is a C++ compiler (``hatch_build.py``) and reached through
ctypes. Where it is missing, or ``LIMELIGHT_NATIVE=0``, ``KERNELS`` is empty and ``limelight.quant.kernels`` uses torch.
``LIMELIGHT_NATIVE=avx2``, or another of the names in it, leaves out all that are better.
"""

from __future__ import annotations

import ctypes
import os
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F

from limelight.errors import RequestError
from limelight.quant.packed import FORMATS, Groups, Packed, groups
from limelight.quant.pages import empty

if TYPE_CHECKING:
    from torch import Tensor

TILE = 16  # rows whose bytes are interleaved
CHUNK = 1 << 20  # weights reordered at a time, so that what lies between stays small
LIBRARY = Path(__file__).with_name("_native.so")
SOURCES = Path(__file__).parent / "native"


class Layout(NamedTuple):
    """How the kernels hold a format's weights, ``scale * (code - zero) + minimum``."""

    bits: int  # of a code, 4 or 8
    group: int  # columns to a scale
    zero: int
    minima: bool
    wide: bool  # scales in float32, because float16 would round them

    @property
    def stored(self) -> torch.dtype:
        """The type of the scales and minima."""
        return torch.float32 if self.wide else torch.float16

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Bytes of the codes, scales and minima of one group of a tile."""
        scales = TILE * self.stored.itemsize
        return TILE * self.group * self.bits // 8, scales, scales if self.minima else 0


LAYOUTS = {
    "Q4_0": Layout(4, 32, 8, minima=False, wide=False),
    "Q4_1": Layout(4, 32, 0, minima=True, wide=False),
    "Q5_0": Layout(8, 32, 16, minima=False, wide=False),
    "Q5_1": Layout(8, 32, 0, minima=True, wide=False),
    "Q8_0": Layout(8, 32, 128, minima=False, wide=False),
    "Q4_K": Layout(4, 32, 0, minima=True, wide=True),
    "Q5_K": Layout(8, 32, 0, minima=True, wide=True),
    "Q6_K": Layout(8, 16, 32, minima=False, wide=True),
    "Q2_K": Layout(8, 16, 0, minima=True, wide=True),
    "Q3_K": Layout(8, 16, 4, minima=False, wide=True),
    "TQ2_0": Layout(8, 32, 1, minima=False, wide=True),
    "IQ4_NL": Layout(8, 32, 128, minima=False, wide=False),
    "IQ4_XS": Layout(8, 32, 128, minima=False, wide=True),
    "MXFP4": Layout(8, 32, 128, minima=False, wide=True),
    "NVFP4": Layout(8, 16, 128, minima=False, wide=True),
    "S8": Layout(8, 16, 128, minima=False, wide=True),
    "U4": Layout(4, 32, 0, minima=True, wide=True),
}
AS_STORED = ("Q4_0", "Q4_1")
"""Formats whose codes lie in a file's block as in the kernels' order, behind a scale and a minimum in float16."""

LAYOUT_ARGUMENTS = {name: (ctypes.c_int32 * 5)(*layout) for name, layout in LAYOUTS.items()}


# ---- the library


def _load() -> ctypes.CDLL | None:
    if os.environ.get("LIMELIGHT_NATIVE") == "0":
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY))
        library.limelight_source.restype = ctypes.c_uint32
        source = b"".join(file.read_bytes() for file in sorted(SOURCES.iterdir()))
        if library.limelight_source() != zlib.crc32(source):
            return None  # built from another version of the source: its functions may have changed
    except (OSError, AttributeError):
        return None  # not built, or built for another machine
    pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    library.limelight_kernels.argtypes = (number,)
    library.limelight_kernels.restype = ctypes.c_char_p
    matrix = (pointer, pointer, size, size)  # layout, data, rows, columns
    library.limelight_linear.argtypes = (number, *matrix, pointer, size, pointer, pointer, number, number, number)
    library.limelight_linear.restype = None
    library.limelight_rows.argtypes = (*matrix, pointer, size, pointer, number, number)
    library.limelight_rows.restype = number
    library.limelight_run.argtypes = (number, pointer, size, pointer, number)
    library.limelight_run.restype = None
    return library


def _kernels(library: ctypes.CDLL | None) -> tuple[str, ...]:
    names: list[str] = []
    while library and (name := library.limelight_kernels(len(names))):
        names.append(name.decode())
    return tuple(names)


_library = _load()

#: Names of the sets of kernels that this machine can run, the best first; empty without the library.
KERNELS = _kernels(_library)


def half(kernel: int) -> torch.dtype:
    """The 16-bit type in which these kernels keep keys and values: bfloat16 if they multiply it, else float16."""
    return torch.bfloat16 if KERNELS[kernel].endswith("bf16") else torch.float16


def linear(
    x: Tensor, data: Tensor, bias: Tensor | None, format: str, rows: int, kernel: int = 0, *, rounded: bool = True
) -> Tensor:
    """``x · Wᵀ + bias``: x ``[..., columns]``, float32 or bfloat16, gives ``[..., rows]``; data as from ``repack``.

    Inputs are rounded to 8 bits, one scale for each group. A row's result depends on nothing but that row: neither on
    the other rows of ``x`` nor on the number of threads. ``kernel`` is an index into ``KERNELS``. Without ``rounded``
    the inputs, which must be float32, stay as they are.
    """
    assert _library is not None
    x = x.contiguous()
    columns = x.shape[-1]
    y = x.new_empty(*x.shape[:-1], rows)
    if bias is not None:
        bias = bias.to(x.dtype).contiguous()
    _library.limelight_linear(
        kernel,
        LAYOUT_ARGUMENTS[format],
        data.data_ptr(),
        rows,
        columns,
        x.data_ptr(),
        x.numel() // columns,
        None if bias is None else bias.data_ptr(),
        y.data_ptr(),
        x.dtype is torch.bfloat16,
        rounded,
        torch.get_num_threads(),
    )
    return y


def rows(data: Tensor, index: Tensor, format: str, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The rows that ``index`` names, as float32 or bfloat16 ``[*index.shape, columns]``; data as from ``repack``.

    Raises ``RequestError`` when there is no such row.
    """
    assert _library is not None
    index = index.to(torch.int64).contiguous()
    y = torch.empty(*index.shape, shape[1], dtype=dtype)
    missing = _library.limelight_rows(
        LAYOUT_ARGUMENTS[format],
        data.data_ptr(),
        *shape,
        index.data_ptr(),
        index.numel(),
        y.data_ptr(),
        dtype is torch.bfloat16,
        torch.get_num_threads(),
    )
    if missing:
        raise RequestError(f"a row was asked for that is not among the {shape[0]} of the weights")
    return y


def run(kernel: int, steps: ctypes.Array[Any], call: ctypes.Structure) -> None:
    """Runs the steps of a stack of blocks; see ``limelight.quant.program``."""
    assert _library is not None
    _library.limelight_run(kernel, steps, len(steps), ctypes.byref(call), torch.get_num_threads())


# ---- the order of bytes


def repack(packed: Packed) -> Tensor:
    """The bytes in the kernels' order, uint8 ``[tiles, groups, bytes]`` (see ``kernels.cpp``)."""
    layout, columns = LAYOUTS[packed.format], packed.shape[-1]
    data = empty(-(-len(packed.data) // TILE), columns // layout.group, sum(layout.sizes))
    step = max(1, CHUNK // (TILE * columns))
    for start in range(0, len(data), step):
        tiles = data[start : start + step]
        blocks = packed.data[start * TILE : (start + step) * TILE]
        if len(blocks) < len(tiles) * TILE:
            blocks = F.pad(blocks, (0, 0, 0, len(tiles) * TILE - len(blocks)))
        codes, *scales = _parts(Packed(blocks, packed.format, (len(blocks), columns)))
        parts = [codes.contiguous().view(torch.int32)]  # what stays together, as one number: 4 codes, or a scale
        for scale in scales[: 1 + layout.minima]:
            stored = scale.to(layout.stored).contiguous()
            parts.append(stored.view(torch.int32 if layout.wide else torch.int16).unsqueeze(-1))
        at = 0
        for part, size in zip(parts, layout.sizes, strict=False):
            interleaved = part.view(len(tiles), TILE, *part.shape[1:]).permute(0, 2, 3, 1)  # [tiles, G, units, 16]
            tiles[..., at : at + size].view(part.dtype).view(interleaved.shape).copy_(interleaved)
            at += size
    return data


def _parts(packed: Packed) -> tuple[Tensor, ...]:
    """Codes as the kernels hold them, uint8 ``[rows, groups, bytes]``, then scales and minima ``[rows, groups]``."""
    layout = LAYOUTS[packed.format]
    if packed.format in AS_STORED:
        blocks = packed.data.view(len(packed.data), -1, FORMATS[packed.format].bytes)
        scales = 2 * (1 + layout.minima)
        return blocks[..., scales:], *blocks[..., :scales].contiguous().view(torch.float16).unbind(-1)
    q, *rest = groups(packed)
    codes = q.view(torch.uint8) + layout.zero  # an int8 below zero wraps round to where it belongs
    if layout.bits == 4:
        low, high = codes.chunk(2, dim=-1)
        codes = low | high << 4
    return codes, *rest


def unpack(data: Tensor, format: str, rows: int) -> Groups:
    """Takes ``repack``'s bytes apart again, into the same integers, scales and minima as ``packed.groups``."""
    layout = LAYOUTS[format]
    codes, *scales = _straighten(data, layout, rows)
    if layout.bits == 4:
        codes = torch.cat((codes & 15, codes >> 4), dim=-1)
    codes = codes - layout.zero
    scale, *minima = (part.view(layout.stored).to(torch.float32).squeeze(-1) for part in scales)
    minimum = minima[0] if layout.minima else torch.full_like(scale, -0.0)
    return Groups(codes if layout.minima else codes.view(torch.int8), scale, minimum)


def _straighten(data: Tensor, layout: Layout, rows: int) -> list[Tensor]:
    """The codes, scales and minima where the layout has them, as bytes, row by row: uint8 ``[rows, groups, bytes]``."""
    parts, at = [], 0
    for size, unit in zip(layout.sizes, (4, layout.stored.itemsize, layout.stored.itemsize), strict=True):
        part = data[..., at : at + size].reshape(*data.shape[:2], -1, TILE, unit)  # [tiles, G, units, 16, unit]
        straight = part.permute(0, 3, 1, 2, 4).reshape(len(data) * TILE, data.shape[1], size // TILE)
        parts.append(straight[:rows])
        at += size
    return parts[: 2 + layout.minima]


# ---- back to the file's blocks


def header(packed: Packed) -> Tensor:
    """The bytes of the blocks that ``repack`` cannot give back, uint8 ``[rows, blocks, bytes]``.

    These are the scales of the formats that make them out of smaller numbers; for the others there are none.
    """
    layout = FORMATS[packed.format]
    blocks = packed.data.view(len(packed.data), -1, layout.bytes)
    return blocks[..., _places(packed.format)[2] if LAYOUTS[packed.format].wide else []].clone()


def restore(data: Tensor, header: Tensor, format: str, shape: tuple[int, int]) -> Packed:
    """The blocks that ``repack`` and ``header`` were given, bit for bit; only a 4-bit float's −0 comes back as 0."""
    layout, (count, columns) = FORMATS[format], shape
    source, target, scales = _places(format)
    zero = layout.unpack(torch.zeros(1, layout.bytes, dtype=torch.uint8))[0].view(torch.uint8)
    result = torch.empty(count, columns // layout.block, layout.bytes, dtype=torch.uint8)
    step = max(1, CHUNK // (TILE * columns))
    for start in range(0, len(data), step):
        part, at = data[start : start + step], slice(start * TILE, (start + step) * TILE)
        blocks = result[at]
        q = unpack(part, format, len(blocks)).q.view(torch.uint8).reshape(-1, layout.block)
        if layout.values is not None:
            q = _places_of(layout.values)[q.to(torch.int64)]
        codes = (q - zero).t().contiguous()  # [block, N]
        bits = (codes[source // 8] >> (source % 8).unsqueeze(1).byte() & 1) << (target % 8).unsqueeze(1).byte()
        restored = codes.new_zeros(layout.bytes, codes.shape[1]).index_add_(0, target // 8, bits)
        blocks.copy_(restored.t().reshape(blocks.shape))
        narrow = not LAYOUTS[format].wide
        blocks[..., scales] = (
            torch.cat(_straighten(part, LAYOUTS[format], len(blocks))[1:], -1) if narrow else header[at]
        )
    return Packed(result.flatten(1), format, shape)


def _places_of(values: Tensor) -> Tensor:
    """Where each value stands among `values`, by its byte; the first place of one that is there twice."""
    places = torch.zeros(256, dtype=torch.uint8)
    for place, value in reversed(list(enumerate(values.tolist()))):
        places[value & 255] = place
    return places


@cache
def _places(format: str) -> tuple[Tensor, Tensor, Tensor]:
    """Where a block keeps the bits of its integers: for each, its place among the integers' bits and in the block.

    Found by unpacking blocks with a single bit set. Last come the bytes that no integer is in: those of the scales.
    """
    layout = FORMATS[format]
    bits = torch.arange(8 * layout.bytes)
    blocks = torch.zeros(1 + len(bits), layout.bytes, dtype=torch.uint8)
    blocks[1 + bits, bits // 8] = (1 << bits % 8).to(torch.uint8)
    q = layout.unpack(blocks)[0].view(torch.uint8)
    target, weight = (q[1:] - q[0]).nonzero().unbind(1)
    bit = (q[1:] - q[0])[target, weight].to(torch.float32).log2().to(torch.int64)
    occupied = torch.zeros(layout.bytes, dtype=torch.bool)
    occupied[target // 8] = True
    return weight * 8 + bit, target, (~occupied).nonzero().squeeze(1)

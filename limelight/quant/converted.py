"""Rarer low-bit formats of GGUF files, in blocks of our own that say exactly the same.

Their weights are entries of tables, of which the ``gguf`` package knows how to put them together; all are whole numbers
times what the file says the block's scale is. So a block is put together once with a scale of 8, which leaves integers
(of at most three bits behind the point, hence the 8), and these, cut into groups with a scale each, are ``S8``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from limelight.quant.packed import FORMATS, Packed

if TYPE_CHECKING:
    from torch import Tensor

SCALE = 8.0  # what is put in the place of a block's own
GROUP = FORMATS["S8"].block
CHUNK = 1 << 12  # blocks put together at a time

# Where the block's scale, a float16, lies; IQ1_M has a quarter of it in each of four words.
PLACES = {
    "IQ1_S": 0,
    "IQ1_M": None,
    "IQ2_XXS": 0,
    "IQ2_XS": 0,
    "IQ2_S": 0,
    "IQ3_XXS": 0,
    "IQ3_S": 0,
    "TQ1_0": 52,
}
"""The formats that are converted."""


def convert(data: Tensor, format: str, shape: tuple[int, ...]) -> Packed:
    """The weights [..., columns] in blocks of `format`, uint8 [bytes], as ``S8``; none is rounded."""
    size = GGML_QUANT_SIZES[GGMLQuantizationType[format]][1]
    blocks = data.reshape(-1, size)
    result = torch.empty(len(blocks), 256 // GROUP, FORMATS["S8"].bytes, dtype=torch.uint8)
    for start in range(0, len(blocks), CHUNK):
        part = slice(start, start + CHUNK)
        result[part] = _converted(blocks[part].clone(), format)
    return Packed(result.view(math.prod(shape[:-1]), -1), "S8", shape)


def _converted(blocks: Tensor, format: str) -> Tensor:
    from gguf.quants import dequantize

    scale = _swap_scale(blocks, PLACES[format])
    whole = dequantize(blocks.numpy(), GGMLQuantizationType[format]).astype(np.int32).reshape(-1, GROUP)
    unit = np.maximum(np.gcd.reduce(whole, axis=1), 1)[:, None]  # [groups, 1]
    scales = (scale / SCALE).repeat_interleave(256 // GROUP, 0) * torch.from_numpy(unit.astype(np.float32))
    codes = torch.from_numpy((whole // unit).astype(np.int8))
    return torch.cat((scales.view(torch.uint8), codes.view(torch.uint8)), 1).view(len(blocks), 256 // GROUP, -1)


def _swap_scale(blocks: Tensor, at: int | None) -> Tensor:
    """Puts `SCALE` in the place of each block's own, which is given back, float32 [blocks, 1]."""
    new = torch.tensor([SCALE], dtype=torch.float16)
    if at is not None:
        own = blocks[:, at : at + 2].clone().view(torch.float16)
        blocks[:, at : at + 2] = new.view(torch.uint8)
        return own.to(torch.float32)
    high = blocks[:, 49::2]  # the upper bytes of four words; their upper halves are the scale's, lowest first
    halves = (high >> 4).to(torch.int32)
    own = sum(halves[:, i] << 4 * i for i in range(4)).to(torch.int16).view(torch.float16)  # type: ignore[union-attr]
    bits = int(new.view(torch.int16))
    blocks[:, 49::2] = (high & 15) | torch.tensor([bits >> 4 * i & 15 for i in range(4)], dtype=torch.uint8) << 4
    return own.to(torch.float32).unsqueeze(1)

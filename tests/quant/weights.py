"""Random low-bit weights, and what the kernels compute written out in torch."""

import torch
from torch import Tensor

from limelight.quant import native
from limelight.quant.packed import FORMATS, Packed, groups

# Where the float16 numbers of a block are; its other bytes may be anything.
HALVES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "TQ2_0": [64],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
}
FLOATS = {"S8": [0], "U4": [0, 4]}  # the same for float32


def sensible(blocks: Tensor, format: str, generator: torch.Generator) -> Tensor:
    """Random blocks [N, bytes] with the scales that are no float16 numbers made ones that real weights have; in place.

    No 4-bit float is −0, which does not come back.
    """
    for at in FLOATS.get(format, ()):
        blocks[:, at : at + 4] = (torch.randn(len(blocks), 1, generator=generator) * 0.02).view(torch.uint8)
    if (scales := {"MXFP4": 1, "NVFP4": 4}.get(format)) is not None:
        blocks[:, :scales] = blocks[:, :scales] % 16 + (110 if format == "MXFP4" else 30)
        codes = blocks[:, scales:]
        codes[(codes & 15) == 8] &= 240
        codes[(codes >> 4) == 8] &= 15
    return blocks


def random_packed(format: str, rows: int, columns: int, seed: int = 0) -> Packed:
    """Blocks of random bytes, with scales of both signs."""
    layout, generator = FORMATS[format], torch.Generator().manual_seed(seed)
    blocks = torch.randint(
        0, 256, (rows * columns // layout.block, layout.bytes), dtype=torch.uint8, generator=generator
    )
    for at in HALVES.get(format, ()):
        halves = (torch.randn(len(blocks), 1, generator=generator) * 0.02).to(torch.float16)
        blocks[:, at : at + 2] = halves.view(torch.uint8)
    sensible(blocks, format, generator)
    return Packed(blocks.view(rows, -1), format, (rows, columns))


def rounded(x: Tensor, format: str) -> Tensor:
    """Inputs as the kernels see them: integers of 8 bits times one scale for each group of columns, float64."""
    grouped = x.to(torch.float32).unflatten(-1, (-1, native.LAYOUTS[format].group))
    peak = grouped.abs().amax(-1, keepdim=True)
    inverse = torch.full_like(peak, 127) / peak  # `127 / peak` would be the reciprocal times 127
    codes = torch.where(peak > 1e-30, (grouped * inverse).round(), 0.0)
    return (codes.to(torch.float64) * (peak / 127).to(torch.float64)).flatten(-2)


def magnitude(packed: Packed) -> Tensor:
    """What a sum over the weights adds up in size, before anything cancels: float64 ``[rows, columns]``."""
    q, scale, minimum = groups(packed)
    return (q.int().abs() * scale.abs().unsqueeze(-1) + minimum.abs().unsqueeze(-1)).flatten(1).to(torch.float64)

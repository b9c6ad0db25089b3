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
}


def random_packed(format: str, rows: int, columns: int, seed: int = 0) -> Packed:
    """Blocks of random bytes, with scales of both signs."""
    layout, generator = FORMATS[format], torch.Generator().manual_seed(seed)
    blocks = torch.randint(
        0, 256, (rows * columns // layout.block, layout.bytes), dtype=torch.uint8, generator=generator
    )
    for at in HALVES[format]:
        halves = (torch.randn(len(blocks), 1, generator=generator) * 0.02).to(torch.float16)
        blocks[:, at : at + 2] = halves.view(torch.uint8)
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
    return (q.abs() * scale.abs().unsqueeze(-1) + minimum.abs().unsqueeze(-1)).flatten(1).to(torch.float64)

"""Floats of few bits with scales: FP8, and 4-bit ones of NVIDIA (NVFP4) and OCP (MXFP4); rows of 8-bit integers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from limelight.checkpoints.made import Held, Made, Weights, blocks
from limelight.errors import ConfigError
from limelight.quant.packed import Packed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

FLOAT4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])


def scaled(file: Held, said: Mapping[str, Any]) -> Weights:
    """Weights of 8 bits times a scale of all, of each row, or of blocks of rows and columns (DeepSeek-V3's)."""
    given = said.get("weight_block_size")
    block = tuple(given) if isinstance(given, list) and [*map(type, given)] == [int, int] and min(given) > 0 else None
    made = {}
    for end in ("weight_scale_inv", "weight_scale"):
        for stem in file.stems(end):
            name = f"{stem}weight"
            kind = {"F8_E4M3": "F8_E4M3", "F8_E5M2": "F8_E5M2", "I8": "INT8"}.get(file.dtype(name))
            if kind is None:
                continue
            shape, scales = file.shape(name, 2), file.reader.shape(f"{stem}{end}")
            size = _block_of(f"{stem}{end}", shape, scales, block)
            names = [name, f"{stem}{end}"]
            if (zeros := f"{stem}weight_zero_point") in file.names:
                names.append(file.expect(zeros, scales))
            fits = kind == "INT8" and size[0] == 1 and size[1] % 16 == 0 and len(names) == 2

            def make(
                weight: Tensor,
                scale: Tensor,
                zero: Tensor | None = None,
                size: tuple[int, int] = size,
                fits: bool = fits,
            ) -> Tensor | Packed:
                if fits:
                    codes = weight.contiguous().view(torch.uint8).view(len(weight), -1, 16)
                    return blocks("S8", weight.shape, 16, codes, scale.float().reshape(len(weight), -1))
                wide = weight.float()
                if zero is not None:
                    wide -= _spread(zero, size, wide)
                return wide.mul_(_spread(scale, size, wide))

            made[name] = Made(tuple(names), shape, kind, make)
    return made


def _block_of(name: str, shape: Sequence[int], scales: Sequence[int], block: tuple[int, ...] | None) -> tuple[int, int]:
    """How many rows and columns share a scale."""
    rows, columns = shape
    if math.prod(scales) == 1:
        return rows, columns
    down, across = scales if len(scales) == 2 else (scales[0] if len(scales) == 1 else 0, 1)
    whole = (-(-rows // down), -(-columns // across)) if down and across else (0, 0)
    for size in ((block[0], block[1]), whole) if block else (whole,):
        if min(size) > 0 and (-(-rows // size[0]), -(-columns // size[1])) == (down, across):
            return size
    raise ConfigError(
        f"the tensor {name!r} has the shape {tuple(scales)}, which does not fit its weight {tuple(shape)}"
    )


def _spread(scale: Tensor, size: tuple[int, int], weight: Tensor) -> Tensor:
    """A number for each of the weight's, [rows, columns]."""
    rows, columns = weight.shape
    grid = scale.float().reshape(-(-rows // size[0]), -(-columns // size[1]))
    return grid.repeat_interleave(size[0], 0)[:rows].repeat_interleave(size[1], 1)[:, :columns]


def float4(file: Held) -> Weights:
    """4-bit floats of compressed-tensors: NVFP4, whose scale of all divides, and MXFP4."""
    made = {}
    for stem in file.stems("weight_packed"):
        packed, scales, whole = (f"{stem}weight_{end}" for end in ("packed", "scale", "global_scale"))
        if file.dtype(packed) != "U8":
            continue
        if whole in file.names:
            shape = _of_pairs(file, packed, scales, "F8_E4M3", 16, whole)
            made[f"{stem}weight"] = Made(
                (packed, scales, whole), shape, "NVFP4", lambda p, s, w: nvfp4(p, s.float() / w.float())
            )
        else:
            shape = _of_pairs(file, packed, scales, "U8", 32)
            made[f"{stem}weight"] = Made((packed, scales), shape, "MXFP4", mxfp4)
    return made


def modelopt(file: Held, said: Mapping[str, Any]) -> Weights:
    """What NVIDIA's ModelOpt writes: FP8, and NVFP4 with a scale of all."""
    made = scaled(file, said)
    for stem in file.stems("weight_scale_2"):
        packed, scales, whole = (f"{stem}weight{end}" for end in ("", "_scale", "_scale_2"))
        file.kind(packed, "U8")
        shape = _of_pairs(file, packed, scales, "F8_E4M3", 16, whole)
        made[packed] = Made((packed, scales, whole), shape, "NVFP4", lambda p, s, w: nvfp4(p, s.float() * w.float()))
    return made


def _of_pairs(file: Held, packed: str, scales: str, kind: str, block: int, whole: str | None = None) -> tuple[int, int]:
    """The shape of a weight two of which are in a byte, with a scale for each block, and one of all."""
    out, half = file.shape(packed, 2)
    if 2 * half % block:
        raise ConfigError(f"the tensor {packed!r} has rows of {2 * half} weights, which are no whole blocks of {block}")
    file.expect(scales, (out, 2 * half // block), kind)
    if whole is not None and math.prod(file.reader.shape(whole)) != 1:
        raise ConfigError(f"the tensor {whole!r} of a quantised model is not one number")
    return out, 2 * half


def nvfp4(packed: Tensor, scale: Tensor) -> Packed:
    """NVFP4 weights [out, columns] from bytes of two neighbours each and scales for 16, float32."""
    doubled = (2 * FLOAT4).to(torch.int8)
    codes = doubled[torch.stack((packed & 15, packed >> 4), -1).to(torch.int64)].view(torch.uint8)
    shape = torch.Size((len(packed), 2 * packed.shape[1]))
    return blocks("S8", shape, 16, codes.reshape(len(packed), -1, 16), scale / 2)


def mxfp4(packed: Tensor, scale: Tensor) -> Packed:
    """MXFP4 weights [..., columns] from bytes [..., columns / 2] of two neighbours each and exponents [..., blocks]."""
    rows = math.prod(packed.shape[:-1])
    pairs = packed.reshape(rows, -1, 16)
    codes = torch.stack((pairs & 15, pairs >> 4), -1).flatten(-2)  # [rows, blocks, 32]
    data = torch.cat((scale.reshape(rows, -1, 1), codes[..., :16] | codes[..., 16:] << 4), -1)
    return Packed(data.flatten(1), "MXFP4", (*packed.shape[:-1], 2 * packed.shape[-1]))


def gpt_oss(file: Held, said: Mapping[str, Any]) -> Weights:
    """MXFP4 as gpt-oss has it: experts [experts, rows, blocks, 16], whose name stays that of the bytes."""
    made = {}
    for stem in file.stems("_blocks"):
        *front, count, size = file.shape(f"{stem}_blocks", 4)
        file.kind(f"{stem}_blocks", "U8")
        scales = file.expect(f"{stem}_scales", (*front, count), "U8")
        if size != 16:
            raise ConfigError(f"the tensor {stem + '_blocks'!r} has blocks of {2 * size} weights; MXFP4's have 32")
        shape = (*front, 32 * count)
        made[f"{stem}_blocks"] = Made((f"{stem}_blocks", scales), shape, "MXFP4", lambda b, s: mxfp4(b.flatten(-2), s))
    return made

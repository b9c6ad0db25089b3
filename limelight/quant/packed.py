"""Low-bit weights, most of them as they lie in a GGUF file, and what their bits mean.

A row of weights is cut into blocks; a block holds small integers with the scale (and, for some formats, the minimum) of
each group of them: ``w = scale * q + minimum``. The layouts are those of ggml (``ggml-common.h``, ``ggml-quants.c``),
and two of our own, which hold exactly what other formats say (``converted.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from limelight.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

# Weights unpacked at a time: the temporaries stay in the nearest cache, and torch does not split so few among threads,
# which would save 0.2 s on an idle machine and lose many seconds on a busy one, where threads wait for each other.
CHUNK = 1 << 15


class Groups(NamedTuple):
    """Weights as integers: ``w = scale * q + minimum``, one scale and minimum for each group of ``q``.

    ``minimum`` is -0.0 for the symmetric formats, the one float that added to any other leaves it as it is, sign of
    zero included.
    """

    q: Tensor  # [rows, groups, group], int8 when symmetric, else uint8
    scale: Tensor  # [rows, groups], float32
    minimum: Tensor  # [rows, groups], float32


class Format(NamedTuple):
    """One block layout: weights a block, bytes a block, weights a group, how blocks are taken apart, where we make
    such blocks ourselves how weights are rounded to them, and what the integers stand for where not for themselves."""

    block: int
    bytes: int
    group: int
    symmetric: bool
    unpack: Callable[[Tensor], tuple[Tensor, Tensor, Tensor | None]]  # uint8 [N, bytes] → q [N, block], scale, minimum
    pack: Callable[[Tensor], Tensor] | None = None  # float32 [N, block] → uint8 [N, bytes]
    values: Tensor | None = None  # int8


@dataclass(frozen=True, eq=False)
class Packed:
    """A tensor of low-bit blocks.

    ``shape`` is that of the weights, ``[..., columns]``; ``data`` holds their blocks, uint8 ``[rows, bytes_per_row]``,
    with all the leading dimensions flattened into rows. Raises ``ConfigError`` when the three do not fit together.
    """

    data: Tensor
    format: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError(f"there is no low-bit format {self.format!r}{suggestion(self.format, FORMATS)}")
        layout = FORMATS[self.format]
        rows, columns = math.prod(self.shape[:-1]), self.shape[-1] if self.shape else 0
        expected = (rows, columns // layout.block * layout.bytes)
        if columns % layout.block or self.data.dtype != torch.uint8 or tuple(self.data.shape) != expected:
            raise ConfigError(
                f"{self.format} weights of shape {self.shape} need uint8 data of shape {expected} in blocks of "
                f"{layout.block} columns, not {self.data.dtype} of shape {tuple(self.data.shape)}"
            )

    @property
    def nbytes(self) -> int:
        """Bytes that the blocks take."""
        return self.data.nbytes

    def rows(self, index: Tensor | slice) -> Packed:
        """The rows named by ``index``, in its order, still packed; ``[rows, columns]``. A slice shares memory."""
        data = self.data[index]
        return Packed(data, self.format, (data.shape[0], self.shape[-1]))

    def dequantize(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weights, in ``shape``; computed in float32 as ggml does, bit for bit, and then rounded to ``dtype``."""
        layout, columns = FORMATS[self.format], self.shape[-1]
        weights = torch.empty(self.data.shape[0], columns, dtype=dtype, device=self.data.device)
        step = max(1, CHUNK // max(1, columns))
        for start in range(0, len(weights), step):
            part = slice(start, start + step)
            q, scale, minimum = groups(self.rows(part))
            values = q.to(torch.float32).mul_(scale.unsqueeze(-1))
            if not layout.symmetric:
                values.add_(minimum.unsqueeze(-1))
            weights[part] = values.flatten(1)
        return weights.view(self.shape)


def packable(shape: Sequence[int], format: str) -> bool:
    """Whether weights of this shape can be rounded to the format: their rows must be whole blocks.

    Raises ``ConfigError`` for a format that is only read.
    """
    if format not in FORMATS or FORMATS[format].pack is None:
        makes = ", ".join(name for name, each in FORMATS.items() if each.pack)
        raise ConfigError(f"weights cannot be rounded to the format {format!r}; choose from: {makes}")
    return len(shape) > 0 and shape[-1] % FORMATS[format].block == 0


def pack(weight: Tensor, format: str = "Q8_0") -> Packed:
    """Rounds weights [..., columns] to low-bit blocks, bit for bit as ggml does (``quantize_row_q8_0_ref``).

    Raises ``ConfigError`` for a format that is only read, for columns that are not whole blocks, and for weights that
    are not numbers or too large for a float16 scale.
    """
    if not packable(weight.shape, format):
        raise ConfigError(f"weights of shape {tuple(weight.shape)} cannot be cut into the blocks of {format}")
    layout, columns = FORMATS[format], weight.shape[-1]
    assert layout.pack is not None
    rows = weight.detach().reshape(math.prod(weight.shape[:-1]), columns)
    data = torch.empty(len(rows), columns // layout.block * layout.bytes, dtype=torch.uint8, device=weight.device)
    step = max(1, CHUNK // max(1, columns))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        data[part] = layout.pack(rows[part].float().reshape(-1, layout.block)).view(-1, data.shape[1])
    return Packed(data, format, tuple(weight.shape))


def groups(packed: Packed) -> Groups:
    """Takes all blocks apart into integers, scales and minima (see ``Groups``), in the format's smallest groups."""
    layout, rows = FORMATS[packed.format], packed.data.shape[0]
    count = packed.shape[-1] // layout.group
    q, scale, minimum = layout.unpack(packed.data.reshape(-1, layout.bytes))
    if layout.values is not None:
        q = layout.values.to(q.device)[q.to(torch.int64)]
    if minimum is None:
        minimum = scale.new_full((1, 1), -0.0).expand(rows, count)
    return Groups(q.view(rows, count, layout.group), scale.reshape(rows, count), minimum.reshape(rows, count))


def _halves(data: Tensor) -> Tensor:
    """float16 numbers in the bytes of the last dimension, as float32."""
    return data.contiguous().view(torch.float16).to(torch.float32)


def _nibbles(data: Tensor, width: int) -> Tensor:
    """Splits each ``width`` bytes into ``width`` low and then ``width`` high halves, uint8 ``[N, 2 * bytes]``."""
    data = data.reshape(-1, data.shape[-1] // width, width)
    return torch.cat((data & 15, data >> 4), dim=-1).flatten(1)


def _bits(data: Tensor, count: int) -> Tensor:
    """Splits each byte into fields of ``count`` bits, lowest first, in a new dimension before the last."""
    shifts = torch.arange(0, 8, count, dtype=torch.uint8, device=data.device)
    return (data.unsqueeze(-2) >> shifts.unsqueeze(-1)) & ((1 << count) - 1)


def _fifth_bits(data: Tensor) -> Tensor:
    """The fifth bit of each of 32 weights from 4 bytes, moved to its place: bit ``i`` belongs to weight ``i``."""
    return _bits(data, 1).transpose(-1, -2).flatten(1) << 4


def _scales_and_minima(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """The 8 scales and minima of a Q4_K or Q5_K block, stored as 6-bit integers times two float16 numbers."""
    low, high, mixed = blocks[:, 4:16].reshape(-1, 3, 4).unbind(1)  # each [N, 4]
    scale = torch.cat((low & 63, (mixed & 15) | ((low >> 2) & 48)), dim=-1)
    minimum = torch.cat((high & 63, (mixed >> 4) | ((high >> 2) & 48)), dim=-1)
    return _halves(blocks[:, :2]) * scale, -(_halves(blocks[:, 2:4]) * minimum)


def _q4_0(blocks: Tensor) -> tuple[Tensor, Tensor, None]:
    return _nibbles(blocks[:, 2:], 16).view(torch.int8) - 8, _halves(blocks[:, :2]), None


def _q4_1(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _nibbles(blocks[:, 4:], 16), _halves(blocks[:, :2]), _halves(blocks[:, 2:4])


def _q5_0(blocks: Tensor) -> tuple[Tensor, Tensor, None]:
    q = _nibbles(blocks[:, 6:], 16) | _fifth_bits(blocks[:, 2:6])
    return q.view(torch.int8) - 16, _halves(blocks[:, :2]), None


def _q5_1(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q = _nibbles(blocks[:, 8:], 16) | _fifth_bits(blocks[:, 4:8])
    return q, _halves(blocks[:, :2]), _halves(blocks[:, 2:4])


def _q8_0(blocks: Tensor) -> tuple[Tensor, Tensor, None]:
    return blocks[:, 2:].contiguous().view(torch.int8), _halves(blocks[:, :2]), None


def _pack_q8_0(weights: Tensor) -> Tensor:
    scale = weights.abs().amax(1, keepdim=True) / 127
    stored = scale.half()
    if not bool(stored.isfinite().all()):
        raise ConfigError("the weights are not all numbers, or are too large to be rounded to Q8_0")
    exact = weights * (1 / scale).nan_to_num_(posinf=0)  # a block of zeros stays one
    # Halves go away from zero, as in C's roundf; torch.round has them go to the even neighbour.
    whole = exact.trunc()
    q = whole + (2 * (exact - whole)).trunc()
    return torch.cat((stored.view(torch.uint8), q.to(torch.int8).view(torch.uint8)), 1)


def _q4_k(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _nibbles(blocks[:, 16:], 32), *_scales_and_minima(blocks)


def _q5_k(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Here the fifth bit of weight j in group i is bit i of byte j.
    q = _nibbles(blocks[:, 48:], 32) | (_bits(blocks[:, 16:48], 1).flatten(1) << 4)
    return q, *_scales_and_minima(blocks)


def _q6_k(blocks: Tensor) -> tuple[Tensor, Tensor, None]:
    # Two halves of 128 weights: 64 bytes of low nibbles each, and 32 bytes of two high bits.
    high = _bits(blocks[:, 128:192].reshape(-1, 2, 32), 2).flatten(1) << 4
    q = (_nibbles(blocks[:, :128], 64) | high).view(torch.int8) - 32
    return q, _halves(blocks[:, 208:]) * blocks[:, 192:208].view(torch.int8), None


def _pairs(data: Tensor) -> Tensor:
    """The 256 fields of two bits in 64 bytes, as most formats order them: those of 32 bytes at a time, lowest first."""
    return _bits(data.reshape(-1, 2, 32), 2).flatten(1)


def _q2_k(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = blocks[:, :16] & 15, blocks[:, :16] >> 4
    return _pairs(blocks[:, 16:80]), _halves(blocks[:, 80:82]) * low, -(_halves(blocks[:, 82:]) * high)


def _q3_k(blocks: Tensor) -> tuple[Tensor, Tensor, None]:
    q = (_pairs(blocks[:, 32:96]) | (_bits(blocks[:, :32], 1).flatten(1) << 2)).view(torch.int8) - 4
    scale = _nibbles(blocks[:, 96:104], 8) | (_bits(blocks[:, 104:108], 2).flatten(1) << 4)
    return q, _halves(blocks[:, 108:]) * (scale.view(torch.int8) - 32), None


def _tq2_0(blocks: Tensor) -> tuple[Tensor, Tensor, None]:
    return _pairs(blocks[:, :64]).view(torch.int8) - 1, _halves(blocks[:, 64:]).expand(-1, 8), None


def _iq4_nl(blocks: Tensor) -> tuple[Tensor, Tensor, None]:
    return _nibbles(blocks[:, 2:], 16).view(torch.int8), _halves(blocks[:, :2]), None


def _iq4_xs(blocks: Tensor) -> tuple[Tensor, Tensor, None]:
    scale = _nibbles(blocks[:, 4:8], 1) | (_bits(blocks[:, 2:4], 2).transpose(1, 2).flatten(1) << 4)
    return _nibbles(blocks[:, 8:], 16).view(torch.int8), _halves(blocks[:, :2]) * (scale.view(torch.int8) - 32), None


def _mxfp4(blocks: Tensor) -> tuple[Tensor, Tensor, None]:
    # The exponent of float32, one lower: the values are doubled. Its two lowest are subnormal numbers.
    exponent = blocks[:, :1].to(torch.int32)
    bits = torch.where(exponent < 2, 0x200000 << exponent.clamp(max=1), (exponent - 1) << 23)
    return _nibbles(blocks[:, 1:], 16).view(torch.int8), bits.view(torch.float32), None


def _nvfp4(blocks: Tensor) -> tuple[Tensor, Tensor, None]:
    scale = (blocks[:, :4] & 127).view(torch.float8_e4m3fn).to(torch.float32).nan_to_num(0.0) * 0.5
    return _nibbles(blocks[:, 4:], 8).view(torch.int8), scale, None


def _s8(blocks: Tensor) -> tuple[Tensor, Tensor, None]:
    return blocks[:, 4:].contiguous().view(torch.int8), blocks[:, :4].contiguous().view(torch.float32), None


def _u4(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    scale, minimum = blocks[:, :8].contiguous().view(torch.float32).chunk(2, -1)
    return _nibbles(blocks[:, 8:], 16), scale, minimum


_CURVE = torch.tensor([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=torch.int8)
_FLOAT4 = torch.tensor([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], dtype=torch.int8)  # doubled

FORMATS = {
    "Q4_0": Format(32, 18, 32, True, _q4_0),
    "Q4_1": Format(32, 20, 32, False, _q4_1),
    "Q5_0": Format(32, 22, 32, True, _q5_0),
    "Q5_1": Format(32, 24, 32, False, _q5_1),
    "Q8_0": Format(32, 34, 32, True, _q8_0, _pack_q8_0),
    "Q4_K": Format(256, 144, 32, False, _q4_k),
    "Q5_K": Format(256, 176, 32, False, _q5_k),
    "Q6_K": Format(256, 210, 16, True, _q6_k),
    "Q2_K": Format(256, 84, 16, False, _q2_k),
    "Q3_K": Format(256, 110, 16, True, _q3_k),
    "TQ2_0": Format(256, 66, 32, True, _tq2_0),
    "IQ4_NL": Format(32, 18, 32, True, _iq4_nl, values=_CURVE),
    "IQ4_XS": Format(256, 136, 32, True, _iq4_xs, values=_CURVE),
    "MXFP4": Format(32, 17, 32, True, _mxfp4, values=_FLOAT4),
    "NVFP4": Format(64, 36, 16, True, _nvfp4, values=_FLOAT4),
    "S8": Format(16, 20, 16, True, _s8),  # ours: a scale in float32, 16 integers
    "U4": Format(32, 24, 32, False, _u4),  # ours: a scale and a minimum in float32, 32 halves of bytes
}

"""Quantised models of Hugging Face folders, read as if their weights had been stored as they are multiplied.

Each method keeps a weight as several tensors: integers or floats of few bits, scales, zeros, tables. ``widened`` puts a
reader in front of the file's that has the weight itself. Integers of 4 and 8 bits whose groups fit become low-bit
blocks of ours, which hold exactly what they say; everything else becomes float32. Scales of activations are left out:
inputs are not rounded as the methods' own kernels do.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight.errors import ConfigError
from limelight.quant.packed import Packed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from limelight.checkpoints.reader import TensorReader

FLOAT4 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])


@dataclass(frozen=True)
class Made:
    """A weight that is put together: from which tensors, its shape, the number type that the file keeps, and how."""

    parts: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    make: Callable[..., Tensor | Packed]


Weights = dict[str, Made]


class QuantisedReader:
    """A ``TensorReader`` with the weights that are `made` in place of what they are made of, and without `hidden`."""

    def __init__(self, reader: TensorReader, made: Mapping[str, Made], hidden: set[str]) -> None:
        self._reader = reader
        self._made = made
        used = {part for each in made.values() for part in each.parts} | hidden
        self._names = (*(name for name in reader.names() if name not in used), *made)
        self.metadata = reader.metadata

    def names(self) -> tuple[str, ...]:
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        return self._made[name].shape if name in self._made else self._reader.shape(name)

    def dtype(self, name: str) -> str:
        return self._made[name].dtype if name in self._made else self._reader.dtype(name)

    def nbytes(self, name: str) -> int:
        return sum(map(self._reader.nbytes, self._made[name].parts if name in self._made else (name,)))

    def read(self, name: str) -> Tensor | Packed:
        if name not in self._made:
            return self._reader.read(name)
        return self._made[name].make(*map(self._reader.read, self._made[name].parts))


def widened(reader: TensorReader, config: Mapping[str, Any]) -> tuple[TensorReader, Mapping[str, Any]]:
    """The reader of a quantised model's weights, and its config without a word of that; what is not quantised, or by a
    method that is not known, stays as it is.

    Raises ConfigError naming the tensor that does not fit the method.
    """
    said = config.get("quantization_config")
    method = said.get("quant_method") if isinstance(said, dict) else None
    known = METHODS.get(method) if isinstance(method, str) else None
    if known is None or not isinstance(said, dict):
        return reader, config
    made = known(_File(reader), said)
    names = {*reader.names()}
    stems = {name.removesuffix("weight") for name in made}
    hidden = {stem + end for stem in stems for end in _HIDDEN} & names
    # A method that gave every projection a bias left zeros in most.
    hidden |= {bias for stem in stems if (bias := f"{stem}bias") in names and method == "gptq" and _zero(reader, bias)}
    return QuantisedReader(reader, made, hidden), {k: v for k, v in config.items() if k != "quantization_config"}


_HIDDEN = ("input_scale", "input_zero_point", "input_global_scale", "k_scale", "v_scale", "q_scale", "weight_format")


def _zero(reader: TensorReader, name: str) -> bool:
    bias = reader.read(name)
    return isinstance(bias, Tensor) and not bool(bias.any())


class _File:
    """What the methods ask of a file: tensors by the ends of their names, of the sizes that belong together."""

    def __init__(self, reader: TensorReader) -> None:
        self.reader = reader
        self.names = {*reader.names()}

    def dtype(self, name: str) -> str:
        """A tensor's number type; nothing of one that is not there."""
        return self.reader.dtype(name) if name in self.names else ""

    def stems(self, end: str) -> list[str]:
        """What stands before `end` in the names of all tensors that have it."""
        return [name.removesuffix(end) for name in self.reader.names() if name.endswith(end)]

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor that must be there and have so many dimensions."""
        if name not in self.names:
            raise ConfigError(f"the quantised model lacks the tensor {name!r}")
        shape = self.reader.shape(name)
        if len(shape) != dimensions or 0 in shape:
            raise ConfigError(f"the tensor {name!r} of a quantised model has the shape {shape}")
        return shape

    def expect(self, name: str, shape: Sequence[int]) -> str:
        """A tensor that must be there, of this shape."""
        if self.shape(name, len(shape)) != tuple(shape):
            raise ConfigError(
                f"the tensor {name!r} of a quantised model has the shape {self.reader.shape(name)}, not {tuple(shape)}"
            )
        return name

    def kind(self, name: str, *kinds: str) -> None:
        """Raises ConfigError where a tensor is of none of these number types."""
        if (found := self.reader.dtype(name)) not in kinds:
            raise ConfigError(f"the tensor {name!r} of a quantised model holds {found}, not {' or '.join(kinds)}")


# ---- integers in groups that share a scale and a zero


def grouped(codes: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor | Packed:
    """``scale * (code - zero)``: uint8 codes [out, in] below 2^bits, scales and zeros [out, groups], float32.

    Exactly that in low bits where the groups are whole blocks, else in float32.
    """
    size = codes.shape[1] // scale.shape[1]
    if size % (16 if bits == 8 else 32):
        wide = codes.view(len(codes), -1, size).float().sub_(zero.unsqueeze(-1)).mul_(scale.unsqueeze(-1))
        return wide.flatten(1)
    if bits == 8:
        whole = codes.view(len(codes), -1, size).to(torch.int16) - zero.unsqueeze(-1).to(torch.int16)
        if int(whole.abs().max()) > 128 or int(whole.max()) > 127:
            return whole.float().mul_(scale.unsqueeze(-1)).flatten(1)
        return _packed("S8", codes.shape, 16, whole.to(torch.int8).view(torch.uint8).view(len(codes), -1, 16), scale)
    halves = codes.view(len(codes), -1, 2, 16)
    nibbles = halves[:, :, 0] | halves[:, :, 1] << 4
    if bool((zero == 8).all()) and torch.equal(scale.half().float(), scale):
        return _packed("Q4_0", codes.shape, 32, nibbles, scale.half())
    return _packed("U4", codes.shape, 32, nibbles, scale, -scale * zero)


def _packed(format: str, shape: torch.Size, block: int, codes: Tensor, *numbers: Tensor) -> Packed:
    """Blocks that begin with a number of each of `numbers` [out, groups] and go on with codes [out, blocks, bytes]."""
    times = shape[1] // block // numbers[0].shape[1]
    front = [each.repeat_interleave(times, 1).unsqueeze(-1).contiguous().view(torch.uint8) for each in numbers]
    return Packed(torch.cat((*front, codes), -1).flatten(1), format, tuple(shape))


def _fields(packed: Tensor, bits: int, dim: int, order: Sequence[int] | None = None) -> Tensor:
    """The fields of `bits` in words of 32, lowest first, along a dimension; uint8. order: of the fields of a word."""
    shifts = torch.arange(0, 32, bits) if order is None else torch.tensor(order) * bits
    shape = [1] * (packed.dim() + 1)
    shape[dim + 1] = len(shifts)
    fields = (packed.unsqueeze(dim + 1) >> shifts.to(torch.int32).view(shape)) & ((1 << bits) - 1)
    return fields.to(torch.uint8).flatten(dim, dim + 1)


def _whole(said: Mapping[str, Any], name: str, allowed: Sequence[int], default: int | None = None) -> int:
    value = said.get(name, default)
    if type(value) is not int or value not in allowed:
        raise ConfigError(
            f"the model's quantization_config says {name}: {value!r:.40}; "
            f"limelight reads {', '.join(map(str, allowed))}"
        )
    return value


def _gptq(file: _File, said: Mapping[str, Any]) -> Weights:
    """GPTQ (Frantar et al., 2023), as AutoGPTQ and GPTQModel write it."""
    bits = _whole(said, "bits", (2, 4, 8))
    per, shift = 32 // bits, 0 if said.get("checkpoint_format") == "gptq_v2" else 1  # older files keep zero - 1
    made = {}
    for stem in file.stems("qweight"):
        words, out = file.shape(f"{stem}qweight", 2)
        columns, groups = words * per, file.shape(f"{stem}scales", 2)[0]
        file.kind(f"{stem}qweight", "I32")
        names = [f"{stem}qweight", file.expect(f"{stem}scales", (groups, out))]
        names.append(file.expect(f"{stem}qzeros", (groups, -(-out // per))))
        if (order := f"{stem}g_idx") in file.names:
            names.append(file.expect(order, (columns,)))
        size = -(-columns // groups)

        def make(
            qweight: Tensor,
            scales: Tensor,
            qzeros: Tensor,
            order: Tensor | None = None,
            size: int = size,
            name: str = stem,
        ) -> Tensor | Packed:
            scale = scales.float().t()
            codes = _fields(qweight, bits, 0).t().contiguous()
            zero = (_fields(qzeros, bits, 1)[:, : len(codes)].float() + shift).t()
            regular = torch.arange(codes.shape[1]) // size
            group = regular if order is None else order.to(torch.int64)
            if torch.equal(group, regular) and codes.shape[1] % size == 0:
                return grouped(codes, scale.contiguous(), zero.contiguous(), bits)
            if not 0 <= int(group.min()) <= int(group.max()) < scale.shape[1]:
                raise ConfigError(f"the tensor {name + 'g_idx'!r} names a group that is not there")
            return codes.float().sub_(zero[:, group]).mul_(scale[:, group])  # columns out of order share scales

        made[f"{stem}weight"] = Made(tuple(names), (out, columns), f"INT{bits}", make)
    return made


def _awq(file: _File, said: Mapping[str, Any]) -> Weights:
    """AWQ (Lin et al., 2024), in the order of its GEMM kernels."""
    _whole(said, "bits", (4,), 4)
    if (version := str(said.get("version", "gemm")).lower()) != "gemm":
        raise ConfigError(f"the model's quantization_config says version: {version!r:.40}; limelight reads gemm alone")
    order = (0, 4, 1, 5, 2, 6, 3, 7)  # which field of a word holds its nth column
    made = {}
    for stem in file.stems("qweight"):
        columns, words = file.shape(f"{stem}qweight", 2)
        out, groups = words * 8, file.shape(f"{stem}scales", 2)[0]
        file.kind(f"{stem}qweight", "I32")
        if columns % groups:
            raise ConfigError(f"the tensor {stem + 'scales'!r} has {groups} groups for {columns} columns")
        names = (f"{stem}qweight", file.expect(f"{stem}scales", (groups, out)), f"{stem}qzeros")
        file.expect(names[2], (groups, words))

        def make(qweight: Tensor, scales: Tensor, qzeros: Tensor) -> Tensor | Packed:
            codes, zero = (_fields(each, 4, 1, order).t().contiguous() for each in (qweight, qzeros))
            return grouped(codes, scales.float().t().contiguous(), zero.float(), 4)

        made[f"{stem}weight"] = Made(names, (out, columns), "INT4", make)
    return made


# ---- 8-bit floats and integers with scales


def _scaled(file: _File, said: Mapping[str, Any]) -> Weights:
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
                    return _packed("S8", weight.shape, 16, codes, scale.float().reshape(len(weight), -1))
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


# ---- compressed-tensors


def _compressed(file: _File, said: Mapping[str, Any]) -> Weights:
    """What compressed-tensors (vLLM) writes: integers in words, 8-bit weights, 4-bit floats."""
    return {**_scaled(file, said), **_words(file), **_float4(file)}


def _words(file: _File) -> Weights:
    """Integers of 4 or 8 bits in words of 32, counted from the middle."""
    made = {}
    for stem in file.stems("weight_packed"):
        packed, shape = f"{stem}weight_packed", f"{stem}weight_shape"
        if file.reader.dtype(packed) != "I32":
            continue
        out, words = file.shape(packed, 2)
        file.expect(shape, (2,))
        said = file.reader.read(shape)
        columns = int(said[1]) if isinstance(said, Tensor) else 0
        bits = next((b for b in (4, 8) if columns > 0 and -(-columns // (32 // b)) == words), 0)
        groups = file.shape(f"{stem}weight_scale", 2)[1]
        if not bits or columns % groups or (isinstance(said, Tensor) and int(said[0]) != out):
            raise ConfigError(f"the tensor {packed!r} does not hold integers of 4 or 8 bits of the shape that it says")
        names = [packed, file.expect(f"{stem}weight_scale", (out, groups)), shape]
        if (zeros := f"{stem}weight_zero_point") in file.names:
            plain = file.dtype(zeros) == "I8"  # as older versions wrote them
            names.append(file.expect(zeros, (out if plain else -(-out // (32 // bits)), groups)))
        if f"{stem}weight_g_idx" in file.names:
            raise ConfigError(
                f"the weight {packed!r} has its columns out of order (g_idx), which limelight does not read"
            )

        def make(
            packed: Tensor,
            scale: Tensor,
            _: Tensor,
            zeros: Tensor | None = None,
            bits: int = bits,
            columns: int = columns,
        ) -> Tensor | Packed:
            codes = _fields(packed, bits, 1)[:, :columns].contiguous()
            scale = scale.float()
            zero = scale.new_full(scale.shape, 1 << (bits - 1))
            if zeros is not None and zeros.dtype is torch.int8:
                zero += zeros
            elif zeros is not None:
                zero = _fields(zeros, bits, 0)[: len(codes)].float()
            return grouped(codes, scale, zero, bits)

        made[f"{stem}weight"] = Made(tuple(names), (out, columns), f"INT{bits}", make)
    return made


def _float4(file: _File) -> Weights:
    """4-bit floats in bytes: of NVIDIA (NVFP4), with 8-bit floats for 16 and a scale of all; of OCP (MXFP4)."""
    made = {}
    for stem in file.stems("weight_packed"):
        packed, scales = f"{stem}weight_packed", f"{stem}weight_scale"
        if file.reader.dtype(packed) != "U8":
            continue
        out, half = file.shape(packed, 2)
        if f"{stem}weight_global_scale" in file.names:
            names: tuple[str, ...] = (packed, file.expect(scales, (out, half // 8)), f"{stem}weight_global_scale")
            file.kind(scales, "F8_E4M3")
            made[f"{stem}weight"] = Made(names, (out, 2 * half), "NVFP4", _nvfp4)
        else:
            names = (packed, file.expect(scales, (out, half // 16)))
            file.kind(scales, "U8")
            made[f"{stem}weight"] = Made(names, (out, 2 * half), "MXFP4", mxfp4)
    return made


def _nvfp4(packed: Tensor, scale: Tensor, whole: Tensor) -> Packed:
    doubled = (2 * FLOAT4).to(torch.int8)
    codes = doubled[torch.stack((packed & 15, packed >> 4), -1).to(torch.int64)].view(torch.uint8)
    scales = scale.float() / whole.float().reshape(()) / 2
    shape = torch.Size((len(packed), 2 * packed.shape[1]))
    return _packed("S8", shape, 16, codes.reshape(len(packed), -1, 16), scales)


def mxfp4(packed: Tensor, scale: Tensor) -> Packed:
    """MXFP4 weights [..., columns] from bytes [..., columns / 2] of two neighbours each and exponents [..., blocks]."""
    rows = math.prod(packed.shape[:-1])
    pairs = packed.reshape(rows, -1, 16)
    codes = torch.stack((pairs & 15, pairs >> 4), -1).flatten(-2)  # [rows, blocks, 32]
    data = torch.cat((scale.reshape(rows, -1, 1), codes[..., :16] | codes[..., 16:] << 4), -1)
    return Packed(data.flatten(1), "MXFP4", (*packed.shape[:-1], 2 * packed.shape[-1]))


def _gpt_oss(file: _File, said: Mapping[str, Any]) -> Weights:
    """MXFP4 as gpt-oss has it: experts [experts, rows, blocks, 16], whose name stays that of the bytes."""
    made = {}
    for stem in file.stems("_blocks"):
        *front, blocks, size = file.shape(f"{stem}_blocks", 4)
        file.kind(f"{stem}_blocks", "U8")
        scales = file.expect(f"{stem}_scales", (*front, blocks))
        if size != 16:
            raise ConfigError(f"the tensor {stem + '_blocks'!r} has blocks of {2 * size} weights; MXFP4's have 32")
        shape = (*front, 32 * blocks)
        made[f"{stem}_blocks"] = Made((f"{stem}_blocks", scales), shape, "MXFP4", lambda b, s: mxfp4(b.flatten(-2), s))
    return made


# ---- bitsandbytes


def _bitsandbytes(file: _File, said: Mapping[str, Any]) -> Weights:
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
            return _packed("S8", weight.shape, 16, weight.view(torch.uint8).view(len(weight), -1, 16), scale)

        made[f"{stem}weight"] = Made(names, (rows, columns), "INT8", eight)
    for name in file.reader.names():
        weight, _, kind = name.partition(".quant_state.bitsandbytes__")
        if kind not in {"nf4", "fp4"}:
            continue
        state = _state(file, name)
        shape, block, nested = state["shape"], state["blocksize"], state.get("nested_blocksize")
        count = math.prod(shape)
        blocks = -(-count // block)
        file.expect(weight, (-(-count // 2), 1))
        file.kind(weight, "U8")
        names = (weight, file.expect(f"{weight}.absmax", (blocks,)))
        names += (file.expect(f"{weight}.quant_map", (16,)),)
        if nested is not None:
            names += (file.expect(f"{weight}.nested_absmax", (-(-blocks // nested),)),)
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


def _state(file: _File, name: str) -> dict[str, Any]:
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


METHODS: dict[str, Callable[[_File, Mapping[str, Any]], Weights]] = {
    "fp8": _scaled,
    "fbgemm_fp8": _scaled,
    "compressed-tensors": _compressed,
    "gptq": _gptq,
    "awq": _awq,
    "bitsandbytes": _bitsandbytes,
    "mxfp4": _gpt_oss,
}
"""The methods that are read, by the names that configs have for them."""

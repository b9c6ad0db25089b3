"""Integers in groups that share a scale and a zero: GPTQ, AWQ, and those of compressed-tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from limelight.checkpoints.made import Held, Made, Weights, blocks
from limelight.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from limelight.quant.packed import Packed


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
        return blocks("S8", codes.shape, 16, whole.to(torch.int8).view(torch.uint8).view(len(codes), -1, 16), scale)
    halves = codes.view(len(codes), -1, 2, 16)
    nibbles = halves[:, :, 0] | halves[:, :, 1] << 4
    if bool((zero == 8).all()) and torch.equal(scale.half().float(), scale):
        return blocks("Q4_0", codes.shape, 32, nibbles, scale.half())
    return blocks("U4", codes.shape, 32, nibbles, scale, -scale * zero)


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


def gptq(file: Held, said: Mapping[str, Any]) -> Weights:
    """GPTQ (Frantar et al., 2023), as AutoGPTQ and GPTQModel write it."""
    bits = _whole(said, "bits", (2, 4, 8))
    if (layout := said.get("checkpoint_format") or "gptq") not in ("gptq", "gptq_v2"):
        raise ConfigError(
            f"the model's quantization_config says checkpoint_format: {layout!r:.40}; limelight reads gptq and gptq_v2"
        )
    per, shift = 32 // bits, int(layout == "gptq")  # the older one keeps zero - 1
    made = {}
    for stem in file.stems("qweight"):
        words, out = file.shape(f"{stem}qweight", 2)
        columns, groups = words * per, file.shape(f"{stem}scales", 2)[0]
        file.kind(f"{stem}qweight", "I32")
        names = [f"{stem}qweight", file.expect(f"{stem}scales", (groups, out))]
        names.append(file.expect(f"{stem}qzeros", (groups, -(-out // per)), "I32"))
        if (order := f"{stem}g_idx") in file.names:
            names.append(file.expect(order, (columns,), "I32", "I64"))
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


def awq(file: Held, said: Mapping[str, Any]) -> Weights:
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
        file.expect(names[2], (groups, words), "I32")

        def make(qweight: Tensor, scales: Tensor, qzeros: Tensor) -> Tensor | Packed:
            codes, zero = (_fields(each, 4, 1, order).t().contiguous() for each in (qweight, qzeros))
            return grouped(codes, scales.float().t().contiguous(), zero.float(), 4)

        made[f"{stem}weight"] = Made(names, (out, columns), "INT4", make)
    return made


def words(file: Held) -> Weights:
    """Integers of 4 or 8 bits in words of 32, counted from the middle."""
    made = {}
    for stem in file.stems("weight_packed"):
        packed, shape = f"{stem}weight_packed", f"{stem}weight_shape"
        if file.reader.dtype(packed) != "I32":
            continue
        out, words = file.shape(packed, 2)
        file.expect(shape, (2,), "I32", "I64")
        said = file.reader.read(shape)
        columns = int(said[1]) if isinstance(said, Tensor) else 0
        bits = next((b for b in (4, 8) if columns > 0 and -(-columns // (32 // b)) == words), 0)
        groups = file.shape(f"{stem}weight_scale", 2)[1]
        if not bits or columns % groups or (isinstance(said, Tensor) and int(said[0]) != out):
            raise ConfigError(f"the tensor {packed!r} does not hold integers of 4 or 8 bits of the shape that it says")
        names = [packed, file.expect(f"{stem}weight_scale", (out, groups)), shape]
        if (zeros := f"{stem}weight_zero_point") in file.names:
            plain = file.dtype(zeros) == "I8"  # as older versions wrote them
            names.append(file.expect(zeros, (out if plain else -(-out // (32 // bits)), groups), "I8", "I32"))
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

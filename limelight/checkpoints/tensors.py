"""What the readers of all formats share: the number types that tensors are kept in, and finding one by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

from limelight.errors import FileError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

T = TypeVar("T")

# The number types that tensors are kept in, by the names that safetensors gives them; low-bit ones are in quant.packed.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def lookup(tensors: Mapping[str, T], name: str, path: Path) -> T:
    """The entry of a tensor; ``FileError`` with the nearest name when the file has none of that name."""
    if name not in tensors:
        raise FileError(f"{path}: there is no tensor {name!r}{suggestion(name, tensors)}")
    return tensors[name]

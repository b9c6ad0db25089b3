"""Reading a safetensors file, through the safetensors library."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from safetensors import SafetensorError, safe_open

from limelight.checkpoints.tensors import DTYPES, lookup
from limelight.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor


class Entry(NamedTuple):
    dtype: str
    shape: tuple[int, ...]


class SafetensorsReader:
    """One safetensors file; a ``TensorReader``. Raises ``FileError`` when the header does not hold together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # The library checks that the header is well formed and that the tensors fill the file without overlap.
            self._file = cast("Any", safe_open(path, framework="pt", device="cpu"))  # it has no types
            self.metadata: Mapping[str, Any] = self._file.metadata() or {}
            slices = {name: self._file.get_slice(name) for name in self._file.offset_keys()}
            self._entries = {name: Entry(s.get_dtype(), tuple(s.get_shape())) for name, s in slices.items()}
        except (SafetensorError, OSError, ValueError) as error:
            raise FileError(f"{path}: not a sound safetensors file: {error}") from error
        for name, entry in self._entries.items():
            if entry.dtype not in DTYPES:
                raise FileError(f"{path}: tensor {name!r} has the number type {entry.dtype}, which is not supported")

    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return lookup(self._entries, name, self._path).shape

    def dtype(self, name: str) -> str:
        return lookup(self._entries, name, self._path).dtype

    def nbytes(self, name: str) -> int:
        entry = lookup(self._entries, name, self._path)
        return math.prod(entry.shape) * DTYPES[entry.dtype].itemsize

    def read(self, name: str) -> Tensor:
        lookup(self._entries, name, self._path)
        try:
            tensor: Tensor = self._file.get_tensor(name)
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            raise FileError(f"{self._path}: tensor {name!r} cannot be read: {error}") from error
        return tensor

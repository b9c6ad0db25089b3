"""Reading Marian's own files: ``.npz``, and ``.bin`` as Bergamot's students have it, in 8-bit whole numbers.

Both hold named matrices and one text, ``special:model.yml``, which says what the model is. A ``.bin`` file is a
version, the number of items, a header for each (length of the name, type, number of dimensions, bytes), the names, the
shapes, a gap, and the items one behind the other.
"""

from __future__ import annotations

import ast
import math
import os
import struct
import zipfile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from limelight.checkpoints.tensors import lookup
from limelight.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

OPTIONS = "special:model.yml"
MOST = 1 << 14  # items; the largest models have a few thousand
NAME_LIMIT, TEXT_LIMIT, HEADER_LIMIT = 1 << 10, 1 << 20, 1 << 10  # bytes
FLOAT32, INT8, TEXT = 0x0404, 0x4101, 0x0101  # types of items; the second is intgemm's, whatever the machine


class Item(NamedTuple):
    """kind: the type. start, size: bytes of the file."""

    kind: int
    shape: tuple[int, ...]
    start: int
    size: int


class MarianReader:
    """A ``.bin`` file; a ``TensorReader`` of floats.

    8-bit matrices become the floats that they stand for: the number behind a matrix says what the floats were
    multiplied by before they were rounded. Raises ``FileError`` when a header does not hold together.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            items = dict(_items(file, path))
            text = items.pop(OPTIONS, None)
            if text is None or text.size > TEXT_LIMIT:
                raise FileError(f"{path}: no {OPTIONS}, which says what the model is, or one of more than 1 MB")
            file.seek(text.start)
            self.metadata: Mapping[str, Any] = {OPTIONS: _text(file.read(text.size), path)}
        self._items = {name: item for name, item in items.items() if item.kind != TEXT}

    def names(self) -> tuple[str, ...]:
        return tuple(self._items)

    def shape(self, name: str) -> tuple[int, ...]:
        """As Marian counts it, input rows before output columns."""
        return lookup(self._items, name, self._path).shape

    def dtype(self, name: str) -> str:
        lookup(self._items, name, self._path)
        return "F32"

    def nbytes(self, name: str) -> int:
        return lookup(self._items, name, self._path).size

    def read(self, name: str) -> Tensor:
        item = lookup(self._items, name, self._path)
        count = math.prod(item.shape)
        kind: Any = np.float32 if item.kind == FLOAT32 else np.int8
        values = np.memmap(self._path, dtype=kind, mode="c", offset=item.start, shape=(count,))
        tensor = torch.from_numpy(np.asarray(values))
        if item.kind == FLOAT32:
            return tensor.view(item.shape)
        (multiplier,) = np.memmap(self._path, dtype=np.float32, mode="r", offset=item.start + count, shape=(1,))
        if not (math.isfinite(multiplier) and multiplier > 0):
            raise FileError(f"{self._path}: tensor {name!r} was multiplied by {multiplier}, which cannot be")
        floats = tensor.float() / torch.tensor(float(multiplier))
        # A matrix lies as intgemm is given it, output by output; the embeddings lie as they are.
        return floats.view(item.shape) if name.endswith("Wemb") else floats.view(item.shape[::-1]).t()


def _items(file: Any, path: Path) -> Iterator[tuple[str, Item]]:
    size = os.fstat(file.fileno()).st_size

    def numbers(code: str, what: str) -> tuple[int, ...]:
        length = struct.calcsize(code)
        if length > size - file.tell():
            raise FileError(f"{path}: ends within {what}")
        return struct.unpack(code, file.read(length))

    _, count = numbers("<2Q", "its first numbers")
    if not 0 < count <= MOST:
        raise FileError(f"{path}: claims {count:,} items; a model has from 1 to {MOST:,}")
    headers = [numbers("<4Q", f"the header of item {i}") for i in range(count)]
    for i, (length, _, dimensions, _) in enumerate(headers):
        if not 1 < length <= NAME_LIMIT or not 0 < dimensions <= 4:
            raise FileError(f"{path}: item {i} has a name of {length:,} bytes and {dimensions:,} dimensions")
    names = [_text(bytes(numbers(f"<{length}B", "the names")), path) for length, *_ in headers]
    shapes = [numbers(f"<{dimensions}i", "the shapes") for _, _, dimensions, _ in headers]
    (gap,) = numbers("<Q", "the shapes")
    if gap > size - file.tell():
        raise FileError(f"{path}: the gap before its items is {gap:,} bytes, more than there are")
    start = file.tell() + gap
    if len({*names}) != count:
        raise FileError(f"{path}: has an item twice")
    for name, (_, kind, _, length), shape in zip(names, headers, shapes, strict=True):
        if length > size - start:
            raise FileError(f"{path}: tensor {name!r} ends behind the file")
        values = math.prod(shape)
        if name.endswith("_QuantMultA"):  # of activations, which here are not rounded
            kind = FLOAT32
        needed = {FLOAT32: 4 * values, INT8: values + 4, TEXT: values}.get(kind)
        if needed is None:
            raise FileError(
                f"{path}: tensor {name!r} is of the type {kind:#x}; limelight reads float32 and intgemm's 8-bit, which "
                "marian-conv writes with --gemm-type float32 and intgemm8"
            )
        if min(shape) < 1 or needed > length or (kind == INT8 and len(shape) != 2) or start % 4:
            raise FileError(f"{path}: tensor {name!r} of the shape {shape} does not fit its {length:,} bytes")
        yield name, Item(kind, tuple(shape), start, length)
        start += length


class NpzReader:
    """An ``.npz`` file; a ``TensorReader``. Only arrays of plain numbers are read; nothing is unpickled.

    Raises ``FileError`` for anything else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrays: dict[str, tuple[zipfile.ZipInfo, Any, tuple[int, ...]]] = {}
        text = None
        try:
            self._zip = zipfile.ZipFile(path)
            members = self._zip.infolist()
            if len(members) > MOST:
                raise FileError(f"{path}: holds {len(members):,} arrays; a model has at most {MOST:,}")
            for member in members:
                name = member.filename.removesuffix(".npy")
                kind, shape = self._header(member)
                if name == OPTIONS and math.prod(shape) <= TEXT_LIMIT:
                    text = self._values(member, kind, shape).tobytes()
                elif kind == np.float32 and 0 < len(shape) <= 4:
                    self._arrays[name] = member, kind, shape
                elif not name.startswith("special:"):
                    raise FileError(
                        f"{path}: array {name!r} is of the type {kind} and shape {shape}, no weight of Marian's"
                    )
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
            raise FileError(f"{path}: not a sound .npz file: {error}") from error
        if text is None:
            raise FileError(f"{path}: no {OPTIONS}, which says what the model is; this is no model of Marian's")
        self.metadata: Mapping[str, Any] = {OPTIONS: _text(text, path)}

    def names(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    def shape(self, name: str) -> tuple[int, ...]:
        """As Marian counts it, input rows before output columns."""
        return lookup(self._arrays, name, self._path)[2]

    def dtype(self, name: str) -> str:
        lookup(self._arrays, name, self._path)
        return "F32"

    def nbytes(self, name: str) -> int:
        return 4 * math.prod(self.shape(name))

    def read(self, name: str) -> Tensor:
        member, kind, shape = lookup(self._arrays, name, self._path)
        try:
            return torch.from_numpy(self._values(member, kind, shape))
        except (zipfile.BadZipFile, OSError, ValueError, RuntimeError) as error:
            raise FileError(f"{self._path}: tensor {name!r} cannot be read: {error}") from error

    def _header(self, member: zipfile.ZipInfo) -> tuple[Any, tuple[int, ...]]:
        """The type and shape of an array, held against its bytes. Raises ValueError where they do not hold."""
        with self._zip.open(member) as file:
            first = file.read(10)
            if first[:7] != b"\x93NUMPY\x01":
                raise ValueError(f"{member.filename} is no array")
            length = int.from_bytes(first[8:10], "little")
            if length > HEADER_LIMIT:
                raise ValueError(f"{member.filename} has a header of {length:,} bytes")
            said = ast.literal_eval(file.read(length).decode("latin1"))
        if not isinstance(said, dict) or said.get("fortran_order") is not False:
            raise ValueError(f"{member.filename} is no array in the order of C")
        kind, shape = said.get("descr"), said.get("shape")
        if kind not in ("<f4", "|i1", "<i1", "|u1") or not isinstance(shape, tuple):
            raise ValueError(f"{member.filename} holds {kind!r:.40}, no plain numbers")
        if not all(type(each) is int and each > 0 for each in shape):
            raise ValueError(f"{member.filename} has the shape {shape!r:.40}")
        if 10 + length + math.prod(shape) * np.dtype(kind).itemsize != member.file_size:
            raise ValueError(f"{member.filename} has the shape {shape}, which does not fit its bytes")
        return np.dtype(kind), shape

    def _values(self, member: zipfile.ZipInfo, kind: Any, shape: tuple[int, ...]) -> Any:
        count = math.prod(shape)
        with self._zip.open(member) as file:
            data = file.read(member.file_size)
        return np.frombuffer(bytearray(data[len(data) - count * kind.itemsize :]), kind).reshape(shape)


def is_npz(path: Path) -> bool:
    """Whether a zip holds arrays of numpy's and nothing else."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _text(data: bytes, path: Path) -> str:
    try:
        return data.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        raise FileError(f"{path}: holds a text that is not UTF-8") from None

"""Reading a GGUF file: a header of key/value pairs and tensor descriptions, then the tensors, mapped.

The format is that of ggml's ``docs/gguf.md``, versions 2 and 3. The numbers of its types come from the ``gguf``
package (0.03 s to import, once torch is there), whose own ``GGUFReader`` is not used: it makes several numpy arrays for
each element of each array, which for a vocabulary of 49,152 tokens and 48,900 merges takes 2.1 s where this reader
takes 0.07 s (one core, file in the page cache), and it believes the sizes that a file claims.
"""

from __future__ import annotations

import math
import mmap
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from limelight.checkpoints.tensors import DTYPES, lookup
from limelight.errors import FileError
from limelight.quant.converted import PLACES as CONVERTED
from limelight.quant.converted import convert
from limelight.quant.packed import FORMATS, Packed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

# More than any real file has, and few enough to take little time and memory.
HEADER_LIMIT = 1 << 26  # bytes; the largest vocabularies take about 15 MB
VALUES_LIMIT = 1 << 22  # elements of all arrays together
COUNT_LIMIT = 1 << 16  # tensors, or key/value pairs
DIMENSIONS_LIMIT = 4  # as in ggml
DEPTH_LIMIT = 4  # of arrays in arrays
ALIGNMENTS = tuple(1 << power for power in range(3, 17))

NUMBERS = {
    GGUFValueType.UINT8: "B",
    GGUFValueType.INT8: "b",
    GGUFValueType.UINT16: "H",
    GGUFValueType.INT16: "h",
    GGUFValueType.UINT32: "I",
    GGUFValueType.INT32: "i",
    GGUFValueType.FLOAT32: "f",
    GGUFValueType.UINT64: "Q",
    GGUFValueType.INT64: "q",
    GGUFValueType.FLOAT64: "d",
}
KINDS = {kind.value: kind for kind in GGUFValueType}
TENSOR_TYPES = {
    kind.value: kind
    for kind in GGMLQuantizationType
    if any(kind.name in known for known in (DTYPES, FORMATS, CONVERTED))
}
LENGTH = struct.Struct("<Q")


class Entry(NamedTuple):
    """Where a tensor lies: ``shape`` in torch's order; ``start`` and ``nbytes`` in bytes from the file's beginning."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


class GGUFReader:
    """One GGUF file; a ``TensorReader``. Low-bit tensors are read as ``Packed``, rare ones converted to our own blocks.

    ``metadata`` maps the file's keys to plain Python values. Bytes that are not UTF-8, in tokens cut inside a
    character, say, are kept as surrogate escapes: ``value.encode("utf-8", "surrogateescape")`` gives them back.
    Raises ``FileError`` when the file is big-endian, damaged or hostile.
    """

    metadata: Mapping[str, Any]

    def __init__(self, path: Path) -> None:
        self._path = path
        size = path.stat().st_size
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                self.metadata, self._entries = _Header(path, data).parse()
            # Private pages: whoever writes into a tensor changes a copy.
            self._bytes = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=size)
        except (OSError, RuntimeError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise FileError(f"{path}: cannot be mapped into memory: {error}") from error

    def names(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        return lookup(self._entries, name, self._path).shape

    def dtype(self, name: str) -> str:
        return lookup(self._entries, name, self._path).dtype

    def nbytes(self, name: str) -> int:
        return lookup(self._entries, name, self._path).nbytes

    def read(self, name: str) -> Tensor | Packed:
        entry = lookup(self._entries, name, self._path)
        # A storage of its own, or whoever pickles or copies the tensor copies the whole file.
        part = self._bytes[entry.start : entry.start + entry.nbytes]
        data = torch.empty(0, dtype=torch.uint8).set_(part)
        if entry.dtype in FORMATS:
            return Packed(data.view(math.prod(entry.shape[:-1]), -1), entry.dtype, entry.shape)
        if entry.dtype in CONVERTED:
            return convert(data, entry.dtype, entry.shape)
        return data.view(DTYPES[entry.dtype]).view(entry.shape)


class _Header:
    """Takes a GGUF header apart from front to back; ``at`` is the next byte to read."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.data = data
        self.size = len(data)
        self.end = min(self.size, HEADER_LIMIT)
        self.at = 0
        self.values = 0  # array elements so far

    def parse(self) -> tuple[dict[str, Any], dict[str, Entry]]:
        if self.take(4, "magic") != b"GGUF":
            self.fail("magic", "is not 'GGUF'")
        version = self.number("I", "version")
        if version & 0xFFFF == 0 and version:
            self.fail("version", "is stored in big-endian order, which is not supported; convert the file")
        if version not in {2, 3}:
            self.fail("version", f"is {version}; 2 and 3 are supported")
        tensors = self.count(COUNT_LIMIT, 24, "tensor count")  # each takes at least 24 bytes
        pairs = self.count(COUNT_LIMIT, 13, "metadata count")
        metadata: dict[str, Any] = {}
        for index in range(pairs):
            key = self.name(f"metadata key {index}")
            if key in metadata:
                self.fail(f"metadata key {key!r}", "appears twice")
            field = f"metadata {key!r}"
            metadata[key] = self.value(self.value_type(field), field)
        return metadata, self.entries(tensors, metadata.get("general.alignment", 32))

    def entries(self, count: int, alignment: object) -> dict[str, Entry]:
        if not isinstance(alignment, int) or alignment not in ALIGNMENTS:
            self.fail("metadata 'general.alignment'", f"is {alignment!r:.40}, not a power of two from 8 to 65536")
        described = [self.entry(index, alignment) for index in range(count)]
        base = -(-self.at // alignment) * alignment  # where the tensors begin
        entries: dict[str, Entry] = {}
        end, before = base, ""
        for name, entry in sorted(described, key=lambda item: item[1].start):
            placed = entry._replace(start=base + entry.start)
            if name in entries:
                self.fail(f"tensor {name!r}", "appears twice")
            if placed.start < end:
                self.fail(f"tensor {name!r}", f"overlaps tensor {before!r}")
            end, before = placed.start + placed.nbytes, name
            if end > self.size:
                self.fail(f"tensor {name!r}", f"ends at byte {end:,}, but the file has {self.size:,}; is it complete?")
            entries[name] = placed
        return {name: entries[name] for name, _ in described}

    def entry(self, index: int, alignment: int) -> tuple[str, Entry]:
        """One tensor's description; its ``start`` still counts from where the tensors begin."""
        name = self.name(f"name of tensor {index}")
        field = f"tensor {name!r}"
        dimensions = self.number("I", f"{field}: number of dimensions")
        if dimensions > DIMENSIONS_LIMIT:
            self.fail(field, f"has {dimensions} dimensions; at most {DIMENSIONS_LIMIT} are supported")
        # GGUF names the fastest dimension first, torch last.
        shape = tuple(self.number("Q", f"{field}: shape") for _ in range(dimensions))[::-1]
        code, start = self.number("I", f"{field}: type"), self.number("Q", f"{field}: offset")
        if code not in TENSOR_TYPES:
            name = next((kind.name for kind in GGMLQuantizationType if kind == code), f"number {code}")
            self.fail(field, f"has the type {name}; supported are {', '.join(t.name for t in TENSOR_TYPES.values())}")
        dtype = TENSOR_TYPES[code].name
        block, block_bytes = GGML_QUANT_SIZES[TENSOR_TYPES[code]]
        if 0 in shape:
            self.fail(field, f"has the empty shape {shape}")
        if (shape[-1] if shape else 1) % block:
            self.fail(field, f"has shape {shape}, whose columns are not a multiple of {dtype}'s block of {block}")
        if start % alignment:
            self.fail(field, f"has the offset {start}, not a multiple of the alignment {alignment}")
        return name, Entry(dtype, shape, start, math.prod(shape) // block * block_bytes)

    def value(self, kind: GGUFValueType, field: str, depth: int = 0) -> Any:
        if kind == GGUFValueType.STRING:
            return self.strings(1, field)[0]
        if kind == GGUFValueType.BOOL:
            return self.bools(1, field)[0]
        if kind in NUMBERS:
            return self.number(NUMBERS[kind], field)
        if depth == DEPTH_LIMIT:
            self.fail(field, f"has arrays in arrays more than {DEPTH_LIMIT} deep")
        return self.array(field, depth)

    def array(self, field: str, depth: int) -> list[Any]:
        kind = self.value_type(f"{field}: element type")
        smallest = {GGUFValueType.STRING: 8, GGUFValueType.BOOL: 1, GGUFValueType.ARRAY: 12}.get(kind)
        smallest = smallest or struct.calcsize("<" + NUMBERS[kind])
        count = self.count(VALUES_LIMIT - self.values, smallest, f"{field}: length")
        self.values += count
        if kind == GGUFValueType.STRING:
            return self.strings(count, field)
        if kind == GGUFValueType.BOOL:
            return self.bools(count, field)
        if kind in NUMBERS:
            return list(struct.unpack(f"<{count}{NUMBERS[kind]}", self.take(count * smallest, field)))
        return [self.value(kind, field, depth + 1) for _ in range(count)]

    def strings(self, count: int, field: str) -> list[str]:
        """The loop that a vocabulary goes through: local names, no call of our own for each string."""
        data, at, end, length_at = self.data, self.at, self.end, LENGTH.unpack_from
        strings = []
        for _ in range(count):
            start = at + 8
            if start > end or (at := start + length_at(data, at)[0]) > end:
                self.short(field)
            strings.append(data[start:at].decode("utf-8", "surrogateescape"))
        self.at = at
        return strings

    def bools(self, count: int, field: str) -> list[bool]:
        data = self.take(count, field)
        if data.strip(b"\0\1"):
            self.fail(field, "holds a truth value that is neither 0 nor 1")
        return [byte == 1 for byte in data]

    def name(self, field: str) -> str:
        length = self.number("Q", f"{field}: length")
        if not 0 < length < 1 << 16:
            self.fail(field, f"has {length} bytes; 1 to 65,535 are allowed")
        try:
            return self.take(length, field).decode("utf-8")
        except UnicodeDecodeError:
            self.fail(field, "is not UTF-8")

    def value_type(self, field: str) -> GGUFValueType:
        code = self.number("I", f"{field}: type")
        if code not in KINDS:
            self.fail(field, f"has the unknown type {code}")
        return KINDS[code]

    def count(self, limit: int, smallest: int, field: str) -> int:
        """A number of things of which each takes at least ``smallest`` bytes of what is left of the header."""
        count: int = self.number("Q", field)
        if count > limit:
            self.fail(field, f"is {count:,}; at most {limit:,} are allowed")
        if count * smallest > self.end - self.at:
            self.short(field)
        return count

    def number(self, layout: str, field: str) -> Any:
        layout = "<" + layout
        return struct.unpack(layout, self.take(struct.calcsize(layout), field))[0]

    def take(self, length: int, field: str) -> bytes:
        if length > self.end - self.at:
            self.short(field)
        start, self.at = self.at, self.at + length
        return self.data[start : self.at]

    def short(self, field: str) -> NoReturn:
        if self.end == self.size:
            self.fail(field, f"reaches past the end of the file at byte {self.size:,}; is it complete?")
        self.fail(field, f"lies past byte {HEADER_LIMIT:,}, longer than a header may be")

    def fail(self, field: str, why: str) -> NoReturn:
        raise FileError(f"{self.path}: {field} {why}")

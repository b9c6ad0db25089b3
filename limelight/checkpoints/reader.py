"""Opening files of tensors: one interface over safetensors, GGUF, torch's and Marian's files, single or in shards.

Files come from strangers, so what a file claims is checked against its length before memory is set aside for it, and
anything wrong is a ``FileError`` that names the file and the field. Opening reads headers only; tensors are views of
the memory-mapped file (private: writing into one never reaches the disk), so reading all of them one after another
peaks at the model plus its largest tensor.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Protocol

from limelight.checkpoints.files import MARIAN, PARTS_LIMIT, foreign, gguf_parts, head, is_old_torch, is_safetensors
from limelight.checkpoints.marian import MarianReader, NpzReader, is_npz
from limelight.checkpoints.tensors import lookup
from limelight.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from limelight.quant.packed import Packed

INDEX_LIMIT = 1 << 25  # bytes; an index of 100,000 tensors takes about 10 MB

# What to open in a folder, in this order; a pattern with * must match one file.
IN_FOLDER = (
    "model.safetensors",
    "model.safetensors.index.json",
    "*.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "*.gguf",
    "model*.npz",
    "model*.bin",
    "*.bin",
    "*.pt",
    "*.pth",
)


class TensorReader(Protocol):
    """An open file of named tensors. Methods that take a name raise ``FileError`` when there is no such tensor."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the file says besides its tensors, as plain Python values."""
        ...

    def names(self) -> tuple[str, ...]:
        """The names of all tensors, in the file's order."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape as torch counts it, output rows before input columns."""
        ...

    def dtype(self, name: str) -> str:
        """The tensor's number type: a key of ``tensors.DTYPES``, or the name of a low-bit format."""
        ...

    def nbytes(self, name: str) -> int:
        """Bytes that the tensor takes in the file."""
        ...

    def read(self, name: str) -> Tensor | Packed:
        """The tensor, a view of the file's pages wherever its layout allows."""
        ...


class ShardedReader:
    """Several files read as one, put together by an index that says which tensor is in which of them."""

    def __init__(self, shards: Mapping[str, TensorReader], path: Path, metadata: Mapping[str, Any]) -> None:
        self._shards = shards  # by the tensor's name
        self._path = path
        self.metadata = metadata

    def names(self) -> tuple[str, ...]:
        return tuple(self._shards)

    def shape(self, name: str) -> tuple[int, ...]:
        return lookup(self._shards, name, self._path).shape(name)

    def dtype(self, name: str) -> str:
        return lookup(self._shards, name, self._path).dtype(name)

    def nbytes(self, name: str) -> int:
        return lookup(self._shards, name, self._path).nbytes(name)

    def read(self, name: str) -> Tensor | Packed:
        return lookup(self._shards, name, self._path).read(name)


def open_tensors(path: Path) -> TensorReader:
    """Opens a GGUF, safetensors, torch or Marian file, the index of a sharded one, the first part of a GGUF file in
    parts, or the folder that holds one.

    The kind is told by the content, not by the name. In a folder safetensors come first. Raises ``FileError`` for a
    file that is missing, damaged, foreign or hostile.
    """
    if os.path.isdir(path):
        path = _in_folder(path)
    first = head(path)
    if path.suffix == ".json" or first.lstrip()[:1] == b"{":
        return _open_index(path)
    reader = _open_file(path, first)
    return _with_parts(reader, path) if _parts_of(reader, path) > 1 else reader


def _in_folder(folder: Path) -> Path:
    for pattern in IN_FOLDER:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if len(found) > 1 and {path.name for path in found} == set(gguf_parts(found[0].name)):
            found = found[:1]
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:4])
            raise FileError(f"{folder}: {len(found)} files could be the model ({names}); name the one to open")
        if found:
            return found[0]
    if (folder / "adapter_config.json").is_file():
        raise FileError(f"{folder}: holds an adapter (LoRA), not a model; name the model that it belongs to")
    raise FileError(f"{folder}: no .safetensors, .gguf or torch (.bin, .pt, .pth) file in this folder")


def _parts_of(reader: TensorReader, path: Path) -> int:
    """In how many files a model lies of which this is one. Raises FileError where a GGUF file says something else."""
    count = reader.metadata.get("split.count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= PARTS_LIMIT:
        raise FileError(f"{path}: metadata 'split.count' is {count!r:.60}, not a number of files")
    return count


def _with_parts(first: TensorReader, path: Path) -> TensorReader:
    """A model in several GGUF files, of which the first is named; the others lie beside it."""
    count = _parts_of(first, path)
    names = gguf_parts(path.name)
    says = f"{path}: metadata 'split.count' says that this is one part of {count}"
    if first.metadata.get("split.no", 0) != 0:
        raise FileError(f"{says}, but not the first; open {names[0] if names else 'that one'}")
    if len(names) != count or path.name != names[0]:
        raise FileError(f"{says}; they must be called NAME-00001-of-{count:05d}.gguf and so on, and lie side by side")
    shards: dict[str, TensorReader] = {}
    for number, name in enumerate(names):
        file = path.with_name(name)
        reader = _open_file(file, head(file)) if number else first
        if _parts_of(reader, file) != count or reader.metadata.get("split.no", 0) != number:
            raise FileError(f"{file}: does not say that it is part {number + 1} of {count}")
        for tensor in reader.names():
            if tensor in shards:
                raise FileError(f"{file}: holds tensor {tensor!r}, which an earlier part holds too")
            shards[tensor] = reader
    expected = first.metadata.get("split.tensors.count", len(shards))
    if expected != len(shards):
        raise FileError(f"{path}: says that its parts hold {expected!r:.40} tensors; they hold {len(shards)}")
    return ShardedReader(shards, path, first.metadata)


def _open_file(path: Path, first: bytes) -> TensorReader:
    # Each reader is imported when a file of its kind is opened.
    if first[:4] == b"GGUF":
        from limelight.checkpoints.gguf import GGUFReader

        return GGUFReader(path)
    if first[:8] == MARIAN:
        return MarianReader(path)
    if first[:4] == b"PK\x03\x04" and is_npz(path):
        return NpzReader(path)
    if first[:4] == b"PK\x03\x04":
        from limelight.checkpoints.torchzip import TorchZipReader

        return TorchZipReader(path)
    if is_old_torch(first):
        from limelight.checkpoints.torchold import OldTorchReader

        return OldTorchReader(path)
    if is_safetensors(first, path.stat().st_size):
        from limelight.checkpoints.safetensors import SafetensorsReader

        return SafetensorsReader(path)
    if first[:1] == b"\x80" or path.suffix in {".bin", ".pt", ".pth", ".pkl"}:
        raise FileError(
            f"{path}: not a file that torch.save wrote, and a bare pickle may run code, so it is not opened; "
            "save it as safetensors"
        )
    what = f"; this is {kind}" if (kind := foreign(first)) else ""
    raise FileError(f"{path}: starts with {first[:8]!r}, which is none of GGUF, safetensors or a torch file{what}")


def _open_index(path: Path) -> ShardedReader:
    """Opens all shards of an index (headers only) and checks that both name the same tensors."""
    if path.stat().st_size > INDEX_LIMIT:
        raise FileError(f"{path}: an index of more than {INDEX_LIMIT:,} bytes is not read")
    try:
        index = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:  # ValueError: also bytes that are not UTF-8
        raise FileError(f"{path}: not valid JSON: {error}") from error
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict):
        raise FileError(f"{path}: there is no 'weight_map' that says which tensor is in which file")
    shards: dict[str, set[str]] = {}
    for name, shard in places.items():
        # A plain name of a file beside the index; a link may lead on, as those of the hub's cache do.
        if not isinstance(shard, str) or shard in {"", ".", ".."} or any(c in shard for c in "/\\\0:"):
            raise FileError(f"{path}: weight_map[{name!r}] is {shard!r}, not the name of a file in the same folder")
        shards.setdefault(shard, set()).add(name)
    readers = {}
    for shard, expected in shards.items():
        file = path.with_name(shard)
        reader = _open_file(file, head(file))
        found = set(reader.names())
        if missing := sorted(expected - found):
            raise FileError(f"{file}: tensor {missing[0]!r} is missing, though {path.name} places it here")
        if extra := sorted(found - expected):
            raise FileError(f"{file}: holds tensor {extra[0]!r}, which {path.name} does not place here")
        readers[shard] = reader
    metadata = index.get("metadata")
    by_name = {name: readers[shard] for name, shard in places.items()}
    return ShardedReader(by_name, path, metadata if isinstance(metadata, dict) else {})

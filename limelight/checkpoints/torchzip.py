"""Reading the zip files that ``torch.save`` writes, without ever running what is in them.

The tensors' bytes lie uncompressed in the zip and are mapped; how they fit together is described by a pickle, a small
program. torch's weights-only loader runs only a safe part of that language, and we let through still less: a pickle
that names anything but what a plain dictionary of tensors is made of is refused before it is loaded. (The weights-only
loader also knows ``bytearray``, say, with which ten bytes of pickle fill any memory.)
"""

from __future__ import annotations

import io
import os
import pickletools
import zipfile
from typing import TYPE_CHECKING, Any

import torch

from limelight.checkpoints.tensors import DTYPES, lookup
from limelight.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

LIMIT = 1 << 21  # bytes of the pickle, and of the zip's directory; a tensor takes about 300 and 100
TUPLE_LIMIT = 20_000  # a tensor takes 4; a chain of more than this, hashed, could overflow the C stack
END_BYTES = 22  # of the record that closes a zip

STORAGES = {
    "torch DoubleStorage": torch.float64,
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch BoolStorage": torch.bool,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
}

ALLOWED = {
    "collections OrderedDict",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor_v2",
    *STORAGES,
}

NAMES = {dtype: name for name, dtype in DTYPES.items()}


class TorchZipReader:
    """One torch zip file (.bin, .pt, .pth); a ``TensorReader``.

    The dictionary of tensors may also lie under the key "state_dict" or "model". Raises ``FileError`` for code in the
    pickle, compressed parts, and anything that is not a dictionary of tensors.
    """

    metadata: Mapping[str, Any]

    def __init__(self, path: Path) -> None:
        self._path = path
        self.metadata = {}
        _check_zip(path)
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # the loader interprets foreign bytes: whatever it trips over is the file's fault
            reason = str(error).partition("\n")[0]
            raise FileError(f"{path}: torch's weights-only loader refuses data.pkl: {reason}") from error
        self._tensors = _tensors(path, loaded)

    def names(self) -> tuple[str, ...]:
        return tuple(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(lookup(self._tensors, name, self._path).shape)

    def dtype(self, name: str) -> str:
        return NAMES[lookup(self._tensors, name, self._path).dtype]

    def nbytes(self, name: str) -> int:
        return lookup(self._tensors, name, self._path).nbytes

    def read(self, name: str) -> Tensor:
        return lookup(self._tensors, name, self._path)


class _Headers(io.FileIO):
    """A file of which only small parts can be read: what zipfile reads at once is as long as the file claims."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(LIMIT + 1 if size is None or not 0 <= size <= LIMIT else size) or b""
        if len(data) > LIMIT:
            raise ValueError(f"its directory is longer than {LIMIT:,} bytes")
        return data


def _check_zip(path: Path) -> None:
    """Refuses a zip that torch did not write: compressed (a bomb, perhaps), ambiguous, or with code in its pickle."""
    size = path.stat().st_size
    try:
        with _Headers(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            # Bytes before the first entry or behind the end could make torch's zip reader see other entries than ours.
            file.seek(-END_BYTES, os.SEEK_END)
            closed = file.read(4) == b"PK\5\6"
            if not closed or len(set(names)) < len(names) or min((e.header_offset for e in entries), default=1):
                raise FileError(f"{path}: the zip's directory is ambiguous; torch did not write this file")
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                    raise FileError(f"{path}: {entry.filename!r} is compressed; torch stores tensors as they are")
                if entry.header_offset + entry.file_size > size:
                    raise FileError(f"{path}: {entry.filename!r} reaches past the end of the file")
            pickles = [name for name in names if name.endswith(".pkl")]
            if len(pickles) != 1 or pickles[0].rpartition("/")[2] != "data.pkl":
                raise FileError(f"{path}: expected one data.pkl in the zip, found {pickles[:3]}; not a file of tensors")
            if archive.getinfo(pickles[0]).file_size > LIMIT:
                raise FileError(f"{path}: data.pkl is longer than {LIMIT:,} bytes; save the tensors in shards")
            program = archive.read(pickles[0])
    except FileError:
        raise
    except Exception as error:  # zipfile raises half a dozen types on damaged directories
        raise FileError(f"{path}: not a sound zip file: {error}") from error
    _check_pickle(path, program)


def _check_pickle(path: Path, program: bytes) -> None:
    """Reads the pickle's instructions without running them; refuses names that no dictionary of tensors needs."""
    tuples = 0
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(program)):
            tuples += opcode.name.startswith("TUPLE")
            if opcode.name == "GLOBAL" and argument not in ALLOWED:
                name = str(argument).replace(" ", ".")
                raise FileError(f"{path}: data.pkl names {name}, which no tensor needs and which could run code")
    except FileError:
        raise
    except Exception as error:  # pickletools raises many types on damaged pickles
        raise FileError(f"{path}: data.pkl is not a sound pickle: {error}") from error
    if tuples > TUPLE_LIMIT:
        raise FileError(f"{path}: data.pkl describes more than {TUPLE_LIMIT // 4:,} tensors; save them in shards")


def dictionary(path: Path, loaded: object) -> dict[Any, Any]:
    """What was saved by its names: `loaded` itself or what lies one level down. Raises ``FileError`` if it is none."""
    # The pickle may have put attributes on an OrderedDict that hide its methods: call those of dict.
    state = dict(dict.items(loaded)) if isinstance(loaded, dict) else {}
    for key in ("state_dict", "model"):
        if isinstance(inner := state.get(key), dict):
            state = dict(dict.items(inner))
            break
    if not state:
        raise FileError(f"{path}: holds a {type(loaded).__name__}, not a dictionary of tensors")
    return state


def _tensors(path: Path, loaded: object) -> dict[str, Tensor]:
    tensors = {}
    for name, tensor in dictionary(path, loaded).items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor) or tensor.dtype not in NAMES:
            key = repr(name) if isinstance(name, str) else f"of a {type(name).__name__}"
            kind = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise FileError(f"{path}: entry {key} is a {kind}, not a named tensor of numbers")
        # torch keeps a view within its storage, but lets it repeat values there (a few bytes then claim memory without
        # end once they are copied) and lets an empty shape go negative.
        if tensor.nbytes > tensor.untyped_storage().nbytes() or min(tensor.shape, default=0) < 0:
            raise FileError(f"{path}: tensor {name!r} of shape {tuple(tensor.shape)} is larger than its data")
        tensors[name] = tensor.detach()
    # Two names for one tensor are a tie; a thousand would be a thousand copies once they become a model's weights.
    if sum(tensor.nbytes for tensor in tensors.values()) > 2 * path.stat().st_size:
        raise FileError(f"{path}: its tensors share their bytes so often that they claim more than twice the file")
    return tensors

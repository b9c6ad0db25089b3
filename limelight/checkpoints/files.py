"""What a file is, by its first bytes and by its name; without torch, which takes a second to import."""

import json
import os
import re
import struct
from pathlib import Path
from typing import Any

from limelight.errors import FileError

CONFIG_LIMIT = 1 << 22  # bytes of a config; real ones take a few kB
MARIAN = struct.pack("<Q", 1)  # what Marian's binary files begin with, the version
OLD_TORCH = (
    b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # behind a version's two bytes, what torch's files of before 1.6 begin with
)
PARTS_LIMIT = 1 << 10  # files that one GGUF model may lie in


def head(path: Path) -> bytes:
    """The first 16 bytes of a regular file; anything else (a pipe, a device) could block or never end."""
    if not os.path.isfile(path):  # False, too, for names that the system refuses
        raise FileError(f"{path}: there is no such file, or it is not a regular one")
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error


def holds_tensors(path: Path) -> bool:
    """Whether a file begins as GGUF, torch's, Marian's and safetensors files do, whatever it is called."""
    try:
        first = head(path)
        known = first[:4] in {b"GGUF", b"PK\3\4"} or first[:8] == MARIAN or is_old_torch(first)
        return known or is_safetensors(first, path.stat().st_size)
    except (FileError, OSError):
        return False


def is_safetensors(first: bytes, size: int) -> bool:
    """Whether a file of `size` bytes that begins so is a safetensors file: the length of a header, and the header."""
    return first[8:9] == b"{" and int(struct.unpack("<Q", first[:8])[0]) <= size


def is_old_torch(first: bytes) -> bool:
    """Whether a file that begins so was written by torch before its zip files."""
    return first[:1] == b"\x80" and first[2:].startswith(OLD_TORCH)


def gguf_parts(name: str) -> tuple[str, ...]:
    """The names of all files of a model in several GGUF files, first to last, if `name` is that of one of them."""
    match = re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})\.gguf", name, re.DOTALL)
    count = int(match[3]) if match else 0
    if match is None or not 1 <= int(match[2]) <= count <= PARTS_LIMIT:
        return ()
    return tuple(f"{match[1]}-{part:05d}-of-{count:05d}.gguf" for part in range(1, count + 1))


FOREIGN = {
    b"\x89HDF": "an HDF5 file, as Keras writes them",
    b"lmgg": "a GGML file of before GGUF",
    b"fmgg": "a GGML file of before GGUF",
    b"tjgg": "a GGML file of before GGUF",
    b"\x1f\x8b": "compressed with gzip",
    b"(\xb5/\xfd": "compressed with zstd",
    b"%PDF": "a PDF document",
    b"version https": "a Git LFS pointer, which says where the file is; `git lfs pull` fetches it",
    b"<!DOC": "a web page",
    b"<html": "a web page",
}
"""Files that people take for models, by how they begin."""


def foreign(first: bytes) -> str | None:
    """What a file is that begins so, if it is one that people take for a model."""
    return next((kind for magic, kind in FOREIGN.items() if first.startswith(magic)), None)


def read_json(path: Path, why: str, kind: type = dict) -> Any:
    """A small JSON object, or a list if that is the `kind`, from a file. Raises FileError saying `why` it is needed."""
    try:
        if path.exists() and not path.is_file():  # a pipe would block
            raise FileError(f"{path}: not a regular file; {why}")
        if path.stat().st_size > CONFIG_LIMIT:
            raise FileError(f"{path}: more than {CONFIG_LIMIT:,} bytes, which no model's config takes")
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}); {why}") from None
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(values, kind):
        raise FileError(
            f"{path}: holds a JSON {type(values).__name__}, not {'an object' if kind is dict else 'a list'}"
        )
    return values

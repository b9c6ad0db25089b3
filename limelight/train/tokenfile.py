"""Token files: a corpus as numbers on disk, memory-mapped, so that it may be larger than memory.

A prepared corpus is a folder: `tokens.bin` (uint16 or uint32, little-endian), `offsets.bin` (int64, one more than
there are sequences) and `about.json`. Its fingerprint covers the input files and the tokenizer, so that a second run
over the same data finds it; it is written beside its place and renamed when it is whole.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np
from numpy.typing import NDArray

from limelight.errors import FileError
from limelight.text.tokenizer import Tokenizer
from limelight.train import hub
from limelight.train.data import Pair, existing

FORMAT = 1
HELD = 1 << 18  # tokens that are held before they are written
TEXTS_AT_ONCE = 1024
Tokens = NDArray[np.uint16] | NDArray[np.uint32]
Ints = NDArray[np.int64]


@final
class TokenFile:
    """Sequences of token ids in a prepared folder; nothing is read before it is asked for."""

    def __init__(self, folder: Path) -> None:
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            self.dropped = int(about["dropped"])
            self.tokens: Tokens = np.memmap(folder / "tokens.bin", np.dtype(about["dtype"]), "r")
            self.offsets: Ints = np.memmap(folder / "offsets.bin", np.dtype("<i8"), "r")
        except (OSError, ValueError, KeyError) as error:
            raise FileError(
                f"{folder}: not a whole token file ({error}); delete the folder to prepare it anew"
            ) from None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Tokens:
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def lengths(self, indices: Ints) -> Ints:
        """How many tokens each of the sequences has."""
        lengths: Ints = self.offsets[indices + 1] - self.offsets[indices]
        return lengths


def prepare_pairs(
    pairs: Iterable[Pair], tokenizers: tuple[Tokenizer, Tokenizer], folder: Path, longest: int
) -> TokenFile:
    """Sentence pairs as sequences 2i (source) and 2i + 1 (target), without special tokens.

    tokenizers: of the source and of the target; they may be one. longest: pairs with more tokens on a side, or with
    none, are dropped and counted. Raises FileError if nothing is left or the folder cannot be written.
    """
    source, target = tokenizers

    def sequences() -> Iterator[Sequence[int] | None]:
        rest = iter(pairs)
        while chunk := list(islice(rest, TEXTS_AT_ONCE)):
            ours = source.encode_many([pair[0] for pair in chunk])
            theirs = target.encode_many([pair[1] for pair in chunk])
            for two in zip(ours, theirs, strict=True):
                if all(0 < len(ids) <= longest for ids in two):
                    yield from two
                else:
                    yield None

    return _written(sequences(), max(source.vocab, target.vocab), folder)


def prepare_texts(pieces: Iterable[tuple[str, bool]], tokenizer: Tokenizer, folder: Path, end: int) -> TokenFile:
    """Documents, each a sequence: the tokenizer's prefix, the text, and the token `end`.

    pieces: from `read_texts`. Raises FileError if the folder cannot be written.
    """

    def sequences() -> Iterator[Sequence[int] | None]:
        first = True
        for text, last in pieces:
            ids = [*(tokenizer.prefix if first else ()), *tokenizer.encode_many([text])[0], *((end,) if last else ())]
            yield ids
            first = last

    return _written(sequences(), tokenizer.vocab, folder)


def fingerprint(files: Sequence[str | Path], tokenizers: Sequence[Tokenizer], *choices: object) -> str:
    """A name for what is prepared out of these files (by place, size and time of change) in this way.

    A data set of the hub goes by its name alone, so that nothing is asked for again once it is prepared.
    """
    seen: list[Any] = [FORMAT, [str(choice) for choice in choices]]
    for file in files:
        if str(file).startswith(hub.PREFIX):
            seen.append(str(file))
            continue
        path = existing(file).resolve()
        inner = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        seen += [(str(each), each.stat().st_size, each.stat().st_mtime_ns) for each in inner]
    with tempfile.TemporaryDirectory() as folder:
        for tokenizer in tokenizers:
            tokenizer.save(Path(folder))
            seen.append(hashlib.sha256((Path(folder) / "tokenizer.json").read_bytes()).hexdigest())
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


def _written(sequences: Iterable[Sequence[int] | None], vocab: int, folder: Path) -> TokenFile:
    """Streams sequences into a new folder; None counts as one that was dropped."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise FileError(f"{folder}: cannot be written ({error.strerror})") from None
    try:
        dtype = "<u2" if vocab <= 1 << 16 else "<u4"
        with (beside / "tokens.bin").open("wb") as tokens, (beside / "offsets.bin").open("wb") as offsets:
            writer = _Writer(tokens, offsets, np.dtype(dtype))
            for ids in sequences:
                writer.add(ids)
            writer.flush()
        if writer.total == 0:
            dropped = f": all {writer.dropped:,} pairs are too long or empty" if writer.dropped else ""
            raise FileError(f"nothing to learn from{dropped}; look at the data or raise the longest length")
        about = {"dtype": dtype, "dropped": writer.dropped}
        (beside / "about.json").write_text(json.dumps(about), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(beside, folder)
    except OSError as error:
        raise FileError(f"{folder}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return TokenFile(folder)


@dataclass
class _Writer:
    """Appends sequences to the two files, holding at most about HELD tokens."""

    tokens: BinaryIO
    offsets: BinaryIO
    dtype: np.dtype[Any]

    def __post_init__(self) -> None:
        self.held: list[int] = []
        self.ends: list[int] = [0]
        self.total = 0
        self.dropped = 0

    def add(self, ids: Sequence[int] | None) -> None:
        if ids is None:
            self.dropped += 1
            return
        self.held.extend(ids)
        self.total += len(ids)
        self.ends.append(self.total)
        if len(self.held) >= HELD or len(self.ends) >= HELD:
            self.flush()

    def flush(self) -> None:
        self.tokens.write(np.asarray(self.held, self.dtype).tobytes())
        self.offsets.write(np.asarray(self.ends, "<i8").tobytes())
        self.held.clear()
        self.ends.clear()

"""Token files: a corpus as numbers on disk, memory-mapped, so that it may be larger than memory.

A prepared corpus is a folder: `tokens.bin` (uint16 or uint32, little-endian), `offsets.bin` (int64, one more than
there are sequences), `about.json` and the sums of these. Its fingerprint covers what the input files hold and the
tokenizer, so that a second run over the same data finds it, from wherever it is called; it is written beside its place
and renamed when it is whole.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, final

import numpy as np
from numpy.typing import NDArray

from limelight.errors import FileError
from limelight.text.tokenizer import Tokenizer
from limelight.train import hub
from limelight.train.data import TABLES, Pair, existing, kind, texts
from limelight.train.disk import intact, seal, sha256, written

FORMAT = 2
HELD = 1 << 18  # tokens that are held before they are written, or while they are checked
TEXTS_AT_ONCE = 1024
Tokens = NDArray[np.uint16] | NDArray[np.uint32]
Ints = NDArray[np.int64]


@final
class TokenFile:
    """Sequences of token ids in a prepared folder. highest: the largest id; dropped: pairs that were left out.

    All of it is read once and checked, then nothing before it is asked for. Raises FileError for a folder that is not
    what was written.
    """

    def __init__(self, folder: Path) -> None:
        tokens, offsets = folder / "tokens.bin", folder / "offsets.bin"
        cure = f"delete {tokens}, and the same command makes it anew out of the files that it came from"
        intact(folder, "", cure)
        try:
            facts = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            self.dropped: int = facts["dropped"]
            self.tokens: Tokens = np.memmap(tokens, np.dtype(facts["dtype"]), "r")
            self.offsets: Ints = np.memmap(offsets, np.dtype("<i8"), "r")
            self.highest = max(int(part.max()) for part in _parts(tokens, self.tokens.dtype))
            _check(offsets, len(self.tokens))
            if self.highest >= facts["vocab"]:
                raise ValueError(f"the token {self.highest:,} is beyond a vocabulary of {facts['vocab']:,}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(f"{folder} is no token file ({error}); {cure}") from None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Tokens:
        return self.tokens[self.offsets[index] : self.offsets[index + 1]]

    def lengths(self, indices: Ints) -> Ints:
        """How many tokens each of the sequences has."""
        lengths: Ints = self.offsets[indices + 1] - self.offsets[indices]
        return lengths


def prepare_pairs(
    pairs: Iterable[Pair], tokenizers: tuple[Tokenizer, Tokenizer], folder: Path, longest: int, origin: str = ""
) -> TokenFile:
    """Sentence pairs as sequences 2i (source) and 2i + 1 (target), without special tokens.

    tokenizers: of the source and of the target; they may be one. longest: pairs with more tokens on a side, or with
    none, are dropped and counted. origin: the fingerprint of what the pairs come from. Raises FileError if nothing is
    left or the folder cannot be written.
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

    return write_sequences(sequences(), max(source.vocab, target.vocab), folder, origin)


def prepare_texts(
    pieces: Iterable[tuple[str, bool]], tokenizer: Tokenizer, folder: Path, end: int, origin: str = ""
) -> TokenFile:
    """Documents, each a sequence: the tokenizer's prefix, the text, and the token `end`.

    pieces: from `read_texts`. origin: the fingerprint of what they come from. Raises FileError if the folder cannot be
    written.
    """

    def sequences() -> Iterator[Sequence[int] | None]:
        first = True
        for text, last in pieces:
            ids = [*(tokenizer.prefix if first else ()), *tokenizer.encode_many([text])[0], *((end,) if last else ())]
            yield ids
            first = last

    return write_sequences(sequences(), tokenizer.vocab, folder, origin)


def prepare_examples(
    examples: Iterable[tuple[Sequence[int], Sequence[int]] | None], limit: int, folder: Path, origin: str = ""
) -> TokenFile:
    """Examples as sequences 2i (tokens) and 2i + 1 (what is to be said of them); None is one that is left out.

    limit: above all numbers in them. Raises FileError if nothing is left or the folder cannot be written.
    """
    sequences = (part for each in examples for part in ((None,) if each is None else each))
    return write_sequences(sequences, limit, folder, origin)


def fingerprint(files: Sequence[str | Path], tokenizers: Sequence[Tokenizer], *choices: object) -> str:
    """A name for what is prepared out of what these files hold in this way, wherever they are.

    A data set of the hub goes by its name alone, so that nothing is asked for again once it is prepared.
    """
    seen: list[Any] = [FORMAT, [str(choice) for choice in choices]]
    for file in files:
        if str(file).startswith(hub.PREFIX):
            seen.append(str(file))
            continue
        path = existing(file)
        try:
            seen.append([kind(path) if kind(path) in TABLES else "", [sha256(each) for each in texts(path)]])
        except OSError as error:
            raise FileError(f"{error.filename}: cannot be read ({error.strerror})") from None
    try:
        with TemporaryDirectory() as folder:
            for tokenizer in tokenizers:
                tokenizer.save(Path(folder))
                seen.append(sha256(Path(folder) / "tokenizer.json"))
    except OSError as error:
        raise FileError(f"{error.filename or 'a temporary file'} cannot be written ({error.strerror})") from None
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


def prepared_from(folder: Path) -> str | None:
    """The fingerprint of what a token file was prepared from; None if there is none or nobody can say."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        return str(about["origin"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check(offsets: Path, tokens: int) -> None:
    """Raises ValueError for offsets that are not those of so many tokens."""
    last = 0
    for part in _parts(offsets, np.dtype("<i8")):
        if part[0] < last or (np.diff(part) < 0).any():
            raise ValueError("a sequence ends before it begins")
        last = int(part[-1])
    if last != tokens:
        raise ValueError(f"the sequences have {last:,} tokens, and {tokens:,} are there")


def _parts(path: Path, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """The numbers of a file, piece by piece; not through the map, whose pages would count as memory."""
    with path.open("rb") as file:
        while len(part := np.fromfile(file, dtype, HELD)):
            yield part


def write_sequences(sequences: Iterable[Sequence[int] | None], vocab: int, folder: Path, origin: str) -> TokenFile:
    """Streams sequences into a new folder; None counts as one that was dropped."""
    with written(folder) as beside:
        dtype = "<u2" if vocab <= 1 << 16 else "<u4"
        with (beside / "tokens.bin").open("wb") as tokens, (beside / "offsets.bin").open("wb") as offsets:
            writer = _Writer(tokens, offsets, np.dtype(dtype))
            for ids in sequences:
                writer.add(ids)
            writer.flush()
        if writer.total == 0:
            dropped = f": all {writer.dropped:,} pairs are too long or empty" if writer.dropped else ""
            raise FileError(f"nothing to learn from{dropped}; look at the data or raise the longest length")
        about = {"dtype": dtype, "vocab": vocab, "dropped": writer.dropped, "origin": origin}
        (beside / "about.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
        seal(beside)
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

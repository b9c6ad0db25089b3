"""Marian's lexical shortlists: which words a translation may be made of, given those of its source.

A file says for each word of the source which of the target it may become; the likeliest of all may always be written.
A translator that was made for one may only write what it has, which is faster and now and then worse than the whole
vocabulary.
"""

import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from limelight.errors import TextError

MAGIC = 0xF11A48D5013417F5
_LARGEST = 1 << 28  # bytes
_HEADER = struct.Struct("<6Q")  # magic, checksum, how many of the likeliest, how many for each, offsets, words


@dataclass(frozen=True, slots=True)
class Shortlist:
    """first: so many of the first words may always be written. starts: where the list of each source word begins in
    `words`; one more says where the last ends. vocab: how many words there are in all."""

    first: int
    starts: Sequence[int]
    words: Sequence[int]
    vocab: int

    def allowed(self, source: Sequence[int]) -> list[int]:
        """The ids that may be written behind a source's ids, in order.

        They are a multiple of eight, as Marian's kernels want them: the next likeliest fill up what is missing.
        """
        found = {*range(self.first)}
        for id in source:
            if id + 1 < len(self.starts):
                found.update(self.words[self.starts[id] : self.starts[id + 1]])
        missing = (id for id in range(self.first, self.vocab) if id not in found)
        found.update(islice(missing, -len(found) % 8))
        return sorted(found)


def read(path: Path, vocab: int) -> Shortlist:
    """The shortlist in a file, for a target vocabulary of `vocab` words. Raises TextError if it is none or damaged."""
    try:
        if path.stat().st_size > _LARGEST:
            raise TextError(f"{path} has {path.stat().st_size:,} bytes; at most {_LARGEST:,} are read")
        data = path.read_bytes()
    except OSError as problem:
        raise TextError(f"{path} cannot be read: {problem.strerror}") from problem
    if len(data) < _HEADER.size:
        raise TextError(f"{path} is damaged: it ends within its header")
    magic, _, first, _, offsets, words = _HEADER.unpack_from(data)
    if magic != MAGIC or offsets < 1 or _HEADER.size + 8 * offsets + 4 * words != len(data):
        raise TextError(
            f"{path} is no shortlist of Marian's, or damaged: its numbers do not fit its {len(data):,} bytes"
        )
    middle = _HEADER.size + 8 * offsets
    starts = struct.unpack_from(f"<{offsets}Q", data, _HEADER.size)
    listed = array("I", struct.unpack_from(f"<{words}I", data, middle))
    if list(starts) != sorted(starts) or starts[-1] != words or first > vocab or max(listed, default=0) >= vocab:
        raise TextError(f"{path} is damaged: it lists words that the vocabulary of {vocab:,} does not have")
    return Shortlist(first, starts, listed, vocab)

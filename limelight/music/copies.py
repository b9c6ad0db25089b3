"""What was copied: runs of notes that a training tune has, too, in whatever key.

Of the training tunes only hashes of their runs of WINDOW notes are kept, by the steps from note to note. A tune whose
runs are all unknown has copied at most WINDOW − 1 notes in a row.
"""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import count, pairwise

import numpy as np
from numpy.typing import NDArray

WINDOW = 17
"""Notes of a run; one more than may be copied."""

Windows = NDArray[np.uint64]


def windows(melodies: Iterable[Sequence[int]]) -> Windows:
    """The hashes of all runs of WINDOW notes, sorted."""
    found = {window(melody[at : at + WINDOW]) for melody in melodies for at in range(len(melody) - WINDOW + 1)}
    return np.array(sorted(found), np.uint64)


def window(notes: Sequence[int]) -> int:
    """The hash of a run of notes (MIDI numbers), the same in every key."""
    steps = bytes((note - notes[0]) % 256 for note in notes)
    return int.from_bytes(hashlib.blake2b(steps, digest_size=8).digest(), "little")


def known(notes: Sequence[int], windows: Windows) -> bool:
    """Whether a training tune has the last WINDOW of these notes in a row."""
    if len(notes) < WINDOW or not len(windows):
        return False
    found = np.uint64(window(notes[-WINDOW:]))
    at = int(np.searchsorted(windows, found))
    return at < len(windows) and bool(windows[at] == found)


def longest(melodies: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> list[int]:
    """The most notes in a row that each of the melodies has in common with one of the others, in whatever key."""
    steps, theirs = ([[b - a for a, b in pairwise(melody)] for melody in side] for side in (melodies, others))
    found = [min(1, len(melody)) for melody in melodies]
    open = [at for at, each in enumerate(steps) if each]
    for length in count(1):
        known = {tuple(each[at : at + length]) for each in theirs for at in range(len(each) - length + 1)}
        open = [
            at
            for at in open
            if any(tuple(steps[at][i : i + length]) in known for i in range(len(steps[at]) - length + 1))
        ]
        if not open:
            break
        for at in open:
            found[at] = length + 1
    return found

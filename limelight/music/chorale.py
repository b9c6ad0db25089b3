"""Chorales as text: which notes sound at each step, from the lowest up, and a bar where the step ends.

A step is a set of notes, and each set is written in one way alone. So the probability of a text is that of its sets,
which is what models of piano rolls give.

    48 64 67 72 | 47 62 67 74 |
"""

import json
from collections.abc import Sequence
from pathlib import Path

from limelight.errors import FileError, RequestError

Chorale = tuple[tuple[int, ...], ...]
"""The notes (MIDI numbers, rising) of each step."""

LOWEST, HIGHEST = 21, 108
"""The keys of a piano."""

END = "|"


def read(content: str, path: str | Path, part: str) -> list[Chorale]:
    """Chorales out of JSON: a list of them, or an object whose `part` is one; each is a list of steps, each step a list
    of MIDI numbers. Raises FileError."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: not valid JSON: {error}") from None
    if isinstance(found, dict):
        if part not in found:
            raise FileError(f"{path}: holds no part {part!r}, only {', '.join(map(str, found))}")
        found = found[part]
    if not isinstance(found, list) or not found:
        raise FileError(f"{path}: holds no list of chorales")
    return [_checked(each, f"{path}, chorale {number}") for number, each in enumerate(found, 1)]


def _checked(steps: object, where: str) -> Chorale:
    if not isinstance(steps, list) or not steps or not all(isinstance(step, list) for step in steps):
        raise FileError(f"{where}: a chorale is a list of steps, each a list of MIDI numbers")
    for number, step in enumerate(steps, 1):
        if not all(type(note) is int and LOWEST <= note <= HIGHEST for note in step):
            raise FileError(f"{where}, step {number}: notes are whole numbers from {LOWEST} to {HIGHEST}")
    return tuple(tuple(sorted(set(step))) for step in steps)


def write(chorale: Chorale) -> str:
    """A chorale as text."""
    return " ".join(" ".join((*map(str, step), END)) for step in chorale)


def parse(text: str) -> Chorale:
    """A text as a chorale; a last step without a bar counts. Raises RequestError for other text."""
    steps: list[tuple[int, ...]] = []
    step: list[int] = []
    for word in text.split():
        if word == END:
            steps.append(tuple(step))
            step = []
        elif word.isdecimal() and LOWEST <= int(word) <= HIGHEST and (not step or int(word) > step[-1]):
            step.append(int(word))
        else:
            raise RequestError(f"{word!r} is no note here; steps are rising numbers, and {END} ends each")
    return tuple(steps) + ((tuple(step),) if step else ())


def transposed(chorale: Chorale, semitones: int) -> Chorale:
    """The same, so many semitones higher."""
    return tuple(tuple(note + semitones for note in step) for step in chorale)


def alphabet() -> Sequence[str]:
    """All words that a chorale can hold."""
    return (*map(str, range(LOWEST, HIGHEST + 1)), END)


class Rising:
    """What may come next in a chorale, word by word; see `limelight.music.bars.Score`, which does so for tunes."""

    def __init__(self) -> None:
        self.top = 0

    def ends(self) -> bool:
        """Whether it may end here: behind a step."""
        return self.top == -1

    def fits(self, text: str) -> bool:
        """Whether the word can stand there."""
        word = text.strip()
        return word == END or (word.isdecimal() and int(word) > self.top)

    def take(self, text: str) -> None:
        """Goes on by the word."""
        self.top = -1 if text.strip() == END else int(text)

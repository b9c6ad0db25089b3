"""Files of music as pieces, and pieces as the texts that a model reads, in several keys."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from limelight.errors import FileError, RequestError
from limelight.music import abc, chorale
from limelight.music.chorale import Chorale
from limelight.music.tune import Key, Tune
from limelight.train.data import existing, kind, lines, local

Piece = Tune | Chorale
Kind = Literal["tune", "chorale"]

FORMS: dict[str, Kind] = {".abc": "tune", ".json": "chorale"}
"""What files of a name hold."""

USUAL = (2, 1, 3, 0, -1, 4, -2, 5, -3, -4, 6, -5)
"""Sharps of keys, those that folk tunes are mostly written in first."""


def holds(files: Sequence[str]) -> Kind:
    """What the files hold. Raises RequestError for files of other kinds or of both."""
    kinds = {kind(path) for path in local(files, tuple(FORMS))}
    if len(kinds) != 1 or not kinds <= FORMS.keys():
        raise RequestError(
            f"music is read from ABC notation (.abc) or chorales (.json), of one kind at a time; got {', '.join(files)}"
        )
    return FORMS[kinds.pop()]


def read(files: Sequence[str], part: str) -> tuple[list[Piece], tuple[str, ...]]:
    """All pieces, each once, and what was found, for people. part: of a JSON object with parts, such as "train".

    Raises FileError for what is damaged, or if nothing is left.
    """
    pieces: dict[Piece, None] = {}
    faults: Counter[str] = Counter()
    for path in local(files, tuple(FORMS)):
        for piece in _chorales(path, part) if kind(path) == ".json" else _tunes(path):
            if isinstance(piece, str):
                faults[piece] += 1
            elif piece in pieces:
                faults["there already"] += 1
            else:
                pieces[piece] = None
    left = ", ".join(f"{count:,} × {fault}" for fault, count in faults.most_common())
    if not pieces:
        raise FileError(f"{' and '.join(files)}: no piece of music in there" + (f" ({left})" if left else ""))
    said = f"{len(pieces):,} {'chorales' if holds(files) == 'chorale' else 'tunes'}"
    return list(pieces), (f"{said}; left out: {left}" if left else said,)


def tune(text: str) -> Tune:
    """The one tune that a text is, or the first of the .abc file that it names. Raises RequestError or FileError."""
    if text.endswith(".abc") and "\n" not in text:
        text = "\n".join(lines(existing(text)))
    return abc.read(next((each for _, each in abc.tunes(text)), text), None if "L:" in text else abc.EIGHTH)


def _chorales(path: Path, part: str) -> list[Chorale]:
    return chorale.read("\n".join(lines(path)), path, part)


def parted(files: Sequence[str]) -> bool:
    """Whether a file of chorales says itself which of them are to judge by."""
    return any(kind(path) == ".json" and "".join(lines(path)).lstrip().startswith("{") for path in local(files, ()))


def _tunes(path: Path) -> Iterator[Tune | str]:
    """The tunes of a file, or, for those that are not understood, why."""
    for _, text in abc.tunes("\n".join(lines(path))):
        try:
            yield abc.read(text)
        except RequestError as error:
            yield str(error).rpartition("of the tune: ")[2].partition(" (")[0]


def apart(count: int, share: float) -> set[int]:
    """Which of so many pieces are kept from learning; the same ones every time."""
    kept = min(count, max(1, round(count * share)))
    if kept == count:
        raise RequestError(f"there are too few pieces ({count}) to keep some from training; name validation files")
    return set(random.Random(0).sample(range(count), kept))


def texts(piece: Piece, keys: int = 1) -> Iterator[str]:
    """A piece as text, in so many keys, its own first: of tunes the usual ones, of chorales those nearest by."""
    if isinstance(piece, Tune):
        own = piece.key
        yield abc.write(piece)
        for sharps in [sharps for sharps in USUAL if sharps != own.sharps][: keys - 1]:
            yield abc.write(piece.transposed(Key.at(sharps, own.mode)))
        return
    for number in range(keys):  # 0, 1, −1, 2, −2, …
        shift = (number + 1) // 2 * (1 if number % 2 else -1)
        if all(chorale.LOWEST <= note + shift <= chorale.HIGHEST for step in piece for note in step):
            yield chorale.write(chorale.transposed(piece, shift))

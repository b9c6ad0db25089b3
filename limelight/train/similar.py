"""Texts to learn vectors from: two that belong together, with one beside them that does not, or two and how near."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limelight.errors import FileError, RequestError
from limelight.train.examples import first_rows, missing, rows, tables

NAMES = (
    *(("sentence1", "sentence2"), ("text1", "text2"), ("anchor", "positive"), ("query", "positive")),
    ("question", "answer"),
)
THIRD = ("score", "negative")
"""What the columns of such tables are called, and the one that may stand beside them."""

READ = "texts that belong together"
"""What is read here, for people."""


@dataclass(frozen=True)
class Beside:
    """texts: two that belong together, and perhaps more that do not belong to the first. score: how near the two are,
    where that is given; the texts are two then."""

    texts: tuple[str, ...]
    score: float | None = None


def columns(files: Sequence[str | Path], asked: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns of a table: two or three of texts, or two of texts and one of numbers. Those that were asked for,
    else by their names, else all where there are two or three. Raises RequestError where that cannot be told."""
    path = tables(files, READ)[0]
    seen, names = first_rows(path, asked)
    if not seen:
        raise FileError(f"{path}: no row in there")
    if asked and len(asked) not in {2, 3}:
        raise RequestError(f"{len(asked)} columns were named; it takes two of texts, and perhaps a third or a score")
    known = next((each for each in NAMES if {*each} <= {*names}), ())
    third = [name for name in THIRD if name in names][:1]
    found = tuple(asked) or ((*known, *third) if known else tuple(names))
    if len(found) not in {2, 3}:
        raise RequestError(
            f"{path}: it is not plain which of the columns {', '.join(names[:20])} hold the texts that belong together;"
            " name them with --columns"
        )
    return found


def beside(files: Sequence[str | Path], named: Sequence[str]) -> Iterator[Beside | None]:
    """What the rows of tables hold, None where something is missing. named: the columns; a third one is of scores if
    the first row of the first file has a number there. Raises FileError, naming the row, for another cell."""
    scored: bool | None = None
    for path in tables(files, READ):
        for number, row in rows(path, named):
            for name in named:
                if name not in row:
                    missing(f"{path}, row {number}", name, row)
            cells = [row[name] for name in named]
            last = _number(cells[-1]) if len(cells) == 3 else None
            scored = last is not None if scored is None else scored
            if scored:
                if last is None:
                    raise FileError(f"{path}, row {number}: {named[-1]!r} holds no number, and the first row has one")
                cells.pop()
            texts = tuple("" if cell is None else str(cell).strip() for cell in cells)
            yield Beside(texts, last if scored else None) if all(texts) else None


def _number(cell: Any) -> float | None:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None

"""Texts and what they say in short, to learn from and to judge by."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limelight.errors import FileError, RequestError
from limelight.train.examples import first_rows, missing, rows, tables

TEXTS = ("text", "document", "article", "dialogue", "source", "content", "body", "input")
SUMMARIES = ("summary", "summaries", "highlights", "tldr", "abstract", "headline", "target", "title", "output")
"""What columns are called, the likeliest first."""

READ = "texts with summaries"


@dataclass(frozen=True)
class Short:
    """A text, its first sentence, and the summaries of it that are right, of which the first is learned from."""

    text: str
    first: str
    summaries: tuple[str, ...]


def columns(files: Sequence[str | Path], asked: Sequence[str] = ()) -> tuple[str, str]:
    """The columns of a table that hold the texts and their summaries: those that were asked for, else by their names,
    else of two the longer and the shorter. Raises RequestError where that cannot be told."""
    path = tables(files, READ)[0]
    seen, names = first_rows(path, asked)
    if not seen:
        raise FileError(f"{path}: no row in there")
    if asked and len(asked) != 2:
        raise RequestError(f"{len(asked)} columns were named; it takes two: of the texts and of their summaries")
    folded = {name.casefold(): name for name in reversed(names)}
    known = [next((folded[name] for name in kind if name in folded), None) for kind in (TEXTS, SUMMARIES)]
    text, summary = asked or known
    if not (text and summary) and len(names) == 2:
        sizes = {name: sum(len(str(row.get(name) or "")) for row in seen) for name in names}
        text, summary = sorted(names, key=lambda name: (name != text, name == summary, -sizes[name]))
        if not any(" " in str(row.get(summary) or "") for row in seen):  # single words are labels or numbers
            summary = None
    if text is None or summary is None:
        raise RequestError(
            f"{path}: it is not plain which of the columns {', '.join(names[:20])} holds texts and which summaries;"
            " name them with --columns TEXT SUMMARY"
        )
    return text, summary


def shorts(files: Sequence[str | Path], named: Sequence[str]) -> Iterator[Short | None]:
    """What the rows of tables hold, None where text or summary is missing. named: the columns of both.

    A list of texts (SciTLDR's) is one text, sentence by sentence, in the one column, and several summaries in the
    other. Raises FileError for a table without the columns, or a cell that holds anything else.
    """
    for path in tables(files, READ):
        for number, row in rows(path, named):
            for name in named:
                if name not in row:
                    missing(f"{path}, row {number}", name, row)
            text, summaries = (_texts(row[name], f"{path}, row {number}: {name!r}") for name in named)
            if text and summaries:
                first = text[0] if text[1:] else re.split(r"(?<=[.!?])\s+(?=\W?[A-Z])", text[0], maxsplit=1)[0]
                yield Short(" ".join(text), first, tuple(summaries))
            else:
                yield None


def _texts(cell: Any, where: str) -> list[str]:
    cells = cell if isinstance(cell, list) else [cell]
    if not all(each is None or isinstance(each, str) for each in cells):
        raise FileError(f"{where} holds {str(cell)[:40]}; it takes a text, or a list of texts")
    return [each.strip() for each in cells if each and each.strip()]

"""Texts with labels to learn from: tables with a column of texts and one of labels, and texts whose words have tags."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from limelight.errors import FileError, RequestError, suggestion
from limelight.text.words import words
from limelight.train.data import PIECE, csv_rows, kind, lines, local, objects, read_texts
from limelight.train.data import TEXTS as FILES

TABLES = (".csv", ".tsv", ".jsonl")
READ = (*TABLES, *FILES)
LOOKED_AT = 500  # rows by which columns are found

TEXTS = (
    *("text", "sentence", "review", "utterance", "content", "message", "comment", "question", "query", "tweet"),
    *("verse", "body", "document", "title", "input"),
)
LABELS = (
    *("label", "labels", "class", "category", "sentiment", "intent", "topic", "target", "emotion", "tag", "type"),
    *("rating", "stars", "score", "y"),
)
"""What columns are called, the likeliest first."""

OTHERS = (
    "context",
    "passage",
    "answer",
    "answers",
    "sentence1",
    "sentence2",
    "text1",
    "text2",
    "anchor",
    "positive",
    "negative",
)
"""What else a column may be called."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Tagged:
    """A text, the characters `[start, end)` of its words, and a tag for each."""

    text: str
    words: tuple[tuple[int, int], ...]
    tags: tuple[str, ...]


def rows(path: Path, named: Sequence[str] = ()) -> Iterator[tuple[int, Row]]:
    """The rows of a table (.csv, .tsv, .jsonl, also packed) with their numbers, from 1: cells by their column's name.

    named: columns that were asked for. A first line that holds one of them, or a name that columns of texts or labels
    mostly have, is no row but names the columns; else they are called "1", "2", … Raises FileError, naming the line.
    """
    if kind(path) == ".jsonl":
        yield from objects(path)
        return
    cells = csv_rows(path) if kind(path) == ".csv" else (line.split("\t") for line in lines(path))
    first = next(cells, [])
    names = [cell.strip() for cell in first]
    headed = any(name in names for name in named) or any(
        name.casefold() in {*TEXTS, *LABELS, *OTHERS} for name in names
    )
    if not headed:
        if asked := [name for name in named if not name.isdigit()]:
            missing(path, asked[0], names)
        cells, names = chain([first], cells), [str(number) for number in range(1, len(first) + 1)]
    for number, row in enumerate(cells, 1):
        if any(row):
            if len(row) != len(names):
                raise FileError(f"{path}, row {number}: {len(row)} columns where the first row has {len(names)}")
            yield number, dict(zip(names, row, strict=True))


def columns(files: Sequence[str | Path], asked: Sequence[str] = ()) -> tuple[str, str]:
    """The columns of a table that hold the texts and their labels: those that were asked for, else by their names, else
    the longest texts and what repeats most. Raises RequestError where that cannot be told."""
    if len(asked) not in {0, 2}:
        raise RequestError(f"{len(asked)} columns were named; it takes two: of the texts and of their labels")
    path = tables(files, "texts with labels")[0]
    seen, names = first_rows(path, asked)
    if not seen:
        raise FileError(f"{path}: no row in there")
    if asked:
        return asked[0], asked[1]
    cells = {name: [_plain(row.get(name)) for row in seen] for name in names}
    kinds = {name: len(set(found)) for name, found in cells.items()}
    folded = {name.casefold(): name for name in reversed(names)}
    label = next((folded[name] for name in LABELS if name in folded), None) or min(names, key=lambda name: kinds[name])
    others = [name for name in names if name != label]
    text = next((folded[name] for name in TEXTS if folded.get(name, label) != label), None)
    text = text or max(others, key=lambda name: sum(map(len, cells[name])), default=None)
    if text is None or (kinds[label] > len(seen) / 2 and len(seen) > 10):
        raise RequestError(
            f"{path}: it is not plain which of the columns {', '.join(names[:20])} holds texts and which labels; name"
            " them with --columns TEXT LABEL"
        )
    return text, label


def headless(named: Sequence[str]) -> str:
    """What is to be added where the columns are told of a table whose first line was not taken for their names."""
    if not all(name.isdigit() for name in named):
        return ""
    return " (the first line is read as a row; if it names the columns, choose among its names with --columns)"


def columns_of_texts(path: Path, asked: Sequence[str], count: int) -> tuple[str, ...]:
    """The `count` columns of a table that hold texts: those that were asked for, else by their names, else the longest.

    Raises RequestError for another number of columns, FileError for one that there is not.
    """
    if asked and len(asked) != count:
        raise RequestError(f"{len(asked)} columns were named, and {count} {'is' if count == 1 else 'are'} read")
    seen, names = first_rows(path, asked)
    if len(names) < count:
        raise FileError(f"{path}: has {len(names)} columns, and {count} are needed")
    if asked:
        return tuple(asked)
    sizes = {name: sum(len(_plain(row.get(name))) for row in seen) for name in names}
    known = [name for text in TEXTS for name in names if name.casefold() == text]
    rest = sorted((name for name in names if name not in known), key=lambda name: -sizes[name])
    chosen = [*known, *rest][:count]
    return tuple(name for name in names if name in chosen)


def column_of_texts(files: Sequence[str | Path], asked: Sequence[str]) -> tuple[str, ...]:
    """The column that holds the texts of the first table among some files, see `columns_of_texts`; none without tables.

    Raises RequestError for a column where there is no table."""
    paths = local(files, READ)
    tables = [path for path in paths if kind(path) in TABLES]
    if not tables and asked:
        raise RequestError(f"{paths[0]}: columns are those of tables ({', '.join(TABLES)}), and this is none")
    return columns_of_texts(tables[0], asked, 1) if tables else ()


def plain_texts(files: Sequence[str | Path], named: Sequence[str]) -> Iterator[str]:
    """Texts to read: the cells of tables in the column that is named, and text files and folders, each in pieces.

    Raises FileError for a table without the column."""
    for path in local(files, READ):
        if kind(path) not in TABLES:
            held = ""
            for piece, last in read_texts([path]):
                held += piece
                if last or len(held) >= PIECE:  # else the last line of a text would be a piece of its own
                    yield held
                    held = ""
            continue
        for _, row in rows(path, named):
            if named[0] not in row:
                missing(path, named[0], row)
            yield _plain(row[named[0]])


def labelled(files: Sequence[str | Path], named: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """Texts and their labels, in the order of the files; None where no label is given. named: the columns of both.

    A cell that is a list (in a CSV as JSON writes it) holds any number of labels, any other cell one. Raises FileError
    for a table that does not have the columns, or a label that is no text or number.
    """
    text, label = named
    for path in tables(files, "texts with labels"):
        for number, row in rows(path, named):
            for name in named:
                if name not in row:
                    missing(path, name, row)
            try:
                yield _plain(row[text]).strip(), _labels(row[label])
            except ValueError:
                raise FileError(
                    f"{path}, row {number}: {label!r} holds {str(row[label])[:40]}; a label is a text or a number,"
                    " and several are a list of them"
                ) from None


def tagged(files: Sequence[str | Path]) -> Iterator[Tagged]:
    """Texts whose words have tags.

    files: a word and its tag a line, with whatever else between the two, and an empty line between sentences (CoNLL);
    or JSON lines with "tokens" and "tags", or with "text" and "spans" (each a start, an end and a label, as an object
    or a list), which become BIO tags. Raises FileError, naming the line.
    """
    for path in local(files, (".conll", ".jsonl", ".tsv")):
        yield from _from_objects(path) if kind(path) == ".jsonl" else _from_lines(path)


def tables(files: Sequence[str | Path], what: str) -> list[Path]:
    """The files, of which each must be a table. what: what is read from them, for people."""
    paths = local(files, TABLES)
    for path in paths:
        if kind(path) not in TABLES or path.is_dir():
            raise RequestError(f"{path}: {what} are read from tables ({', '.join(TABLES)}, also .gz, .xz)")
    return paths


def first_rows(path: Path, asked: Sequence[str]) -> tuple[list[Row], list[str]]:
    """The rows of a table by which its columns are found, and its columns. Raises FileError if one of those that were
    asked for is not there."""
    seen = [row for _, row in islice(rows(path, asked), LOOKED_AT)]
    names = list(seen[0]) if seen else list(asked)
    for name in asked:
        if name not in names:
            missing(path, name, names)
    return seen, names


def _plain(cell: Any) -> str:
    return "" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)


def _labels(cell: Any) -> tuple[str, ...] | None:
    """The labels that a cell holds. Raises ValueError for one that holds other things."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        with suppress(ValueError):
            cell = json.loads(cell)
    if isinstance(cell, list):
        found = tuple(dict.fromkeys(_plain(each).strip() for each in cell))
        if any(isinstance(each, list | dict) for each in cell) or not all(found):
            raise ValueError(cell)
        return found
    if isinstance(cell, dict):
        raise ValueError(cell)
    plain = _plain(cell).strip()
    return (plain,) if plain else None


def missing(place: Path | str, name: str, names: Iterable[str]) -> None:
    """Raises FileError for a column that is not there. place: the file, and perhaps the row."""
    known = list(names)
    raise FileError(f"{place}: no column {name!r}{suggestion(name, known)} (its columns: {', '.join(known[:20])})")


def _from_lines(path: Path) -> Iterator[Tagged]:
    sentence: list[tuple[str, str]] = []
    for number, line in enumerate(chain(lines(path), [""]), 1):
        cells = line.split("\t") if "\t" in line else line.split()
        if not line.strip() or cells[0] == "-DOCSTART-":
            if sentence:
                yield _joined([word for word, _ in sentence], [tag for _, tag in sentence])
            sentence = []
        elif len(cells) < 2 or not cells[0].strip() or not cells[-1].strip():
            if not line.startswith("# "):
                raise FileError(f"{path}, line {number}: a word and its tag are needed, and this is {line[:40]!r}")
        else:
            sentence.append((cells[0].strip(), cells[-1].strip()))


def _from_objects(path: Path) -> Iterator[Tagged]:
    for number, row in objects(path):
        try:
            if "tokens" in row:
                tags = next(row[name] for name in ("tags", "ner_tags", "labels") if name in row)
                if len(tags) != len(row["tokens"]):
                    raise ValueError(f"{len(row['tokens'])} tokens and {len(tags)} tags")
                yield _joined([str(word) for word in row["tokens"]], [str(tag) for tag in tags])
                continue
            spans = next(row[name] for name in ("spans", "entities", "labels") if name in row)
            yield _spanned(row["text"], [_span(span) for span in spans])
        except (KeyError, StopIteration, TypeError, ValueError, AttributeError) as error:
            why = f" ({error})" if isinstance(error, ValueError) else ""
            raise FileError(
                f'{path}, line {number}: not a text with tags{why}; it takes "tokens" and "tags", or "text" and "spans"'
            ) from None


def _span(span: Any) -> tuple[int, int, str]:
    start, end, label = (span["start"], span["end"], span["label"]) if isinstance(span, dict) else span
    return int(start), int(end), str(label)


def _joined(tokens: Sequence[str], tags: Sequence[str]) -> Tagged:
    places, at = [], 0
    for token in tokens:
        places.append((at, at + len(token)))
        at += len(token) + 1
    return Tagged(" ".join(tokens), tuple(places), tuple(tags))


def _spanned(text: str, spans: Sequence[tuple[int, int, str]]) -> Tagged:
    """BIO tags of the words that spans cover, if only in part."""
    places = [(word.start, word.end) for word in words(text, [(at, at + 1) for at in range(len(text))])]
    tags: dict[int, str] = defaultdict(lambda: "O")
    for start, end, label in spans:
        if not 0 <= start < end <= len(text):
            raise ValueError(f"no characters {start} to {end} in a text of {len(text)}")
        inside = [place for place, (first, last) in enumerate(places) if first < end and last > start]
        for place in inside:
            tags[place] = f"{'B' if place == inside[0] else 'I'}-{label}"
    return Tagged(text, tuple(places), tuple(tags[place] for place in range(len(places))))

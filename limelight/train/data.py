"""Text to learn from, streamed: sentence pairs out of text, TSV, CSV, JSONL or .po files, and plain text.

Files may be packed with gzip or xz. Nothing here holds more than one line, so a file may be larger than memory. Each
problem is a FileError that names the file and the line.
"""

import codecs
import csv
import gzip
import json
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, BinaryIO, cast

from limelight.errors import FileError, RequestError, suggestion
from limelight.train import hub

LINE_LIMIT = 1 << 24  # bytes of one line
PIECE = 1 << 18  # bytes of running text that are handed on at once
TABLES = (".tsv", ".csv", ".jsonl", ".po")
TEXTS = (".txt", ".md", ".text")
PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}

Pair = tuple[str, str]


def read_pairs(files: Sequence[str | Path], columns: Sequence[str] = (), *, empty: bool = False) -> Iterator[Pair]:
    """Sentence pairs (source, target), in the order of the files.

    files: two aligned text files, or one or more tables (.tsv, .csv, .jsonl, .po; each also with .gz or .xz), or data
    sets of the hub that hold such tables (see `limelight.train.hub`).
    columns: the names of the source and the target column, or their numbers from 1. Without them: the columns
    "source" and "target" where a table names them, else the first two. empty: also the pairs with an empty side, which
    are left out otherwise. Raises RequestError for files that do not go together, FileError for what is wrong inside
    one.
    """
    paths = local(files, TABLES)
    if len(columns) not in {0, 2}:
        raise RequestError(f"{len(columns)} columns were named; a pair takes two: source,target")
    kinds = [kind(path) for path in paths]
    rows: Iterator[Pair]
    if all(k in TABLES for k in kinds) and paths:
        rows = chain.from_iterable(_table(path, k, columns) for path, k in zip(paths, kinds, strict=True))
    elif len(paths) == 2 and not any(k in TABLES for k in kinds):
        rows = _aligned(*paths)
    else:
        names = ", ".join(str(path) for path in paths) or "nothing"
        raise RequestError(
            f"pairs are read from two aligned text files or from tables ({', '.join(TABLES)}); got {names}"
        )
    found = False
    for source, target in rows:
        source, target = source.strip(), target.strip()
        found = found or bool(source and target)
        if empty or (source and target):
            yield source, target
    if not found:
        raise FileError(f"{' and '.join(str(path) for path in paths)}: no sentence pair in there")


def read_texts(paths: Sequence[str | Path]) -> Iterator[tuple[str, bool]]:
    """Running text in pieces of about PIECE bytes, cut at ends of lines; True marks the last piece of a document.

    paths: text files, or folders of which every .txt, .md or .text file (also .gz or .xz) is read, in sorted order.
    Data sets of the hub may be named, too. Each file is a document. Raises FileError for an empty, missing or
    undecodable file.
    """
    for path in local(paths, TEXTS):
        for file in texts(path):
            yield from _document(file)


def texts(path: Path) -> list[Path]:
    """The file itself, or all text files of a folder, in sorted order. Raises FileError for a folder without one."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.is_file() and kind(file) in TEXTS)
    if not files:
        raise FileError(f"{path}: no text file ({', '.join(TEXTS)}, also .gz and .xz) in this folder")
    return files


def existing(file: str | Path) -> Path:
    """The path of a file or folder that is there. Raises FileError, with a hint where a hub data set may be meant."""
    path = Path(file)
    if os.path.isfile(path) or os.path.isdir(path):  # unlike Path's, they find no name too long
        return path
    if os.path.exists(path):
        raise FileError(f"{path} is no ordinary file; what is learned from is read more than once, so save it to one")
    if not path.suffix and len(path.parts) == 2 and not path.is_absolute():
        raise FileError(f"{path}: no such file; if you mean a data set of the hub, write {hub.PREFIX}{path.as_posix()}")
    beside = [each.name for each in path.parent.iterdir()] if os.path.isdir(path.parent) else []
    raise FileError(f"{path}: no such file{suggestion(path.name, beside)}")


def local(files: Sequence[str | Path], suffixes: tuple[str, ...]) -> list[Path]:
    """Where the files are; those of a data set of the hub are fetched if need be."""
    paths: list[Path] = []
    for file in files:
        paths += hub.fetched(str(file), suffixes) if str(file).startswith(hub.PREFIX) else [existing(file)]
    return paths


def kind(path: Path) -> str:
    """What a file is by its name: its suffix, behind .gz or .xz if there is one."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() in PACKED else path.suffix.lower()


def lines(path: Path) -> Iterator[str]:
    """The lines of a text file without their ends, which may be LF or CR LF."""
    with _opened(path) as file:
        number = 0
        for number, line in enumerate(_raw_lines(path, file), 1):
            yield _decoded(path, number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)
        if number == 0:
            raise FileError(f"{path}: the file is empty")


def _aligned(source: Path, target: Path) -> Iterator[Pair]:
    counts = [0, 0]
    for pair in zip_longest(lines(source), lines(target)):
        counts = [count + (line is not None) for count, line in zip(counts, pair, strict=True)]
        if None not in pair:
            yield cast("Pair", pair)
    if counts[0] != counts[1]:
        raise FileError(
            f"{source} has {counts[0]:,} lines and {target} has {counts[1]:,}; line n of one must translate line n of"
            " the other"
        )


def _table(path: Path, kind: str, columns: Sequence[str]) -> Iterator[Pair]:
    match kind:
        case ".jsonl":
            return _jsonl(path, columns)
        case ".po":
            return _po(path)
        case ".tsv":
            return _rows(path, (line.split("\t") for line in lines(path)), columns)
        case _:
            return _rows(path, csv_rows(path), columns)


def csv_rows(path: Path) -> Iterator[list[str]]:
    """Rows of a CSV file; a quoted cell may hold line breaks."""
    reader = csv.reader((line + "\n" for line in lines(path)), strict=True)
    try:
        yield from reader
    except csv.Error as error:
        raise FileError(f"{path}, line {reader.line_num}: not valid CSV: {error}") from None


def _rows(path: Path, rows: Iterator[list[str]], columns: Sequence[str]) -> Iterator[Pair]:
    """The two wanted cells of each row; a first row that names the columns is no data."""
    first = next(rows)
    names = [cell.strip() for cell in first]
    numbered = all(column.isdigit() for column in columns)
    wanted = list(columns) or (["source", "target"] if {"source", "target"} <= set(names) else ["1", "2"])
    if numbered and wanted[0].isdigit():
        at = [int(column) - 1 for column in wanted]
        rows = chain([first], rows)
    else:
        at = [_named(path, column, names) for column in wanted]
    for number, row in enumerate(rows, 1):
        if not any(row):
            continue
        if not 0 <= min(at) <= max(at) < len(row):
            raise FileError(f"{path}, row {number}: {len(row)} columns; columns {at[0] + 1} and {at[1] + 1} are needed")
        yield row[at[0]], row[at[1]]


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file that has one a line, with the numbers of their lines; empty lines are passed over."""
    for number, line in enumerate(lines(path), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise FileError(f"{path}, line {number}: not valid JSON: {error}") from None
        if not isinstance(values, dict):
            raise FileError(f"{path}, line {number}: holds {type(values).__name__}, not a JSON object")
        yield number, values


def _jsonl(path: Path, columns: Sequence[str]) -> Iterator[Pair]:
    """One JSON object a line; a column inside an object is named with a dot, as in "translation.en"."""
    for number, values in objects(path):
        cells = dict(_flat(values))
        wanted = list(columns)
        if not wanted:
            texts = [name for name, cell in cells.items() if isinstance(cell, str)]
            wanted = ["source", "target"] if {"source", "target"} <= set(texts) else texts[:2]
            if len(wanted) < 2:
                raise FileError(f"{path}, line {number}: no two columns of text")
        pair = [cells[name] if name in cells else _missing(path, name, cells) for name in wanted]
        for name, cell in zip(wanted, pair, strict=True):
            if not isinstance(cell, str):
                raise FileError(f"{path}, line {number}: {name!r} holds {type(cell).__name__}, not text")
        yield pair[0], pair[1]


def _flat(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", cell) for inner, cell in value.items())
        else:
            yield name, value


def _named(path: Path, column: str, names: Sequence[str]) -> int:
    return names.index(column) if column in names else _missing(path, column, names)


def _missing(path: Path, column: str, names: Iterable[str]) -> Any:
    known = ", ".join(list(names)[:20])
    raise FileError(f"{path}: no column {column!r}{suggestion(column, names)} (its columns: {known})")


_PO_LINE = re.compile(r'^(?:(msgid|msgid_plural|msgctxt|msgstr(?:\[\d+\])?)\s+)?"((?:[^"\\]|\\.)*)"\s*$')
_PO_ESCAPE = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


def _po(path: Path) -> Iterator[Pair]:
    """Translated messages of a gettext catalogue: neither fuzzy nor obsolete ones; of a plural the first form."""
    entry: dict[str, str] = {}
    field = ""
    fuzzy = False
    for number, line in enumerate(chain(lines(path), [""]), 1):
        text = line.strip()
        if text.startswith("#"):
            if entry.keys() & {"msgstr", "msgstr[0]"}:  # a comment opens the next entry, even without a blank line
                yield from _po_pair(entry, fuzzy)
                entry, fuzzy = {}, False
            fuzzy = fuzzy or (text.startswith("#,") and "fuzzy" in text)
        elif not text:
            yield from _po_pair(entry, fuzzy)
            entry, fuzzy = {}, False
        else:
            found = _PO_LINE.match(text)
            if found is None:
                raise FileError(f"{path}, line {number}: not a line of a .po file: {text[:40]!r}")
            field = found[1] or field
            if found[1] in {"msgid", "msgctxt"} and entry.keys() & {"msgstr", "msgstr[0]"}:
                yield from _po_pair(entry, fuzzy)
                entry, fuzzy = {}, False
            plain = re.sub(r"\\(.)", lambda match: _PO_ESCAPE.get(match[1], match[1]), found[2])
            entry[field] = entry.get(field, "") + plain


def _po_pair(entry: dict[str, str], fuzzy: bool) -> Iterator[Pair]:
    source, target = entry.get("msgid", ""), entry.get("msgstr", entry.get("msgstr[0]", ""))
    if source and target and not fuzzy:  # an empty msgid is the catalogue's own header
        yield source, target


def _document(path: Path) -> Iterator[tuple[str, bool]]:
    held, number = b"", 1
    with _opened(path) as file:
        first = True
        while block := _read(path, file):
            held += block.removeprefix(codecs.BOM_UTF8) if first else block
            first = False
            cut = held.rfind(b"\n", 0, len(held) - 1) + 1  # the last piece must not be empty
            if cut == 0 and len(held) >= LINE_LIMIT:  # a line may have no end
                cut = held.rfind(b" ", 0, len(held) - 1) + 1
            if cut:
                yield _decoded(path, number, held[:cut], ends=True), False
                number += held.count(b"\n", 0, cut)
                held = held[cut:]
    if not held:
        raise FileError(f"{path}: the file is empty")
    yield _decoded(path, number, held, ends=True), True


def _opened(path: Path) -> BinaryIO:
    try:
        return cast("BinaryIO", PACKED.get(path.suffix.lower(), open)(path, "rb"))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from None


def _raw_lines(path: Path, file: BinaryIO) -> Iterator[bytes]:
    while line := _read(path, file, lines=True):
        if len(line) > LINE_LIMIT:
            raise FileError(f"{path}: a line of more than {LINE_LIMIT:,} bytes; split it into sentences first")
        yield line


def _read(path: Path, file: BinaryIO, lines: bool = False) -> bytes:
    try:
        return file.readline(LINE_LIMIT + 1) if lines else file.read(PIECE)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise FileError(f"{path}: cannot be read or is damaged ({error})") from None


def _decoded(path: Path, number: int, text: bytes, ends: bool = False) -> str:
    """UTF-8 bytes that begin on line `number`, as text; with `ends`, CR LF becomes LF and the ends stay."""
    try:
        plain = text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + text.count(b"\n", 0, error.start)
        raise FileError(
            f"{path}, line {line}: not UTF-8 (byte 0x{text[error.start]:02x}); convert the file to UTF-8 first"
        ) from None
    return plain.replace("\r\n", "\n") if ends else plain.rstrip("\r\n")

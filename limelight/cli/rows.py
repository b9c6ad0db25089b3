"""What all verbs read and write: texts from the command line, from files, folders, columns and standard input, row by
row; answers on the screen, as JSON lines, or in a file that goes on where it ended."""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import typer

from limelight.cli import screen
from limelight.errors import FileError, RequestError

Answer = dict[str, Any]
TABLES = (".csv", ".tsv", ".jsonl")
WRITTEN = (".jsonl", ".csv", ".tsv")


@dataclass(frozen=True)
class Row:
    """What is asked about. number: of the row, from 1, over all that is given. text: what is read. other: the cell of a
    second column. named: what stands for the text in an answer where it is a whole file."""

    number: int
    text: str
    other: str = ""
    named: str | None = None

    @property
    def key(self) -> Answer:
        """What an answer begins with, so that it is known what it is about."""
        return {"row": self.number, **({"text": self.text} if self.named is None else {"file": self.named})}


@dataclass(frozen=True)
class Given:
    """Rows, and how many there are where that is known."""

    rows: Iterator[Row]
    count: int | None


def given(
    texts: Sequence[str] | None,
    files: Sequence[str] | None,
    columns: Sequence[str] | None = None,
    *,
    whole: bool = False,
    pairs: bool = False,
) -> Given:
    """The rows that a command line names: its texts, else its files, else standard input.

    Files are tables (.csv, .tsv, .jsonl), whose columns of texts are found and said; texts, a row a line, or where
    `whole` one row; and folders of texts, a row a file. All may be packed. columns: of tables. pairs: a row is two
    texts, from two columns. Lines that are empty are passed over. Raises a LimelightError for what is not there.
    """
    if texts and files:
        raise RequestError("texts are given on the command line and as --file; leave one of them out")
    if columns and not files:
        raise RequestError("--columns names columns of the tables that --file names, and there are none")
    if texts and pairs and len(texts) != 2:
        raise RequestError(f"two texts make a pair, and {len(texts)} are given; a table with --file holds many")
    if texts and pairs:
        return Given(iter([Row(1, texts[0], texts[1])]), 1)
    if texts:
        return Given((Row(number, text) for number, text in enumerate(texts, 1)), len(texts))
    if not files:
        if pairs:
            raise RequestError("give two texts, or a table of them with --file")
        lines = [screen.read("-")] if whole else screen.lines()
        return Given((Row(number, text) for number, text in enumerate(lines, 1) if text.strip()), None)
    from limelight.train.data import existing, kind
    from limelight.train.data import texts as inside

    for file in files:
        path = existing(file)
        if pairs and kind(path) not in TABLES:
            raise RequestError(f"{path}: pairs of texts are read from tables ({', '.join(TABLES)})")
        if columns and kind(path) not in TABLES:
            raise RequestError(f"{path}: --columns is for tables ({', '.join(TABLES)}), and this is none")
        if path.is_dir():
            inside(path)
    return Given(_numbered(files, columns or (), whole, pairs), None if whole else _count(files))


def answer(
    given: Given,
    verb: Callable[[list[Row]], Iterable[Answer]],
    show: Callable[[Row, Answer], str],
    *,
    out: Path | None = None,
    json: bool = False,
    window: int = 128,
    title: str = "reading",
) -> None:
    """Answers all rows in their order, `window` of them at a time, so that memory stays as it is.

    verb: the answers to some rows, without their keys. show: one of them as text for the screen, lines and all. out: a
    file that answers are added to, by its ending JSON lines or a table; what it holds already is not asked again, so
    that the same command goes on where it was stopped. json: JSON lines on the screen.
    """
    console = screen.stdout()
    with _adding(out) as file:
        done = 0
        quiet = given.count is None or (out is None and console.is_terminal)
        try:
            with screen.progress(title, quiet=quiet, unit=str, after=0.5) as tell:
                while part := list(islice(given.rows, window)):
                    # A part that is answered already but for its end is answered whole again: what is read together
                    # decides the last digits.
                    new = {row.number for row in (part if file is None else file.new(part))}
                    for row, found in zip(part, _asked(verb, part, given.count), strict=True) if new else ():
                        if row.number not in new:
                            continue
                        if file is not None:
                            file.add(row.key | found)
                        elif json:
                            screen.put(console, _json(row.key | found) + "\n")
                        else:
                            screen.put(console, show(row, found))
                    done += len(part)
                    if file is not None:
                        file.flush()
                    if given.count is not None:
                        tell(done, given.count)
        except KeyboardInterrupt:
            how = "; the same command goes on from there" if file is not None else ""
            screen.remark(f"stopped after {done:,} rows{how}")
            raise typer.Exit(130) from None
    if out is not None:
        screen.remark(f"{done:,} rows are answered in {out}")


def _asked(verb: Callable[[list[Row]], Iterable[Answer]], part: list[Row], count: int | None) -> list[Answer]:
    """The answers to some rows. Raises RequestError for one that cannot be answered, naming it where there are more."""
    try:
        return list(verb(part))
    except RequestError:
        for row in part if count != 1 else ():
            try:
                list(verb([row]))
            except RequestError as error:
                raise RequestError(f"{row.named or f'row {row.number}'}: {error}") from None
        raise


class _File:
    """Answers that are added to a file, one a line, each beginning with its row's number."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path, self.stream = path, stream
        self.table = {".csv": ",", ".tsv": "\t"}.get(path.suffix)
        self.last: str | None = None  # the text of the last row that is answered
        self.number = 0
        end = 0
        for place, line in enumerate(stream):
            if not line.endswith(b"\n"):
                break  # what a process that was killed left half-written
            end += len(line)
            if not (place == 0 and self.table):
                self._took(line)
        stream.truncate(end)
        stream.seek(end)
        self.headed = end > 0

    def new(self, rows: Sequence[Row]) -> list[Row]:
        """Those that are not answered yet. Raises RequestError if the file answers other rows."""
        for row in rows:
            if row.number == self.number and _flat(_key(row)) != self.last:
                raise RequestError(f"{self.path} holds answers to other texts; name a new file")
        return [row for row in rows if row.number > self.number]

    def add(self, answer: Answer) -> None:
        """Adds one answer. Raises FileError if the disk is full."""
        if self.table is None:
            self._write(_json(answer) + "\n")
            return
        if not self.headed:
            self._write(self._cells(answer))
            self.headed = True
        self._write(
            self._cells([_flat(value if isinstance(value, str) else _json(value)) for value in answer.values()])
        )

    def flush(self) -> None:
        """Hands what was added to the system, so that a process that is killed loses none of it."""
        try:
            self.stream.flush()
        except OSError as error:
            raise self._refused(error) from None

    def _took(self, line: bytes) -> None:
        try:
            if self.table is None:
                values = list(json.loads(line).values())
            else:
                values = next(csv.reader([line.decode()], delimiter=self.table))
            self.number, self.last = int(values[0]), _flat(str(values[1]))
        except (ValueError, AttributeError, IndexError, StopIteration):
            raise FileError(f"{self.path}: holds other things than answers by row; name a new file") from None

    def _cells(self, cells: Iterable[object]) -> str:
        line = io.StringIO()
        csv.writer(line, delimiter=self.table or ",", lineterminator="\n").writerow(cells)
        return line.getvalue()

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text.encode("utf-8", "replace"))
        except OSError as error:
            raise self._refused(error) from None

    def _refused(self, error: OSError) -> FileError:
        return FileError(f"{self.path} cannot be written ({error.strerror}); the same command goes on once it can")


@contextmanager
def _adding(out: Path | None) -> Iterator[_File | None]:
    """The file that answers are added to, for this process alone. Raises FileError or RequestError."""
    if out is None:
        yield None
        return
    from limelight.train.disk import taken

    if out.suffix not in WRITTEN:
        raise RequestError(f"--out {out}: answers are written as {', '.join(WRITTEN)}, by the end of the name")
    screen.writable(out)
    try:
        stream = os.fdopen(os.open(out, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    except OSError as error:
        raise FileError(f"cannot write {out}: {error.strerror}") from None
    with stream:
        if not taken(stream.fileno()):
            raise RequestError(f"another process writes {out}; wait for it to end, or name another file")
        yield _File(out, stream)


def _numbered(files: Sequence[str], columns: Sequence[str], whole: bool, pairs: bool) -> Iterator[Row]:
    for number, (text, other, named) in enumerate(_cells(files, columns, whole, pairs), 1):
        if text.strip():
            yield Row(number, text, other, named)


def _cells(
    files: Sequence[str], columns: Sequence[str], whole: bool, pairs: bool
) -> Iterator[tuple[str, str, str | None]]:
    from limelight.train.data import kind, lines, texts
    from limelight.train.examples import columns_of_texts, headless, rows

    for file in files:
        path = Path(file)
        if kind(path) in TABLES:
            named = columns_of_texts(path, columns, 2 if pairs else 1)
            if not columns:
                screen.remark(f"{path}: column {' and '.join(named)}{headless(named)}")
            for _, row in rows(path, columns):
                cells = [str(row.get(name, "") or "") for name in named]
                yield cells[0], cells[1] if pairs else "", None
        elif path.is_dir() or whole:
            for each in texts(path):
                yield "\n".join(lines(each)), "", str(each)
        else:
            for line in lines(path):
                yield line, "", None


def _count(files: Sequence[str]) -> int:
    """About how many rows there are: the lines of the files, or the files of a folder."""
    from limelight.train.data import lines, texts

    return sum(len(texts(Path(file))) if Path(file).is_dir() else sum(1 for _ in lines(Path(file))) for file in files)


def _key(row: Row) -> str:
    return row.text if row.named is None else row.named


def _flat(text: str) -> str:
    """A text on one line, as a table holds it."""
    return " ".join(text.split())


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

"""A folder searched by meaning: passages and their vectors in one file, kept up to date."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from limelight.errors import FileError, RequestError
from limelight.train.data import kind, lines

if TYPE_CHECKING:
    from limelight import Embedder

FORMAT = "limelight index 1"
NAME = ".limelight.index"
"""The file in a folder that is searched."""

READ = (".txt", ".md", ".text", ".rst", ".csv", ".tsv", ".jsonl", ".py", ".html", ".org", ".tex")
PASSAGE = 900
"""Characters of a passage at most; about what a small model reads of a text at once."""

BATCH = 512
"""Passages whose vectors are made before they are written."""


@dataclass(frozen=True)
class Passage:
    """A part of a file: its characters `[start, end)`, and how near its vector is to the query's, as a cosine."""

    file: str
    start: int
    end: int
    text: str
    score: float


class Index:
    """The passages of a folder. A file that changed is read again, one that is gone is forgotten; what was not touched
    keeps its vectors. All of it stands in one SQLite file, which is whole whenever the process is killed.

    Search is exact: a product with all vectors, of half precision in the file.
    """

    def __init__(self, folder: Path, model: "Embedder", file: Path | None = None) -> None:
        """file: where the index is kept (None: `NAME` in the folder). Raises FileError for a folder that is none, or
        an index that is of another model or no index."""
        if not folder.is_dir():
            raise FileError(f"{folder} is no folder; name one whose texts are to be searched")
        self.folder, self.model = folder, model
        self.path = file or folder / NAME
        try:
            self._base = sqlite3.connect(self.path)
            there = {name for (name,) in self._base.execute("SELECT name FROM sqlite_master")}
            if there and "limelight" not in there:
                raise sqlite3.DatabaseError("it is another program's")
            self._base.executescript(_TABLES)
            known = dict(self._base.execute("SELECT name, value FROM limelight"))
        except sqlite3.Error as error:
            raise FileError(f"{self.path} is no index that can be used ({error}); delete it, or name another") from None
        mine = {"format": FORMAT, "model": f"{model.name}, {model.network.config.width} wide"}
        if known and known != mine:
            raise FileError(
                f"{self.path} is of {known.get('model')}, not of {mine['model']}; delete it, or name another"
            )
        with self._base:
            self._base.executemany("INSERT OR REPLACE INTO limelight VALUES (?, ?)", mine.items())
        self._vectors: NDArray[np.float32] | None = None
        self._places: list[tuple[int, int]] = []

    def close(self) -> None:
        """Lets go of the file."""
        self._base.close()

    def update(self, progress: Callable[[int, int], None] | None = None) -> tuple[int, int]:
        """Reads what is new or changed, and forgets what is gone: how many files of each. progress: files done, and in
        all, of those that are read."""
        known: dict[str, str] = dict(self._base.execute("SELECT name, stamp FROM files").fetchall())
        there = {name: _stamp(self.folder / name) for name in self._files()}
        gone = [name for name in known if name not in there]
        new = [name for name, stamp in there.items() if known.get(name) != stamp]
        with self._base:
            for name in gone:
                self._forget(name)
        held: list[tuple[str, str, int, int, str]] = []
        for done, name in enumerate(new, 1):
            parts = (part for passage in passages(self._text(name)) for part in self._fitting(*passage))
            held += [(name, there[name], *part) for part in parts]
            if not held or held[-1][0] != name:  # nothing in it: known all the same
                with self._base:
                    self._forget(name)
                    self._base.execute("INSERT INTO files VALUES (?, ?)", (name, there[name]))
            if len(held) >= BATCH or done == len(new):
                self._add(held)
                held = []
            if progress is not None:
                progress(done, len(new))
        self._vectors = None
        return len(new), len(gone)

    def search(self, query: str, n: int = 5) -> list[Passage]:
        """The `n` passages nearest to the query in meaning, best first. The model's prompt of the name "query", if it
        has one, is put in front of it. Raises RequestError for a query without a word."""
        if not query.strip():
            raise RequestError("the query is empty; say what to look for")
        prompt = "query" if "query" in self.model.prompts else None
        asked = torch.nn.functional.normalize(self.model.embed([query], prompt), dim=-1)[0].numpy()
        vectors = self._loaded()
        if not len(vectors):
            return []
        scores = vectors @ asked
        best = np.argpartition(-scores, min(n, len(scores)) - 1)[:n]
        best = best[np.argsort(-scores[best], kind="stable")]
        found = []
        for place in best.tolist():
            row, number = self._places[place]
            file, spans, texts = self._base.execute(
                "SELECT name, spans, texts FROM parts WHERE rowid = ?", (row,)
            ).fetchone()
            start, end = np.frombuffer(spans, "<i8").reshape(-1, 2)[number].tolist()
            found.append(Passage(file, start, end, texts.split("\0")[number], float(scores[place])))
        return found

    def __len__(self) -> int:
        return len(self._loaded())

    def _loaded(self) -> NDArray[np.float32]:
        if self._vectors is None:
            width = self.model.network.config.width
            parts, self._places = [np.zeros((0, width), np.float32)], []
            for row, vectors in self._base.execute("SELECT rowid, vectors FROM parts"):
                parts.append(np.frombuffer(vectors, "<f2").reshape(-1, width).astype(np.float32))
                self._places += [(row, number) for number in range(len(parts[-1]))]
            self._vectors = np.concatenate(parts)
        return self._vectors

    def _files(self) -> Iterator[str]:
        for folder, names, files in os.walk(self.folder):
            names[:] = sorted(name for name in names if not name.startswith("."))
            for name in sorted(files):
                path = Path(folder) / name
                if not name.startswith(".") and kind(path) in READ and path.is_file():
                    yield path.relative_to(self.folder).as_posix()

    def _text(self, name: str) -> str:
        return "\n".join(lines(self.folder / name)) if (self.folder / name).stat().st_size else ""

    def _fitting(self, start: int, end: int, text: str) -> Iterator[tuple[int, int, str]]:
        """A passage in halves that the model reads whole, the ends of which it would leave out else."""
        if len(text) < 2 or len(self.model.encode(text)) <= self.model.longest:
            yield start, end, text
            return
        half = len(text) // 2
        cut = text.rfind(" ", 1, half + 1)
        cut = half if cut < 0 else cut
        behind = text[cut:].lstrip()
        yield from self._fitting(start, start + len(text[:cut].rstrip()), text[:cut].rstrip())
        yield from self._fitting(end - len(behind), end, behind)

    def _add(self, held: Sequence[tuple[str, str, int, int, str]]) -> None:
        """Writes passages, those of a file at once, in place of what was known of it."""
        if not held:
            return
        vectors = torch.nn.functional.normalize(self.model.embed([text for *_, text in held]), dim=-1).numpy()
        with self._base:
            at = 0
            while at < len(held):
                name, stamp = held[at][:2]
                end = next((i for i in range(at, len(held)) if held[i][0] != name), len(held))
                spans = np.array([each[2:4] for each in held[at:end]], "<i8")
                texts = "\0".join(each[4].replace("\0", " ") for each in held[at:end])
                self._forget(name)
                self._base.execute("INSERT INTO files VALUES (?, ?)", (name, stamp))
                made = vectors[at:end].astype("<f2").tobytes()
                self._base.execute("INSERT INTO parts VALUES (?, ?, ?, ?)", (name, spans.tobytes(), texts, made))
                at = end

    def _forget(self, name: str) -> None:
        for table in ("files", "parts"):
            self._base.execute(f"DELETE FROM {table} WHERE name = ?", (name,))


_TABLES = """
CREATE TABLE IF NOT EXISTS limelight (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, stamp TEXT);
CREATE TABLE IF NOT EXISTS parts (name TEXT, spans BLOB, texts TEXT, vectors BLOB);
CREATE INDEX IF NOT EXISTS by_name ON parts (name);
"""


def passages(text: str) -> Iterator[tuple[int, int, str]]:
    """A text in passages of whole paragraphs, or of whole lines, sentences or words where one is longer than `PASSAGE`:
    the characters [start, end) of each and its text, without white space around it."""
    start = 0
    while start < len(text):
        end = len(text)
        if end - start > PASSAGE:
            marks = ("\n\n", "\n", ". ", " ")
            half = start + PASSAGE // 3
            cuts = (text.rfind(mark, half, start + PASSAGE) + len(mark) for mark in marks)
            end = next((cut for cut in cuts if cut > half), start + PASSAGE)
        elif (blank := text.find("\n\n", start + PASSAGE // 3)) >= 0:
            end = blank + 2
        part = text[start:end]
        if part.strip():
            ahead = len(part) - len(part.lstrip())
            yield start + ahead, start + len(part.rstrip()), part.strip()
        start = end


def _stamp(path: Path) -> str:
    facts = path.stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"

"""Questions to learn from whose answers stand in a text."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limelight.errors import FileError, RequestError
from limelight.train.data import existing, kind, lines, local
from limelight.train.examples import TABLES, rows

QUESTION, TEXT, ANSWER = ("question", "query"), ("context", "text", "passage", "document"), ("answers", "answer")
"""What the columns of a table are called, the likeliest first."""

Answer = tuple[int, str]
"""The character of a text where an answer begins, and the answer."""


@dataclass(frozen=True)
class Asked:
    """A question about a text. answers: those that are right, none where the text does not say."""

    question: str
    text: str
    answers: tuple[Answer, ...]


def questions(files: Sequence[str | Path]) -> Iterator[Asked]:
    """Questions in the order of the files: SQuAD's own (.json, versions 1.1 and 2), or tables (.csv, .tsv, .jsonl) with
    columns named question, context (or text) and answer; all may be packed.

    An answer in a table is a text, found where it first stands in the context, or nothing; or as SQuAD's tables have
    it, an object of "text" and "answer_start". Raises FileError, naming the place, for an answer that does not stand
    where it should.
    """
    for path in local(files, (".json", *TABLES)):
        if kind(path) == ".json":
            yield from _squad(path)
        elif kind(path) in TABLES and not path.is_dir():
            yield from _table(path)
        else:
            raise RequestError(f"{path}: questions are read from SQuAD's .json or tables ({', '.join(TABLES)})")


def _squad(path: Path) -> Iterator[Asked]:
    try:
        said = json.loads("\n".join(lines(existing(path))))
        parts = [part for article in said["data"] for part in article["paragraphs"]]
        for part in parts:
            for each in part["qas"]:
                found = [] if each.get("is_impossible") else each["answers"]
                answers = [(answer["answer_start"], answer["text"]) for answer in found]
                yield _asked(each["question"], part["context"], answers, f"{path}, question {each.get('id', '')}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(f"{path}: is not written as SQuAD is ({type(error).__name__}: {error})") from None


def _table(path: Path) -> Iterator[Asked]:
    for number, row in rows(path, (*QUESTION, *TEXT, *ANSWER)):
        place = f"{path}, row {number}"
        question, text, answer = (_cell(row, names, place) for names in (QUESTION, TEXT, ANSWER))
        if isinstance(answer, dict):
            try:
                pairs = list(zip(answer["answer_start"], answer["text"], strict=True))
            except (KeyError, TypeError, ValueError):
                raise FileError(f'{place}: answers are an object of "text" and "answer_start", two lists') from None
            yield _asked(question, text, pairs, place)
            continue
        said = [] if answer in (None, "") else answer if isinstance(answer, list) else [answer]
        yield _asked(question, text, [(str(text).find(str(each)), each) for each in said], place)


def _cell(row: dict[str, Any], names: Sequence[str], place: str) -> Any:
    found = next((name for name in names if name in row), None)
    if found is None:
        raise FileError(f"{place}: no column named {' or '.join(names)} (its columns: {', '.join(row)})")
    return row[found]


def _asked(question: Any, text: Any, answers: Sequence[tuple[Any, Any]], place: str) -> Asked:
    if not isinstance(question, str) or not isinstance(text, str):
        raise FileError(f"{place}: a question and what it is asked about are texts")
    for start, answer in answers:
        if not isinstance(answer, str) or not isinstance(start, int) or not answer:
            raise FileError(f"{place}: an answer is a text, and its place a number")
        if start < 0 or text[start : start + len(answer)] != answer:
            raise FileError(f"{place}: the answer {answer[:40]!r} does not stand in the text where it should")
    return Asked(question, text, tuple((start, answer) for start, answer in answers))

"""Tables: their rows by name and number, which columns are meant, and every refusal in its own words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limelight.errors import FileError, LimelightError, RequestError
from limelight.train import questions, similar, summaries
from limelight.train.examples import (
    Tagged,
    column_of_texts,
    columns,
    columns_of_texts,
    headless,
    labelled,
    plain_texts,
    rows,
    tables,
    tagged,
)
from limelight.train.questions import Asked
from limelight.train.similar import Beside
from limelight.train.summaries import Short

OTHERS = "context passage answer answers sentence1 sentence2 text1 text2 anchor positive negative"
MANY = [f"c{number}" for number in range(1, 22)]
FIRST_20 = ", ".join(MANY[:20])


def made(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", [*OTHERS.split(), "TEXT", "Label"])
def test_a_first_line_with_a_usual_name_names_the_columns(tmp_path: Path, name: str) -> None:
    path = made(tmp_path, "a.tsv", f"n\t {name} \n1\t2\n\n3\t4\n")
    assert list(rows(path)) == [(1, {"n": "1", name: "2"}), (3, {"n": "3", name: "4"})]


def test_without_names_columns_have_numbers(tmp_path: Path) -> None:
    path = made(tmp_path, "a.csv", 'a,"b\nc"\nd,e\n')
    assert list(rows(path, ("2",))) == [(1, {"1": "a", "2": "b\nc"}), (2, {"1": "d", "2": "e"})]
    assert list(rows(path, ("a",))) == [(1, {"a": "d", "b\nc": "e"})]
    assert list(rows(made(tmp_path, "a.csv", "\n"))) == []


def refused(kind: type[LimelightError], call: Callable[..., Any], *given: Any) -> str:
    with pytest.raises(kind) as refusal:
        list(call(*given))
    return str(refusal.value)


def test_rows_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = made(tmp_path, "a.csv", "a,b\n\nc\n")
    assert refused(FileError, rows, path) == f"{path}, row 3: 1 columns where the first row has 2"
    assert refused(FileError, rows, path, ("2", "bb")) == (
        f"{path}: no column 'bb'; did you mean 'b'? (its columns: a, b)"
    )
    path = made(tmp_path, "a.csv", ",".join(MANY) + "\n")
    assert refused(FileError, rows, path, ("x",)).endswith(f"no column 'x' (its columns: {FIRST_20})")


NOT_PLAIN = "it is not plain which of the columns"


@pytest.mark.parametrize(
    ("read", "asked", "kind", "text", "message"),
    [
        (columns, ("a",), RequestError, "a\n", "1 columns were named; it takes two: of the texts and of their labels"),
        (columns, (), FileError, "text,label\n", "{}: no row in there"),
        (
            columns,
            (),
            RequestError,
            "".join(",".join(f"{name}{row}" for name in MANY) + "\n" for row in range(11)),
            "{}: " + NOT_PLAIN + f" {', '.join(str(n) for n in range(1, 21))} holds texts and which labels; name them"
            " with --columns TEXT LABEL",
        ),
        (summaries.columns, (), FileError, "text,label\n", "{}: no row in there"),
        (
            summaries.columns,
            ("1", "2", "3"),
            RequestError,
            "a,b,c\n",
            "3 columns were named; it takes two: of the texts and of their summaries",
        ),
        (
            summaries.columns,
            (),
            RequestError,
            ",".join(["text", *MANY]) + "\n" + ",".join(["x"] * 22) + "\n",
            "{}: " + NOT_PLAIN + f" text, {', '.join(MANY[:19])} holds texts and which summaries; name them with"
            " --columns TEXT SUMMARY",
        ),
        (similar.columns, (), FileError, "text,label\n", "{}: no row in there"),
        (
            similar.columns,
            ("1",),
            RequestError,
            "a,b\n",
            "1 columns were named; it takes two of texts, and perhaps a third or a score",
        ),
        (
            similar.columns,
            ("1", "2", "3", "4"),
            RequestError,
            "a,b,c,d\n",
            "4 columns were named; it takes two of texts, and perhaps a third or a score",
        ),
        (
            similar.columns,
            (),
            RequestError,
            ",".join(["text", *MANY]) + "\n" + ",".join(["x"] * 22) + "\n",
            "{}: " + NOT_PLAIN + f" text, {', '.join(MANY[:19])} hold the texts that belong together; name them with"
            " --columns",
        ),
    ],
)
def test_columns_that_cannot_be_told(
    tmp_path: Path,
    read: Callable[..., Any],
    asked: tuple[str, ...],
    kind: type[LimelightError],
    text: str,
    message: str,
) -> None:
    path = made(tmp_path, "a.csv", text)
    assert refused(kind, read, [path], asked) == message.format(path)


def test_columns_that_were_asked_for_are_taken(tmp_path: Path) -> None:
    path = made(tmp_path, "a.csv", "text,label,c\nw x,y,z\n")
    for read in (columns, summaries.columns, similar.columns):
        assert tuple(read([path], ("c", "text"))) == ("c", "text")
        assert refused(FileError, read, [path], ("c", "d")).startswith(f"{path}: no column 'd'")
    assert similar.columns([path], ("c", "label", "text")) == ("c", "label", "text")
    assert similar.columns([path]) == ("text", "label", "c")
    assert similar.columns([made(tmp_path, "b.csv", "1,2\n")]) == ("1", "2")
    path = made(tmp_path, "a.csv", "Text,text,LABEL,label\n" + "a,b,c,d\n")
    assert columns([path]) == ("Text", "LABEL")  # of two alike the first


@pytest.mark.parametrize(("kinds", "plain"), [(6, True), (7, False)])
def test_labels_repeat_by_half(tmp_path: Path, kinds: int, plain: bool) -> None:
    path = made(tmp_path, "a.csv", "".join(f"long text {row},l{min(row, kinds - 1)}\n" for row in range(12)))
    if plain:
        assert columns([path]) == ("1", "2")
    else:
        assert NOT_PLAIN + " 1, 2 holds" in refused(RequestError, columns, [path])


def test_only_numbers_ask_for_a_word_on_the_first_line() -> None:
    assert headless(("a", "1")) == ""
    assert headless(("1", "2")) == (
        " (the first line is read as a row; if it names the columns, choose among its names with --columns)"
    )


def test_columns_of_texts_are_known_or_the_longest(tmp_path: Path) -> None:
    path = made(tmp_path, "a.jsonl", json.dumps({"a": "xx", "Body": "x", "b": None, "c": "xxxx", "text": True}))
    assert [columns_of_texts(path, (), count) for count in (1, 2, 3, 4)] == [
        ("text",),
        ("Body", "text"),
        ("Body", "c", "text"),
        ("a", "Body", "c", "text"),
    ]
    assert columns_of_texts(path, ["b", "a"], 2) == ("b", "a")
    for asked, count, kind, message in (
        (("a", "b"), 1, RequestError, "2 columns were named, and 1 is read"),
        (("a",), 2, RequestError, "1 columns were named, and 2 are read"),
        ((), 6, FileError, f"{path}: has 5 columns, and 6 are needed"),
    ):
        assert refused(kind, columns_of_texts, path, asked, count) == message
    assert len(columns_of_texts(path, (), 5)) == 5
    text = made(tmp_path, "a.txt", "x")
    assert column_of_texts([text, path], ()) == ("text",)
    assert column_of_texts([text, path], ("c",)) == ("c",)
    assert column_of_texts([text], ()) == ()
    assert refused(RequestError, column_of_texts, [text], ("c",)) == (
        f"{text}: columns are those of tables (.csv, .tsv, .jsonl), and this is none"
    )


def test_a_cell_that_is_missing_or_no_label_is_named(tmp_path: Path) -> None:
    path = made(tmp_path, "a.jsonl", '{"a": true, "b": "x"}\n{"a": "y"}\n')
    assert list(plain_texts([path], ("a",))) == ["true", "y"]
    assert refused(FileError, plain_texts, [path], ("b",)) == f"{path}: no column 'b' (its columns: a)"
    assert refused(FileError, labelled, [path], ("a", "b")) == f"{path}: no column 'b' (its columns: a)"
    path = made(tmp_path, "a.jsonl", json.dumps({"a": "x", "b": {"x" * 50: 1}}))
    assert refused(FileError, labelled, [path], ("a", "b")) == (
        f"{path}, row 1: 'b' holds {{'{'x' * 38}; a label is a text or a number, and several are a list of them"
    )


def test_only_tables_hold_columns(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "folder.csv", made(tmp_path, "a.txt", "x")):
        assert refused(RequestError, tables, [path], "texts") == (
            f"{path}: texts are read from tables (.csv, .tsv, .jsonl, also .gz, .xz)"
        )
    packed = made(tmp_path, "a.tsv.xz", "")
    assert tables([packed], "texts") == [packed]


NO_TAGS = 'not a text with tags{}; it takes "tokens" and "tags", or "text" and "spans"'


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"tokens": ["a", "b"], "tags": ["x"]}, " (2 tokens and 1 tags)"),
        ({"tokens": ["a"]}, ""),
        ({"text": "ab", "spans": [[1, 3, "x"]]}, " (no characters 1 to 3 in a text of 2)"),
        ({"text": "ab", "spans": [[-1, 1, "x"]]}, " (no characters -1 to 1 in a text of 2)"),
        ({"text": "ab", "spans": [[1, 1, "x"]]}, " (no characters 1 to 1 in a text of 2)"),
        ({"text": "ab", "spans": [{"start": 0}]}, ""),
        ({"spans": []}, ""),
        ({"text": "ab", "spans": 3}, ""),
    ],
)
def test_texts_without_tags_are_refused(tmp_path: Path, row: dict[str, Any], why: str) -> None:
    path = made(tmp_path, "a.jsonl", "\n" + json.dumps(row))
    assert refused(FileError, tagged, [path]) == f"{path}, line 2: {NO_TAGS.format(why)}"


def test_tagged_texts_are_read_whole(tmp_path: Path) -> None:
    path = made(tmp_path, "a.jsonl", json.dumps({"text": "(Ada King)", "spans": [[1, 4, "x"], [5, 10, "y"]]}))
    places = ((0, 1), (1, 4), (5, 9), (9, 10))
    assert list(tagged([path])) == [Tagged("(Ada King)", places, ("O", "B-x", "B-y", "I-y"))]
    two = made(tmp_path, "a.tsv", "New York\tB\n \t \nso it\tO\n")
    assert (
        list(tagged([two, two]))
        == [
            Tagged("New York", ((0, 8),), ("B",)),
            Tagged("so it", ((0, 5),), ("O",)),
        ]
        * 2
    )
    for line in ("\tO", "word", "#O"):
        path = made(tmp_path, "a.conll", f"a O\n{line}{' ' * 50}\n")
        assert refused(FileError, tagged, [path]) == (
            f"{path}, line 2: a word and its tag are needed, and this is {(line + ' ' * 50)[:40]!r}"
        )


def test_questions_in_all_tables(tmp_path: Path) -> None:
    rest = {"Who?": "By Ada, by Ada."}
    (question, text), *_ = rest.items()
    for ask in ("question", "query"):
        for about in ("context", "text", "passage", "document"):
            for said, cell, answers in (
                ("answers", ["Ada", "by"], ((3, "Ada"), (8, "by"))),
                ("answer", "Ada", ((3, "Ada"),)),
                ("answers", None, ()),
                ("answers", {"text": ["Ada"], "answer_start": [11]}, ((11, "Ada"),)),
            ):
                path = made(tmp_path, "a.jsonl", json.dumps({ask: question, about: text, said: cell}))
                assert list(questions.questions([path])) == [Asked(question, text, answers)]
    path = made(tmp_path, "a.tsv", f"query\tdocument\tanswer\n{question}\t{text}\tAda\n")
    assert list(questions.questions([path])) == [Asked(question, text, ((3, "Ada"),))]
    part = {"context": text, "qas": [{"id": "q7", "question": question, "answers": []}]}
    path = made(tmp_path, "a.json", json.dumps({"data": [{"paragraphs": [part]}]}, indent=1))
    assert list(questions.questions([path])) == [Asked(question, text, ())]
    part["qas"][0]["answers"] = [{"answer_start": 0, "text": "Ada"}]  # type: ignore[index]
    path.write_text(json.dumps({"data": [{"paragraphs": [part]}]}))
    assert refused(FileError, questions.questions, [path]) == (
        f"{path}, question q7: the answer 'Ada' does not stand in the text where it should"
    )
    path.write_text("[]")
    assert refused(FileError, questions.questions, [path]).startswith(
        f"{path}: is not written as SQuAD is (TypeError: "
    )
    path = made(tmp_path, "a.txt", "x")
    assert refused(RequestError, questions.questions, [path]) == (
        f"{path}: questions are read from SQuAD's .json or tables (.csv, .tsv, .jsonl)"
    )


TWO_LISTS = 'answers are an object of "text" and "answer_start", two lists'
WHERE = "does not stand in the text where it should"


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"answers": {"text": ["Ada"]}}, TWO_LISTS),
        ({"answers": {"text": ["Ada"], "answer_start": []}}, TWO_LISTS),
        ({"answers": {"text": ["Ada"], "answer_start": 3}}, TWO_LISTS),
        ({"question": 3}, "a question and what it is asked about are texts"),
        ({"context": None}, "a question and what it is asked about are texts"),
        ({"answers": [3]}, "an answer is a text, and its place a number"),
        ({"answers": {"text": ["Ada"], "answer_start": ["3"]}}, "an answer is a text, and its place a number"),
        ({"answers": {"text": [""], "answer_start": [3]}}, "an answer is a text, and its place a number"),
        ({"answers": {"text": ["."], "answer_start": [-1]}}, f"the answer '.' {WHERE}"),
        ({"answers": "x" * 50}, f"the answer '{'x' * 40}' {WHERE}"),
    ],
)
def test_a_question_that_does_not_fit_is_named(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    row = {"question": "Who?", "context": "By Ada.", "answers": "Ada"}
    path = made(tmp_path, "a.jsonl", f"{json.dumps(row)}\n{json.dumps(row | change)}\n")
    found = questions.questions([path])
    assert next(found) == Asked("Who?", "By Ada.", ((3, "Ada"),))
    assert refused(FileError, list, found) == f"{path}, row 2: {fault}"


@pytest.mark.parametrize("text", "text document article dialogue source content body input".split())
@pytest.mark.parametrize("summary", "summary summaries highlights tldr abstract headline target title output".split())
def test_columns_of_summaries_are_known_by_their_usual_names(tmp_path: Path, text: str, summary: str) -> None:
    row = {"id": "a long name", summary.upper(): "a b", text.title(): "c", text: "d"}
    path = made(tmp_path, "a.jsonl", json.dumps(row))
    assert summaries.columns([path]) == (text.title(), summary.upper())


def test_summaries_that_do_not_fit_are_named(tmp_path: Path) -> None:
    lines = [{"a": "One. Two.", "b": ["x", None, " "]}, {"a": ["One! two. ", 'Three. "Four."'], "b": "y"}, {"a": "z"}]
    path = made(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines)))
    found = summaries.shorts([path], ("a", "b"))
    assert next(found) == Short("One. Two.", "One.", ("x",))
    assert next(found) == Short('One! two. Three. "Four."', "One! two.", ("y",))
    assert refused(FileError, list, found) == f"{path}, row 3: no column 'b' (its columns: a)"
    path = made(tmp_path, "a.jsonl", json.dumps({"a": "x", "b": {"y" * 50: 1}}))
    assert refused(FileError, summaries.shorts, [path], ("a", "b")) == (
        f"{path}, row 1: 'b' holds {{'{'y' * 38}; it takes a text, or a list of texts"
    )


def test_scores_are_of_all_rows_or_of_none(tmp_path: Path) -> None:
    one = made(tmp_path, "a.csv", "text1,text2,score\na,b,0.5\n")
    other = made(tmp_path, "b.csv", "text1,text2,score\na,b,high\n")
    named = ("text1", "text2", "score")
    assert list(similar.beside([other, one], named)) == [Beside(("a", "b", "high")), Beside(("a", "b", "0.5"))]
    assert refused(FileError, similar.beside, [one, other], named) == (
        f"{other}, row 1: 'score' holds no number, and the first row has one"
    )
    assert refused(RequestError, similar.beside, [made(tmp_path, "a.txt", "x")], named) == (
        f"{tmp_path / 'a.txt'}: texts that belong together are read from tables (.csv, .tsv, .jsonl, also .gz, .xz)"
    )

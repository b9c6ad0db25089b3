"""Reading pairs and texts: every format gives the same pairs, and every fault is named with file and line."""

import gzip
import lzma
import os
from pathlib import Path

import pytest

from limelight.errors import FileError, LimelightError, RequestError
from limelight.train import data
from limelight.train.data import read_pairs, read_texts

PAIRS = [("A dog runs.", "Ein Hund läuft."), ("Two, or “three”?", "Zwei oder drei?")]


def write(path: Path, text: str | bytes) -> Path:
    raw = text.encode() if isinstance(text, str) else text
    packers = {".gz": gzip.compress, ".xz": lzma.compress}
    path.write_bytes(packers.get(path.suffix, bytes)(raw))
    return path


FORMATS = {
    "a.tsv": "A dog runs.\tEin Hund läuft.\nTwo, or “three”?\tZwei oder drei?\n",
    "b.tsv": "id\tsource\ttarget\r\n1\tA dog runs.\tEin Hund läuft.\r\n2\tTwo, or “three”?\tZwei oder drei?",
    "c.csv": 'target,source\nEin Hund läuft.,A dog runs.\nZwei oder drei?,"Two, or “three”?"\n',
    "d.jsonl": '{"source": "A dog runs.", "target": "Ein Hund läuft."}\n\n'
    '{"n": 1, "target": "Zwei oder drei?", "source": "Two, or \\u201cthree\\u201d?"}\n',
    "e.jsonl.gz": '{"n": 1, "en": "A dog runs.", "de": "Ein Hund läuft."}\n'
    '{"n": 2, "en": "Two, or “three”?", "de": "Zwei oder drei?"}\n',
    "f.po": 'msgid ""\nmsgstr "Language: de\\n"\n\n#: a.c:1\nmsgid "A dog "\n"runs."\nmsgstr "Ein Hund läuft."\n\n'
    '#, fuzzy\nmsgid "x"\nmsgstr "y"\n\nmsgid "untranslated"\nmsgstr ""\n'
    '#~ msgid "old"\n#~ msgstr "alt"\n#: b.c\nmsgid "Two, or “three”?"\nmsgid_plural "p"\nmsgstr[0] "Zwei oder drei?"\n'
    'msgstr[1] "Viele"\n',
    "g.tsv.xz": "\ufeffA dog runs.\tEin Hund läuft.\n\t\n \tleer\nTwo, or “three”?\tZwei oder drei?\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_pairs(tmp_path: Path, name: str) -> None:
    assert list(read_pairs([write(tmp_path / name, FORMATS[name])])) == PAIRS


@pytest.mark.parametrize("end", ["", ".gz", ".xz"])
def test_two_aligned_files(tmp_path: Path, end: str) -> None:
    files = [write(tmp_path / f"x.{n}{end}", "\n".join(p[i] for p in PAIRS) + "\n") for i, n in enumerate(["en", "de"])]
    assert list(read_pairs(files)) == PAIRS


def test_columns_by_name_number_and_path(tmp_path: Path) -> None:
    table = write(tmp_path / "x.tsv", "de\tn\ten\nHund\t1\tdog\n")
    assert list(read_pairs([table], ["en", "de"])) == [("dog", "Hund")]
    assert list(read_pairs([table], ["3", "1"])) == [("en", "de"), ("dog", "Hund")]
    nested = write(tmp_path / "x.jsonl", '{"translation": {"en": "dog", "de": "Hund"}}\n')
    assert list(read_pairs([nested], ["translation.en", "translation.de"])) == [("dog", "Hund")]
    assert list(read_pairs([nested])) == [("dog", "Hund")]
    assert list(read_pairs([nested, nested])) == [("dog", "Hund")] * 2


def test_signs_behind_a_backslash_in_a_catalogue(tmp_path: Path) -> None:
    table = write(tmp_path / "x.po", r'msgid "a \"dog\"\n"' + "\n" + r'msgstr "C:\\Hund\t!"' + "\n")
    assert list(read_pairs([table])) == [('a "dog"', "C:\\Hund\t!")]


ODD = [
    ("x.csv", 'source,target\n"two\nlines",b\n\n"c, d"," e "\n', (), [("two\nlines", "b"), ("c, d", "e")]),
    ("x.TSV", " target \t source \nb\ta\n", (), [("a", "b")]),
    ("x.tsv", "source\tother\na\tb\n", (), [("source", "other"), ("a", "b")]),
    ("x.tsv", "1\t2\t3\n", ("3", "2"), [("3", "2")]),
    ("x.tsv", "1\ten\na\tb\n", ("en", "1"), [("b", "a")]),
    ("x.jsonl", '{"n": 1, "source": "a", "other": "b"}', (), [("a", "b")]),
    ("x.jsonl", '{"other": "c", "target": "b", "source": "a"}', (), [("a", "b")]),
    ("x.po", 'msgctxt "menu"\nmsgid "a\\t\\r\\q"\nmsgstr ""\n"b"\n" c"\n', (), [("a\t\rq", "b c")]),
    ("x.po", '#, c-format, fuzzy\nmsgid "x"\nmsgstr "y"\n# next\nmsgid "a"\nmsgstr "b"\n', (), [("a", "b")]),
    ("x.po", 'msgid "a"\nmsgstr "b"\nmsgctxt "c"\nmsgid "d"\nmsgstr "e"\n', (), [("a", "b"), ("d", "e")]),
    ("x.po", '#. fuzzy is a word\nmsgid "a"\nmsgstr "b"\n\n\n#, fuzzy\nmsgid "c"\nmsgstr "d"', (), [("a", "b")]),
]


@pytest.mark.parametrize(("name", "text", "columns", "pairs"), ODD)
def test_odd_tables_are_read_as_they_mean(
    tmp_path: Path, name: str, text: str, columns: tuple[str, ...], pairs: list[tuple[str, str]]
) -> None:
    assert list(read_pairs([write(tmp_path / name, text)], columns)) == pairs


def test_pairs_with_an_empty_side_are_read_where_they_count(tmp_path: Path) -> None:
    table = write(tmp_path / "x.tsv", "a\tb\n \tc\nd\t\n")
    assert list(read_pairs([table])) == [("a", "b")]
    assert list(read_pairs([table], empty=True)) == [("a", "b"), ("", "c"), ("d", "")]
    with pytest.raises(FileError, match="no sentence pair"):
        list(read_pairs([write(tmp_path / "y.tsv", " \tc\n")], empty=True))


FAULTS = [
    ({"x.en": "a\nb\n", "x.de": "a\n"}, (), "x.en has 2 lines and .*x.de has 1"),
    ({"x.en": "", "x.de": "a\n"}, (), "x.en: the file is empty"),
    ({"x.en": "\n \n", "x.de": "a\n\n"}, (), "no sentence pair"),
    ({"x.en": "a\n", "x.de": b"a\nb\xff\n"}, (), "x.de, line 2: not UTF-8 .byte 0xff."),
    ({"x.tsv": "source\ttarget\na\n"}, (), "x.tsv, row 1: 1 columns"),
    ({"x.tsv": "english\tgerman\na\tb\n"}, ("englich", "german"), "no column 'englich'; did you mean 'english'"),
    ({"x.csv": 'a,b\n"c,d\n'}, (), "x.csv, line 2: not valid CSV"),
    ({"x.jsonl": '{"a": "b", "c": "d"}\n{\n'}, (), "x.jsonl, line 2: not valid JSON"),
    ({"x.jsonl": "[1]\n"}, (), "x.jsonl, line 1: holds list"),
    ({"x.jsonl": '{"source": "a", "target": 3}\n'}, ("source", "target"), "'target' holds int, not text"),
    ({"x.jsonl": '{"a": 1}\n'}, (), "line 1: no two columns of text"),
    ({"x.po": 'msgid "a"\nmsgstr b\n'}, (), "x.po, line 2: not a line of a .po file"),
    ({"x.txt": "a\n"}, (), "two aligned text files or from tables"),
    ({"x.tsv": "a\tb\n"}, ("one",), "1 columns were named"),
    ({"x.tsv": "a\tb\n"}, ("0", "1"), r"x.tsv, row 1: 2 columns; columns 0 and 1 are needed"),
    ({"x.tsv": "a\tb\n"}, ("1", "3"), r"x.tsv, row 1: 2 columns; columns 1 and 3 are needed"),
    ({"x.jsonl": '{"a": {"b": "c"}, "d": "e"}\n'}, ("a.b", "f"), r"no column 'f' \(its columns: a.b, d\)"),
    ({"x.jsonl": "\n" + "[" * 100_000}, (), "x.jsonl, line 2: not valid JSON"),
    ({"x.en": "a\n", "x.de": "b\n", "x.fr": "c\n"}, (), "two aligned text files or from tables .*x.fr"),
    ({"x.en": "a\n", "x.tsv": "b\tc\n"}, (), "two aligned text files or from tables"),
]


@pytest.mark.parametrize(("files", "columns", "message"), FAULTS)
def test_a_fault_is_named(tmp_path: Path, files: dict[str, str], columns: tuple[str, ...], message: str) -> None:
    paths = [write(tmp_path / name, text) for name, text in files.items()]
    with pytest.raises(LimelightError, match=message):
        list(read_pairs(paths, columns))


def test_a_damaged_archive_and_a_missing_file(tmp_path: Path) -> None:
    packed = tmp_path / "x.tsv.gz"
    packed.write_bytes(gzip.compress(b"a\tb\n" * 1000)[:-20])
    with pytest.raises(FileError, match="damaged"):
        list(read_pairs([packed]))
    packed.write_bytes(b"a\tb\n")
    with pytest.raises(FileError, match="damaged"):
        list(read_pairs([packed]))
    with pytest.raises(FileError, match=r"no such file; did you mean 'x\.tsv\.gz'"):
        list(read_pairs([tmp_path / "x.tsv"]))
    with pytest.raises(FileError, match="if you mean a data set of the hub, write hub:"):
        list(read_pairs(["someone/dataset"]))
    with pytest.raises(RequestError, match="got nothing"):
        list(read_pairs([]))


def test_a_line_longer_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "LINE_LIMIT", 100)
    with pytest.raises(FileError, match="a line of more than 100 bytes"):
        list(read_pairs([write(tmp_path / "x.tsv", "a\t" + "b" * 99)]))
    assert list(read_pairs([write(tmp_path / "x.tsv", "a\t" + "b" * 98)])) == [("a", "b" * 98)]


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 18])
def test_texts_come_back_whole_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(data, "PIECE", piece)
    monkeypatch.setattr(data, "LINE_LIMIT", 64)
    first, second = "Zwölf Äpfel\r\nund € drei\n\nEnde", "zweitens " * 30 + "\n"
    (tmp_path / "b").mkdir()
    write(tmp_path / "b" / "2.txt.gz", second)
    write(tmp_path / "1.md", first)
    (tmp_path / "no.bin").write_bytes(b"\xff")
    pieces = list(read_texts([tmp_path]))
    documents = "".join(text + ("\0" if last else "") for text, last in pieces).split("\0")
    assert documents == [first.replace("\r\n", "\n"), second, ""]
    assert all(text for text, _ in pieces)


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the front; behind it the same character is a space of no width."""
    monkeypatch.setattr(data, "PIECE", 8)
    for text in (
        "ein\nzwei\n\ufeffdrei\n",
        "eins\n\ufeffzwei\n",
    ):  # the second mark begins a piece where there are 8 bytes
        path = write(tmp_path / "x.txt", f"\ufeff{text}")
        assert "".join(text for text, _ in read_texts([path])) == text


@pytest.mark.parametrize("piece", [1, 2, 5, 16, 1 << 18])
def test_only_a_line_beyond_the_limit_is_cut_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(data, "PIECE", piece)
    short = "one two three\nfour\n\nfive six seven eight nine\n" * 3
    path = write(tmp_path / "x.txt", short)
    assert all(text.endswith("\n") for text, _ in read_texts([path]))
    monkeypatch.setattr(data, "LINE_LIMIT", 16)
    pieces = [text for text, _ in read_texts([path])]
    assert "".join(pieces) == short
    assert all(text.endswith((" ", "\n")) for text in pieces)  # never within a word


@pytest.mark.parametrize("piece", [1, 4, 1 << 18])
def test_faults_of_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(data, "PIECE", piece)
    with pytest.raises(FileError, match="no text file"):
        list(read_texts([tmp_path]))
    with pytest.raises(FileError, match="empty"):
        list(read_texts([write(tmp_path / "x.txt", "")]))
    with pytest.raises(FileError, match=r"x\.txt, line 3: not UTF-8"):
        list(read_texts([write(tmp_path / "x.txt", b"a\nb\nc\xe4\nd\n")]))


def test_running_text_is_cut_behind_the_last_whole_line_of_a_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "PIECE", 8)
    path = write(tmp_path / "x.text", "ab\ncd\nefgh\nijklmnop\nq\n")
    pieces = [("ab\ncd\n", False), ("efgh\n", False), ("ijklmnop\n", False), ("q\n", True)]
    assert list(read_texts([path, write(tmp_path / "y.md", "r\n")])) == [*pieces, ("r\n", True)]
    assert list(read_texts([tmp_path])) == [*pieces, ("r\n", True)]
    monkeypatch.setattr(data, "LINE_LIMIT", 8)
    assert list(read_texts([write(tmp_path / "z.txt", "abc def ghi jkl mno")])) == [
        ("abc ", False),  # the last piece must not be empty, and a space may still be it
        ("def ghi ", False),
        ("jkl mno", True),
    ]


def test_what_is_no_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "near.txt").touch()
    (tmp_path / "empty").mkdir()
    os.mkfifo("pipe")
    for name, why in (
        ("neer.txt", "neer.txt: no such file; did you mean 'near.txt'?"),
        ("far", "far: no such file"),
        ("a/b/c", "a/b/c: no such file"),
        ("a/b.csv", "a/b.csv: no such file"),
        (str(tmp_path / "far"), f"{tmp_path / 'far'}: no such file"),
        ("a/b", "a/b: no such file; if you mean a data set of the hub, write hub:a/b"),
        ("pipe", "pipe is no ordinary file; what is learned from is read more than once, so save it to one"),
        ("empty", "empty: no text file (.txt, .md, .text, also .gz and .xz) in this folder"),
        ("x" * 300, "x" * 300 + ": no such file"),
    ):
        with pytest.raises(FileError) as refused:
            list(read_texts([name]))
        assert str(refused.value) == why


def test_what_are_no_pairs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tables = "(.tsv, .csv, .jsonl, .po)"
    many = ",".join(f"c{number}" for number in range(25))
    for files, columns, why in (
        ({"a.txt": "x"}, (), f"pairs are read from two aligned text files or from tables {tables}; got a.txt"),
        ({}, (), f"pairs are read from two aligned text files or from tables {tables}; got nothing"),
        ({"a.csv": "a,b"}, ("a", "b", "c"), "3 columns were named; a pair takes two: source,target"),
        ({"a.tsv": " \t ", "b.tsv": "\t"}, (), "a.tsv and b.tsv: no sentence pair in there"),
        (
            {"a.en": "1\n" * 1234, "a.de": "1"},
            (),
            "a.en has 1,234 lines and a.de has 1; line n of one must translate line n of the other",
        ),
        (
            {"a.csv": many},
            ("c0", "x"),
            f"a.csv: no column 'x' (its columns: {', '.join(f'c{number}' for number in range(20))})",
        ),
        ({"a.jsonl": '{"a": 3, "b": "x"}'}, ("a", "b"), "a.jsonl, line 1: 'a' holds int, not text"),
        ({"a.jsonl": '\n"x"'}, (), "a.jsonl, line 2: holds str, not a JSON object"),
        ({"a.po": "\n" + "x" * 50}, (), f"a.po, line 2: not a line of a .po file: {'x' * 40!r}"),
        (
            {"a.tsv": b"\xe4\tb"},
            (),
            "a.tsv, line 1: not UTF-8 (byte 0xe4); convert the file to UTF-8 first",
        ),
    ):
        for name, text in files.items():
            write(Path(name), text)
        with pytest.raises(LimelightError) as refused:
            list(read_pairs(list(files), columns))
        assert str(refused.value) == why
    folder = Path("folder.tsv")
    folder.mkdir()
    with pytest.raises(FileError, match=r"^folder\.tsv: cannot be read \(Is a directory\)$"):
        list(read_pairs([folder]))

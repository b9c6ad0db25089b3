"""Marian's shortlists: which words may be written, and which files are none."""

import struct
from pathlib import Path

import pytest

from limelight.errors import TextError
from limelight.text import shortlist
from limelight.text.shortlist import MAGIC, Shortlist


def write(path: Path, starts: list[int], words: list[int], *, first: int = 3, magic: int = MAGIC) -> Path:
    head = struct.pack("<6Q", magic, 99, first, 50, len(starts), len(words))
    path.write_bytes(head + struct.pack(f"<{len(starts)}Q", *starts) + struct.pack(f"<{len(words)}I", *words))
    return path


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    found = shortlist.read(write(tmp_path / "lex", [0, 2, 3], [5, 19, 4]), 20)
    assert (found.first, list(found.starts), list(found.words), found.vocab) == (3, [0, 2, 3], [5, 19, 4], 20)
    empty = shortlist.read(write(tmp_path / "lex", [0], [], first=20), 20)
    assert (empty.first, list(empty.starts), list(empty.words), empty.vocab) == (20, [0], [], 20)


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ([], [0, 1, 2, 3, 4, 5, 6, 7]),  # the likeliest fill up eight
        ([0], [0, 1, 2, 3, 4, 5, 6, 19]),
        ([1], [0, 1, 2, 3, 4, 5, 6, 7]),
        ([2], [0, 1, 2, 10, 11, 12, 13, 14]),
        ([0, 2], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 19]),
        ([3, 4, 50], [0, 1, 2, 3, 4, 5, 6, 7]),  # words of the source that the file does not have
    ],
)
def test_words_are_allowed_by_those_of_the_source_in_eights(source: list[int], allowed: list[int]) -> None:
    assert Shortlist(3, [0, 1, 2, 7], [19, 4, 10, 11, 12, 13, 14], 20).allowed(source) == allowed
    assert Shortlist(3, [0], [], 5).allowed([0]) == [0, 1, 2, 3, 4]  # there are no more


@pytest.mark.parametrize(
    ("starts", "words", "first"),
    [
        ([0, 2, 1], [5, 6], 3),
        ([0, 1], [5, 6], 3),  # words behind the last list
        ([0, 3], [5, 6], 3),
        ([0, 2], [5, 20], 3),
        ([0, 2], [5, 6], 21),
    ],
)
def test_lists_that_do_not_fit_a_vocabulary_are_refused(
    starts: list[int], words: list[int], first: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "lex", starts, words, first=first)
    with pytest.raises(TextError, match=r"lex is damaged: it lists words that the vocabulary of 20 does not have$"):
        shortlist.read(path, 20)


def test_what_is_no_shortlist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "lex", [], [])
    for says, wrong in (
        ("is no shortlist of Marian's, or damaged: its numbers do not fit its 48 bytes", path.read_bytes()),  # no list
        ("is no shortlist of Marian's, or damaged: its numbers do not fit its 49 bytes", path.read_bytes() + b"x"),
        ("is damaged: it ends within its header", path.read_bytes()[:47]),
    ):
        path.write_bytes(wrong)
        with pytest.raises(TextError, match=f"lex {says}$"):
            shortlist.read(path, 20)
    with pytest.raises(TextError, match=r"lex is no shortlist of Marian's, or damaged: .* its 64 bytes"):
        shortlist.read(write(tmp_path / "lex", [0, 0], [], magic=MAGIC + 1), 20)
    size = write(path, [0, 1], [5]).stat().st_size
    monkeypatch.setattr(shortlist, "_LARGEST", size)
    assert list(shortlist.read(path, 20).words) == [5]
    monkeypatch.setattr(shortlist, "_LARGEST", size - 1)
    with pytest.raises(TextError, match=rf"lex has {size} bytes; at most {size - 1} are read$"):
        shortlist.read(path, 20)
    with pytest.raises(TextError, match=r"other cannot be read: No such file or directory$"):
        shortlist.read(tmp_path / "other", 20)

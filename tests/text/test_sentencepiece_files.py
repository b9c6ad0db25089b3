"""SentencePiece's files byte by byte: what is read of a message, and the tokenizer that is made of it."""

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from limelight.errors import TextError
from limelight.text import sentencepiece
from limelight.text.kinds import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER
from limelight.text.sentencepiece import BPE, UNIGRAM, Pieces


def number(value: int) -> bytes:
    """As protocol buffers write it: seven bits a byte, the lowest first."""
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + number(value >> 7)


def field(name: int, value: int | float | bytes | str) -> bytes:
    match value:
        case int():
            return number(name << 3) + number(value)
        case float():
            return number(name << 3 | 5) + struct.pack("<f", value)
        case str():
            return field(name, value.encode())
    return number(name << 3 | 2) + number(len(value)) + value


def piece(spelled: str, *rest: bytes) -> bytes:
    return field(1, field(1, spelled) + b"".join(rest))


def read(path: Path, *fields: bytes) -> Pieces:
    (path / "m.spm").write_bytes(b"".join(fields))
    return sentencepiece.read(path / "m.spm")


def test_what_a_file_does_not_say_is_as_sentencepiece_has_it(tmp_path: Path) -> None:
    what = f"the SentencePiece model {tmp_path / 'm.spm'}"
    plain = read(tmp_path, piece("é"))
    assert plain == Pieces(("é",), (0.0,), (NORMAL,), UNIGRAM, b"", True, True, False, what)
    rules = bytes(range(200))
    whole = read(
        tmp_path,
        piece("<unk>", field(3, UNKNOWN)),
        field(2, field(3, BPE) + field(24, 0) + field(10, 2**64 - 1)),  # the widest number that there is
        number(7 << 3 | 1) + b"12345678",  # fields of every kind that say nothing of the pieces
        number(300 << 3 | 5) + b"1234",
        field(3, field(1, "nmt") + field(2, rules) + field(3, 0) + field(4, 0) + field(5, 1)),
        piece("<0x0A>", field(2, -2.5), field(3, BYTE)),
    )
    spelled = ("<unk>", "<0x0A>")
    assert whole == Pieces(spelled, (0.0, -2.5), (UNKNOWN, BYTE), BPE, rules, False, False, True, what)
    assert (read(tmp_path, piece("a"), field(3, field(3, 0))).spaced, whole.trimmed) == (False, False)
    trimmed = read(tmp_path, piece("a"), field(3, field(4, 0)))
    assert (trimmed.spaced, trimmed.trimmed) == (True, False)


UNREAD = "is of a kind that limelight does not read: it knows Unigram and BPE over spaced words"
NONE = "is damaged: it is no message of SentencePiece"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ([piece("a"), field(2, field(24, 1))], UNREAD),  # from the right to the left
        ([piece("a"), field(3, field(5, 0))], UNREAD),  # spaces that stay spaces
        ([piece("a"), field(2, field(3, 3))], UNREAD),
        ([piece("a"), field(2, field(3, 0))], UNREAD),
        ([], "has 0 pieces; a tokenizer has from 1 to 2,000,000"),
        ([piece("a"), piece("b"), piece("a")], "is damaged: it has a piece twice"),
        ([b"\x80"], NONE),
        ([piece("a"), number(9 << 3) + b"\x80" * 10 + b"\x01"], NONE),  # a number of more than ten bytes
        ([piece("a")[:-1]], NONE),
        ([piece("a"), number(7 << 3 | 1) + b"1234567"], NONE),
        ([piece("a"), number(7 << 3 | 3)], NONE),
        ([field(1, 5)], NONE),
        ([field(1, field(2, -1.0))], NONE),
        ([piece("a", field(2, b"12"))], NONE),
        ([piece("a"), field(3, field(2, "x")), field(2, field(3, "x"))], NONE),
    ],
)
def test_what_is_not_read_is_refused_in_a_sentence(fields: list[bytes], says: str, tmp_path: Path) -> None:
    with pytest.raises(TextError) as refused:
        read(tmp_path, *fields)
    assert str(refused.value) == f"the SentencePiece model {tmp_path / 'm.spm'} {says}"


def test_a_file_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = [piece("a"), piece("b")]
    size = len(b"".join(two))
    monkeypatch.setattr(sentencepiece, "_LARGEST", size)
    monkeypatch.setattr(sentencepiece, "LONGEST_VOCABULARY", 2)
    assert read(tmp_path, *two).spelled == ("a", "b")
    monkeypatch.setattr(sentencepiece, "LONGEST_VOCABULARY", 1)
    with pytest.raises(TextError, match=r"m\.spm has 2 pieces; a tokenizer has from 1 to 1$"):
        read(tmp_path, *two)
    monkeypatch.setattr(sentencepiece, "_LARGEST", size - 1)
    with pytest.raises(TextError, match=rf"m\.spm has {size} bytes; at most {size - 1} are read$"):
        read(tmp_path, *two)
    with pytest.raises(TextError, match=r"other\.spm cannot be read: No such file or directory$"):
        sentencepiece.read(tmp_path / "other.spm")


TYPES = {
    "<unk>": UNKNOWN,
    "<s>": CONTROL,
    "▁": NORMAL,
    "a": NORMAL,
    "▁a": NORMAL,
    "ba": USER,
    "<0x61>": BYTE,
    "b": UNUSED,
}
PIECES = Pieces(
    tuple(TYPES),
    (0.0, 0.0, -1.0, -2.0, -1.5, -3.0, -4.0, 0.0),
    tuple(TYPES.values()),
    UNIGRAM,
    b"",
    True,
    True,
    True,
    "it",
)
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
TRIMMED = [
    {"type": "Strip", "strip_left": True, "strip_right": True},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
]


def built(pieces: Pieces, ids: dict[str, int] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sentencepiece.build(pieces, ids).to_str())
    return found


def test_a_unigram_never_cuts_a_text_into_what_is_no_part_of_texts() -> None:
    found = built(PIECES)
    never = -1004.0  # a thousand below the least score of all
    assert found["model"] == {
        "type": "Unigram",
        "unk_id": 0,
        "vocab": [
            *(["<unk>", never], ["<s>", never], ["▁", -1.0], ["a", -2.0]),
            *(["▁a", -1.5], ["ba", -3.0], ["<0x61>", -4.0], ["b", never]),
        ],
        "byte_fallback": True,
    }
    assert found["normalizer"] == {"type": "Sequence", "normalizers": TRIMMED}
    assert found["pre_tokenizer"] == METASPACE
    assert found["decoder"] == {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, METASPACE]}
    assert (found["added_tokens"], found["post_processor"]) == ([], None)
    bare = built(replace(PIECES, spaced=False, trimmed=False, bytes=False))
    never_spaced = METASPACE | {"prepend_scheme": "never"}
    assert (bare["pre_tokenizer"], bare["decoder"], bare["normalizer"]["normalizers"]) == (
        never_spaced,
        never_spaced,
        [],
    )
    assert bare["model"]["byte_fallback"] is False


def test_byte_pairs_join_plain_pieces_alone() -> None:
    assert built(replace(PIECES, kind=BPE))["model"] == {
        "type": "BPE",
        "dropout": None,
        "unk_token": "<unk>",
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": {name: id for id, name in enumerate(TYPES)},
        "merges": [["▁", "a"]],
    }


def test_a_vocabulary_of_the_models_own_has_other_numbers() -> None:
    ids = {"x": 0, "▁": 1, "<unk>": 2, "a": 3}
    assert sentencepiece.lacking(PIECES, ids) == ["▁a", "ba", "<0x61>"]
    unigram = built(PIECES, ids)["model"]
    assert unigram["vocab"] == [["x", -1004.0], ["▁", -1.0], ["<unk>", -1004.0], ["a", -2.0]]
    assert unigram["unk_id"] == 2
    pairs = built(replace(PIECES, kind=BPE), ids)["model"]
    assert (pairs["vocab"], pairs["merges"]) == (ids, [])


@pytest.mark.parametrize(
    ("types", "ids", "says"),
    [
        ((CONTROL, *PIECES.types[1:]), None, "it has no unknown piece, or none that the vocabulary has"),
        (PIECES.types, {"a": 0}, "it has no unknown piece, or none that the vocabulary has"),
        (PIECES.types, {"<unk>": 0, "a": 2}, "it: the numbers of its vocabulary are not those from 0 to 1"),
        (PIECES.types, {"<unk>": 1, "a": 1}, "it: the numbers of its vocabulary are not those from 0 to 1"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused(
    types: tuple[int, ...], ids: dict[str, int] | None, says: str
) -> None:
    with pytest.raises(TextError, match=f"^{says}$"):
        sentencepiece.build(replace(PIECES, types=types), ids)


def test_a_vocabulary_is_an_object_of_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("v.json")
    monkeypatch.setattr(sentencepiece, "LONGEST_VOCABULARY", 2)
    assert sentencepiece.vocabulary(path, {"a": 0, "b": 7}) == {"a": 0, "b": 7}
    for values in ([], {}, None, ["a"], {"a": 0, "b": 1, "c": 2}):
        with pytest.raises(TextError, match=r"^v\.json is damaged: it is no vocabulary of 1 to 2 pieces$"):
            sentencepiece.vocabulary(path, values)
    for wrong in (True, 1.0, "1", None):
        with pytest.raises(TextError, match=r"^v\.json is damaged: the number of the piece 'b' is none$"):
            sentencepiece.vocabulary(path, {"a": 0, "b": wrong})

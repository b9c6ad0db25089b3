"""Rules of tokenizers, tried on texts of every kind: which are refused, and up to what they may ask."""

import base64
import json
import string
from typing import Any

import pytest

from limelight.errors import TextError
from limelight.text import trial as module
from limelight.text.trial import trial


def tried(**rules: Any) -> None:
    trial(json.dumps(rules), "it")


def replace(pattern: str, count: int) -> dict[str, Any]:
    """A rule that writes so many "_" for whatever a regular expression matches."""
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": "_" * count}


def sequence(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(rules)}


@pytest.mark.parametrize("sign", ["a", "A", "1", " ", ".", "é", "中", "▁", "\n"])
def test_what_grows_by_a_run_of_one_character_is_refused(sign: str) -> None:
    # 100 of them and a "!": 101 characters may become a hundred times as many, and those of eleven pieces.
    rule = f"\\x{{{ord(sign):X}}}"
    tried(normalizer=replace(rule, 111))
    with pytest.raises(TextError, match=r"^it makes 11,201 characters of 101$"):
        tried(normalizer=replace(rule, 112))


@pytest.mark.parametrize(
    ("pattern", "count", "says"),
    [
        ("b {2}c", 900, "makes 9,030 characters of 70"),
        ("n.t we", 1400, "makes 14,060 characters of 120"),
        ("1.0{3}", 1000, "makes 10,030 characters of 80"),
        (r"\x{1F600}e\x{301}ß中文", 1100, "makes 11,030 characters of 90"),
        ("[G-V]", 800, f"makes 12,884 characters of {len(string.printable)}"),
        (r"\x{0}", 1201, "makes 1,201 characters of 1"),
    ],
)
def test_what_grows_by_a_text_of_some_kind_is_refused(pattern: str, count: int, says: str) -> None:
    with pytest.raises(TextError, match=f"^it {says}$"):
        tried(normalizer=replace(pattern, count))


@pytest.mark.parametrize("piece", ["▁a", "a</w>", "##a", "Ġa", "<0xE2>", "<0x41>", "é", " ", "a"])
def test_what_grows_by_a_piece_is_refused_as_a_decoder(piece: str) -> None:
    times = 2 if piece == "a" else 1  # the first and the last of the pieces, which have 28 characters; the text has one
    count = 29 - times * len(piece) + 1200
    with pytest.raises(TextError, match=f"^it makes {count:,} characters of 1$"):
        tried(decoder=replace(rf"\A{piece}\z", 1200 // times))


def test_rules_multiply() -> None:
    never = "\u1234"
    tried(normalizer=sequence(replace(never, 99), replace(never, 99)))
    for rules in (
        {"normalizer": sequence(replace(never, 99), replace(never, 100))},
        {"normalizer": replace(never, 99), "decoder": replace(never, 100)},
        {"normalizer": replace(never, 10_000)},
    ):
        with pytest.raises(TextError, match=r"^it has rules that can make 1e\+04 characters of one$"):
            tried(**rules)
    plain = [{"type": "Replace", "pattern": {"String": sign}, "content": "_" * 200} for sign in "ᄀᄁᄂ"]
    tried(normalizer=sequence(*plain))  # what they replace is tried itself


def test_tables_of_characters_count_by_their_longest_text() -> None:
    def growth(*texts: bytes) -> float:
        table = (8).to_bytes(4, "little") + b"yyyyyyyy" + b"\0".join(texts)
        return module._growth({"precompiled_charsmap": base64.b64encode(table).decode()})

    assert growth(b"xx") == 1.0
    assert growth(b"xxxxxx") == 2.0  # a character of Unicode that grows has three bytes at most
    assert growth(b"x", b"x" * 30, b"xxx") == 10.0
    assert module._growth({"precompiled_charsmap": "no base64"}) == 1.0
    assert module._growth({"pattern": {"Regex": "x"}, "content": 7}) == 1.0
    assert module._growth({"pattern": {"Regex": "x"}, "content": ""}) == 1.0


def test_the_own_texts_of_rules_are_tried() -> None:
    """Each ten times, and all of them one behind the other."""

    def rule(pattern: str, count: int) -> dict[str, Any]:
        return {"type": "Replace", "pattern": {"String": pattern}, "content": "_" * count}

    with pytest.raises(TextError, match=r"^it makes 3,200 characters of 20$"):
        tried(normalizer=rule("qz", 320))
    tried(normalizer=rule("qz", 310))
    # Of a long text, its first hundred characters.
    with pytest.raises(TextError, match=r"^it makes 110,000 characters of 1,000$"):
        tried(normalizer=sequence(rule("k" * 60 + "j" * 60, 1), replace("[kj]{10}", 1100)))
    # What two of them make together: here "qq k", which none of them holds.
    tried(normalizer=sequence(rule("qq", 2), replace("q{2}  ", 1)))


def test_a_thousand_tokens_may_stand_around_a_text() -> None:
    def around(count: int) -> dict[str, Any]:
        return {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"x": {"id": "x", "ids": [0] * count, "tokens": ["x"] * count}},
        }

    tried(post_processor=around(1000))
    with pytest.raises(TextError, match=r"^it puts 1,001 tokens around every text$"):
        tried(post_processor=around(1001))


def test_what_the_library_does_not_know_is_said_in_its_words() -> None:
    with pytest.raises(TextError, match=r"^it is damaged or of a newer kind: data did not match any variant"):
        tried(normalizer={"type": "Nonsense"})
    tried(normalizer=None, pre_tokenizer={"type": "Whitespace"}, decoder=None)
    tried()

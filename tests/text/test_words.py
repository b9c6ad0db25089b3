"""Tokens to words: what a person sees, in one piece, with every token in one place."""

import functools
import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from tiny import MIXED, TEXTS, byte_level, byte_level_metadata, sentence_piece, sentence_piece_metadata, word_piece

from limelight.errors import RequestError
from limelight.text.parts import Parts
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import Word, find, firsts, pieces, words


@functools.cache
def _tokenizer(kind: str) -> Tokenizer:
    if kind == "byte-level":
        return Tokenizer.from_gguf(byte_level_metadata(byte_level("gpt-2"), "gpt-2"))
    if kind == "wordpiece":
        return Tokenizer(Parts(word_piece(), unk="[UNK]"))
    return Tokenizer.from_gguf(sentence_piece_metadata(sentence_piece()))


def _characters(text: str) -> list[tuple[int, int]]:
    """One token a character: the finest that a tokenizer can be, so that the words alone decide."""
    return [(at, at + 1) for at in range(len(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat sat on the mat.", ["The", "cat", "sat", "on", "the", "mat", "."]),
        ("don't we'll it’s l'été 'tis dogs'", ["don't", "we'll", "it’s", "l'été", "'", "tis", "dogs", "'"]),
        ('"Wait..." she said -- no!!', ['"', "Wait", "...", '"', "she", "said", "--", "no", "!!"]),
        ("pi is 3.14, or 1,000.50.", ["pi", "is", "3.14", ",", "or", "1,000.50", "."]),
        ("well-known a_b x*2", ["well", "-", "known", "a_b", "x", "*", "2"]),
        ("中文测试 かな", ["中", "文", "测", "试", "か", "な"]),
        ("I like 中文.", ["I", "like", "中", "文", "."]),
        ("한국어 텍스트", ["한국어", "텍스트"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("cafe\u0301s e\u0301'a", ["cafe\u0301s", "e\u0301'a"]),
        ("👩‍👩‍👧😀😀👍🏽 🇫🇷🇩🇪 ❤️", ["👩‍👩‍👧", "😀", "😀", "👍🏽", "🇫🇷", "🇩🇪", "❤️"]),
        ("  a \n\n b  ", ["a", "b"]),
        ("", []),
        (
            "ab\u0301c a\u0903b a\u20ddb a\u00adb 👍🏻👍🏿",
            ["ab\u0301c", "a\u0903b", "a\u20ddb", "a\u00adb", "👍🏻", "👍🏿"],
        ),
        ("a\u303fb a\u3105b", ["a", "\u303f", "b", "a\u3105b"]),
        *(
            (f"a{first}{last}b", ["a", first, last, "b"])
            for first, last in (
                *(("\u3041", "\u30ff"), ("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uf900", "\ufad9")),
                ("\U00020000", "\U000323af"),
            )
        ),
        ("🇦🇿🇿 🇦a🇦", ["🇦🇿", "🇿", "🇦", "a", "🇦"]),
        (
            "rock'n'roll 1,2,3 1.a a.1 '' 3'4 x''y",
            ["rock'n'roll", "1,2,3", "1", ".", "a", "a", ".", "1", "''", "3", "'", "4", "x", "''", "y"],
        ),
    ],
)
def test_words_are_what_a_person_sees(text: str, expected: list[str]) -> None:
    assert [word.text for word in words(text, _characters(text))] == expected


def test_a_token_over_a_boundary_joins_the_words() -> None:
    assert [word.text for word in words("f(x): y", [(0, 1), (1, 2), (2, 3), (3, 5), (5, 7)])] == [
        "f",
        "(",
        "x",
        "):",
        "y",
    ]
    joined = words("中国人 of", [(0, 2), (2, 3), (3, 6)])
    assert [(word.text, word.tokens) for word in joined] == [
        ("中国", range(1)),
        ("人", range(1, 2)),
        ("of", range(2, 3)),
    ]


def test_white_space_goes_with_the_word_behind_it_and_at_the_end_with_the_one_before() -> None:
    found = words("a   b  ", [(0, 1), (1, 3), (3, 5), (5, 7)])
    assert [(word.text, word.tokens) for word in found] == [("a", range(1)), ("b", range(1, 4))]


def test_text_of_white_space_alone_is_one_word() -> None:
    (word,) = words(" \n ", [(0, 2), (2, 3)])
    assert (word.text, word.start, word.end, word.tokens) == (" \n ", 0, 3, range(2))


def test_special_tokens_belong_to_no_word() -> None:
    found = words("a b", [(0, 0), (0, 1), (1, 3), (0, 0)])
    assert [word.tokens for word in found] == [range(1, 2), range(2, 3)]


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece", "wordpiece"])
@settings(max_examples=80, deadline=None)
@given(text=TEXTS)
def test_words_partition_the_tokens(kind: str, text: str) -> None:
    offsets = _tokenizer(kind).encode(text).offsets
    assert all(0 <= start <= end <= len(text) for start, end in offsets)
    found = words(text, offsets)
    held = [token for word in found for token in word.tokens]
    assert [token for token in held if offsets[token][0] < offsets[token][1]] == [
        token for token, (start, end) in enumerate(offsets) if start < end
    ]
    assert len(held) == len(set(held))
    for word in found:
        assert text[word.start : word.end] == word.text != ""
        for token in word.tokens:
            start, end = offsets[token]
            outside = text[start : max(start, word.start)] + text[min(end, max(word.end, start)) : end]
            assert outside.strip() == "" or start == end
    assert all(before.end <= after.start for before, after in itertools.pairwise(found))


def test_tokens_as_words_of_their_own() -> None:
    def found(text: str, offsets: list[tuple[int, int]]) -> list[tuple[str, int, int, range]]:
        return [(piece.text, piece.start, piece.end, piece.tokens) for piece in pieces(text, offsets)]

    assert found("", []) == []
    assert found("  ", [(0, 1), (1, 2)]) == []
    one = ("a", 2, 3, range(3))  # with what is in front of it, be it white space or a special token
    assert found("  a b ", [(0, 0), (0, 1), (1, 3), (3, 5)]) == [one, ("b", 4, 5, range(3, 4))]
    assert found("  a b ", [(0, 0), (0, 1), (1, 3), (3, 5), (5, 6), (6, 6)]) == [one, ("b", 4, 5, range(3, 6))]
    assert found("x👩y", [(0, 1), (1, 2), (1, 2), (2, 3)]) == [
        ("x", 0, 1, range(1)),
        ("👩", 1, 2, range(1, 3)),
        ("y", 2, 3, range(3, 4)),
    ]


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece", "wordpiece"])
@settings(max_examples=40, deadline=None)
@given(text=TEXTS)
def test_pieces_hold_every_token_once_and_all_visible_text(kind: str, text: str) -> None:
    offsets = _tokenizer(kind).encode(text).offsets
    found = pieces(text, offsets)
    covered = {at for start, end in offsets for at in range(start, end)}
    visible = {at for at in covered if not text[at].isspace()}
    assert visible <= {at for piece in found for at in range(piece.start, piece.end)}
    assert [token for piece in found for token in piece.tokens] == (list(range(len(offsets))) if visible else [])
    for piece in found:
        assert text[piece.start : piece.end] == piece.text == piece.text.strip() != ""
    assert all(before.end <= after.start for before, after in itertools.pairwise(found))


@settings(max_examples=80, deadline=None)
@given(text=TEXTS)
def test_byte_level_tokens_cover_the_text_exactly(text: str) -> None:
    tokenizer = _tokenizer("byte-level")
    encoding = tokenizer.encode(text)
    reached = 0
    for id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        assert start <= reached <= end > start  # each goes on where the last ended, or shares its last character
        whole = tokenizer.token(id)
        assert "\ufffd" in whole or text[start:end] == whole
        reached = end
    assert reached == len(text)


def test_offsets_of_a_mixed_text_round_trip() -> None:
    tokenizer = _tokenizer("sentencepiece")
    encoding = tokenizer.encode(MIXED)
    assert {at for start, end in encoding.offsets for at in range(start, end)} == set(range(len(MIXED)))


SENTENCE = "The cat sat on the mat: 7 of the 12 cats, it was Tired"
WORDS = words(SENTENCE, _characters(SENTENCE))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("cat", 1),
        ("the", 9),  # the last of several
        ("The", 0),  # exact case first
        ("tired", 15),
        (" it ", 13),
        ("2", 1),  # counted from 1
        ("7", 7),  # a word of the text, so not its seventh word, which is the colon
        ("12", 10),
    ],
)
def test_find(query: str, expected: int) -> None:
    assert find(WORDS, query) == expected


@pytest.mark.parametrize("query", ["cta", "0", "17", "", "²"])
def test_a_word_that_is_not_there_is_an_error_with_the_words(query: str) -> None:
    with pytest.raises(RequestError, match=r"1 The, 2 cat, 3 sat") as refused:
        find(WORDS, query)
    assert "did you mean 'cat'" in str(refused.value) or query != "cta"


def test_words_that_are_not_there_are_said_whole() -> None:
    def refused(count: int, query: Any, what: str = "word") -> str:
        listed = [Word(f"w{number}", 0, 0, range(0)) for number in range(1, count + 1)]
        with pytest.raises(RequestError) as error:
            find(listed, query, what)
        return str(error.value)

    assert refused(2, 3) == "there is no word 3: the words are numbered 1 to 2: 1 w1, 2 w2"
    assert refused(2, "0", "sentence") == "there is no sentence 0: the sentences are numbered 1 to 2: 1 w1, 2 w2"
    assert refused(1, "qqqq") == "no word is 'qqqq'; the words are: 1 w1"
    assert refused(1, "1" * 10) == "no word is '1111111111'; the words are: 1 w1"  # no number has so many digits
    assert refused(1, "1" * 9) == "there is no word 111111111: the words are numbered 1 to 1: 1 w1"
    for wrong in (True, 1.5, None):
        assert refused(1, wrong) == f"word is {wrong}; it must be a word of the text, or its number from 1"
    assert refused(40, 99).endswith("39 w39, 40 w40")
    assert refused(41, 99).endswith("39 w39, 40 w40, …")
    assert find(WORDS, 1) == 0
    assert find(WORDS, len(WORDS)) == len(WORDS) - 1


def test_the_first_token_of_each_word() -> None:
    offsets = [(0, 0), (0, 2), (2, 5), (5, 5), (6, 8), (8, 9)]
    assert firsts([(0, 2), (2, 5), (6, 9)], offsets) == [1, 2, 4]
    assert firsts([(0, 1), (1, 5), (5, 6), (8, 9), (9, 10)], offsets) == [1, 1, None, 5, None]
    assert firsts([(0, 1)], []) == [None]

"""The streaming detokeniser against decoding everything at once."""

import functools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import MIXED, byte_level, byte_level_metadata, sentence_piece, sentence_piece_metadata, word_piece

from limelight.text.parts import Parts
from limelight.text.stream import TextStream
from limelight.text.tokenizer import Tokenizer

KINDS = ["byte-level", "sentencepiece", "gemma", "wordpiece"]


@functools.cache
def _tokenizer(kind: str) -> Tokenizer:
    if kind == "byte-level":
        return Tokenizer.from_gguf(byte_level_metadata(byte_level("smollm"), "smollm"))
    if kind == "wordpiece":
        return Tokenizer(Parts(word_piece(), unk="[UNK]"))
    spaced = kind == "sentencepiece"
    return Tokenizer.from_gguf(sentence_piece_metadata(sentence_piece(spaced=spaced), spaced=spaced))


def _stream(tokenizer: Tokenizer, ids: list[int], *, special: bool = False) -> list[str]:
    stream = TextStream(tokenizer, special=special)
    return [*(stream.push(id) for id in ids), stream.close()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("special", [False, True])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_pieces_together_are_the_decoded_whole(kind: str, special: bool, data: st.DataObject) -> None:
    tokenizer = _tokenizer(kind)
    any_id = st.integers(0, tokenizer.vocab - 1)
    byte = st.integers(0, 270)  # where the bytes are, in all of these: broken characters of every kind
    ids = data.draw(st.one_of(st.lists(any_id, max_size=60), st.lists(byte, max_size=60)))
    assert "".join(_stream(tokenizer, ids, special=special)) == tokenizer.decode(ids, special=special)


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece", "gemma"])
@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="▁\0\ufffd"), max_size=40))
@example(text=MIXED)
@example(text="😀" * 20)
def test_no_piece_shows_half_a_character(kind: str, text: str) -> None:
    tokenizer = _tokenizer(kind)
    pieces = _stream(tokenizer, tokenizer.encode(text).ids)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_appears_with_its_last_byte_and_words_at_once() -> None:
    tokenizer = _tokenizer("byte-level")
    ids = tokenizer.encode("the cat 😀").ids
    pieces = _stream(tokenizer, ids)
    assert pieces[0] == "the"
    assert pieces[-2] == "😀"
    assert pieces[-1] == ""


def test_half_a_character_at_the_end_is_shown_on_closing() -> None:
    tokenizer = _tokenizer("byte-level")
    ids = tokenizer.encode("😀").ids[:-1]
    pieces = _stream(tokenizer, ids)
    assert pieces == [""] * len(ids) + ["\ufffd"]


def test_leading_spaces_survive_a_special_token() -> None:
    tokenizer = _tokenizer("sentencepiece")
    ids = [*tokenizer.encode("the cat").ids, tokenizer.separator, *tokenizer.encode("the mat").ids]
    assert "".join(_stream(tokenizer, ids)) == "the cat the mat" == tokenizer.decode(ids)


@pytest.mark.parametrize(("kind", "most"), [("byte-level", 1), ("sentencepiece", 40), ("wordpiece", 40)])
def test_the_cost_of_a_token_does_not_grow_with_the_text(kind: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = _tokenizer(kind)
    broken = tokenizer.encode("😀").ids[0]  # the worst case: never a whole character
    decode, decoded = tokenizer.decode, []

    def counted(ids: list[int], *, special: bool = False) -> str:
        decoded.append(len(ids))
        return decode(ids, special=special)

    monkeypatch.setattr(tokenizer, "decode", counted)
    stream = TextStream(tokenizer)
    for _ in range(2000):
        stream.push(broken)
    assert max(decoded) < most
    assert len(decoded) < 3 * 2000 * most


def test_a_token_that_was_added_is_written_as_it_is_spelled() -> None:
    """One with letters that stand for no byte in GPT-2's alphabet, such as a space, and one of such letters alone."""
    inner = byte_level("smollm")
    inner.add_tokens(["two words", "｜", "é"])
    tokenizer = Tokenizer(Parts(inner))
    ids = [tokenizer.vocab + 7, *tokenizer.encode("the two words｜é cat").ids]
    assert {"two words", "｜", "é"} <= {inner.id_to_token(id) for id in ids}
    assert "".join(_stream(tokenizer, ids)) == tokenizer.decode(ids) == "the two words｜� cat"
    assert tokenizer.written(2**32) == tokenizer.written(tokenizer.vocab + 7) == b""

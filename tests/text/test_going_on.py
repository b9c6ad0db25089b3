"""What a model adds to a text, joined to the text, reads as one text."""

import functools
from pathlib import Path
from typing import Any, cast

import pytest
import tokenizers
import torch
from decode.hashed_model import HashedModel
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import MIXED, byte_level, byte_level_metadata, sentence_piece, sentence_piece_metadata, unigram, word_piece
from tokenizers import decoders
from torch import Tensor

import limelight
from limelight.text.parts import Parts
from limelight.text.stream import TextStream
from limelight.text.tokenizer import Tokenizer

KINDS = ["byte-level", "sentencepiece", "gemma", "wordpiece", "unigram", "word ends"]
TEXT = "the cat sat on the mat because it was tired"
TEMPLATE = "{{ messages[0].content }}"


@functools.cache
def _tokenizer(kind: str) -> Tokenizer:
    match kind:
        case "byte-level":
            metadata = byte_level_metadata(byte_level("smollm"), "smollm")
            return Tokenizer.from_gguf(metadata | {"tokenizer.chat_template": TEMPLATE})
        case "wordpiece":
            return Tokenizer(Parts(word_piece(), unk="[UNK]", template=TEMPLATE))
        case "unigram":
            return Tokenizer(Parts(unigram(), unk="<unk>", template=TEMPLATE))
        case "word ends":  # as GPT-1 and CLIP: the space is part of the word before it
            words = {f"{word}</w>": id for id, word in enumerate(dict.fromkeys(TEXT.split()))}
            inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="the</w>"))
            inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
            inner.normalizer = tokenizers.normalizers.Replace(tokenizers.Regex(r"(?<=\w)(?=\s|$)"), "</w>")
            inner.decoder = decoders.BPEDecoder("</w>")
            return Tokenizer(Parts(inner, template=TEMPLATE))
    spaced = kind == "sentencepiece"
    metadata = sentence_piece_metadata(sentence_piece(spaced=spaced), spaced=spaced)
    return Tokenizer.from_gguf(metadata | {"tokenizer.chat_template": TEMPLATE})


class Reciter(HashedModel):
    """Goes on with the tokens of one text, whatever it was given of it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer.vocab)
        self.text = [*tokenizer.prefix, *tokenizer.encode(TEXT).ids]

    def scores(self, prefix: tuple[int, ...]) -> Tensor:
        said = self.text[len(prefix)] if len(prefix) < len(self.text) else 0
        return torch.nn.functional.one_hot(torch.tensor(said), self.vocab).float()


def _model(tokenizer: Tokenizer) -> tuple[limelight.Model, Any]:
    network = Reciter(tokenizer)
    return limelight.Model(cast("Any", network), tokenizer, "reciter", Path()), network


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given_words", [1, 3, 8])
def test_every_way_to_go_on_keeps_the_first_space(kind: str, given_words: int) -> None:
    tokenizer = _tokenizer(kind)
    model, network = _model(tokenizer)
    prompt = " ".join(TEXT.split()[:given_words])
    left = len(network.text) - len(tokenizer.prefix) - len(tokenizer.encode(prompt).ids)
    rest = TEXT.removeprefix(prompt)
    assert model.complete(prompt, max_tokens=left).text == rest
    assert "".join(model.stream(prompt, max_tokens=left)) == rest
    both = model.complete_all([prompt, "the cat"], max_tokens=left)
    assert both[0].text == rest
    assert both[1].text.startswith(" s")
    assert model.complete(prompt, max_tokens=left, stop=[rest[:2]]).text == ""
    if not tokenizer.prefix:  # a conversation is rendered with all of its control tokens
        said = [{"role": "user", "content": prompt}]
        assert "".join(model.chat(said, max_tokens=left)) == rest


def test_a_text_that_begins_has_no_space_in_front() -> None:
    tokenizer = _tokenizer("sentencepiece")
    model, _ = _model(tokenizer)
    assert model.complete("", max_tokens=100).text.startswith("the cat")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_text_and_pieces_together_are_the_decoded_whole(kind: str, data: st.DataObject) -> None:
    tokenizer = _tokenizer(kind)
    text = data.draw(st.sampled_from([TEXT, MIXED, "a", "the cat ", "é"]) | st.text("ab é▁.", max_size=12))
    before = [*tokenizer.prefix, *tokenizer.encode(text).ids]
    whole = st.integers(0, tokenizer.vocab - 1).filter(lambda token: token not in tokenizer.byte_pieces)
    ids = data.draw(st.lists(whole, max_size=40))
    stream = TextStream(tokenizer, after=before)
    pieces = "".join([*map(stream.push, ids), stream.close()])
    assert tokenizer.decode(before) + pieces == tokenizer.decode([*before, *ids])


@settings(max_examples=60, deadline=None)
@given(byte=st.lists(st.integers(0, 255), min_size=1, max_size=20))
@example(byte=[0xE2])
def test_broken_bytes_behind_whole_ones_do_not_touch_what_was_given(byte: list[int]) -> None:
    tokenizer = _tokenizer("sentencepiece")
    before = tokenizer.encode("the cat 🦜").ids
    assert before[-1] in tokenizer.byte_pieces
    pieces = [tokenizer.id(f"<0x{each:02X}>") for each in byte]
    stream = TextStream(tokenizer, after=before)
    told = "".join([*map(stream.push, pieces), stream.close()])
    assert told == bytes(byte).decode("utf-8", "replace") or set(told) == {"\ufffd"}

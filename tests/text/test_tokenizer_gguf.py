"""A tokenizer rebuilt from GGUF metadata against the one the metadata came from."""

import functools
from typing import Any

import pytest
import sentencepiece
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import (
    CONTROLS,
    MIXED,
    TEXTS,
    byte_level,
    byte_level_metadata,
    sentence_piece,
    sentence_piece_metadata,
)

from limelight.errors import TextError
from limelight.text.kinds import PRE, byte_level_bpe
from limelight.text.tokenizer import Tokenizer

PRES = ["gpt-2", "smollm", "llama-bpe", "qwen2"]


@functools.cache
def _pair(pre: str) -> tuple[Tokenizer, tokenizers.Tokenizer]:
    reference = byte_level(pre)
    return Tokenizer.from_gguf(byte_level_metadata(reference, pre)), reference


@functools.cache
def _spm_pair(spaced: bool) -> tuple[Tokenizer, sentencepiece.SentencePieceProcessor]:
    reference = sentence_piece(spaced=spaced)
    return Tokenizer.from_gguf(sentence_piece_metadata(reference, spaced=spaced)), reference


def _plain(reference: tokenizers.Tokenizer, text: str) -> list[int]:
    reference.encode_special_tokens = True
    return reference.encode(text).ids


@pytest.mark.parametrize("pre", PRES)
def test_byte_level_equals_the_reference_on_a_mixed_text(pre: str) -> None:
    ours, reference = _pair(pre)
    assert ours.encode(MIXED).ids == _plain(reference, MIXED)
    reference.encode_special_tokens = False
    assert ours.encode(MIXED, special=True).ids == reference.encode(MIXED).ids
    assert ours.vocab == reference.get_vocab_size()


@pytest.mark.parametrize("pre", PRES)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_byte_level_equals_the_reference_on_random_text(pre: str, text: str) -> None:
    ours, reference = _pair(pre)
    ids = ours.encode(text).ids
    assert ids == _plain(reference, text)
    assert ours.decode(ids) == reference.decode(ids)
    if pre != "qwen2":  # NFC changes the text
        assert ours.decode(ids) == text


def test_each_pre_tokenizer_cuts_its_own_way() -> None:
    cut = {pre: len(_pair(pre)[0].encode("1984 12345").ids) for pre in PRES}
    assert cut["smollm"] == len("1984 12345") == cut["qwen2"]
    assert cut["llama-bpe"] < cut["smollm"]


def test_ways_to_cut_words_have_several_names() -> None:
    """As llama.cpp writes them of models that cut words alike."""
    alike = [
        ("gpt-2", "default", "phi-2", "roberta-bpe", "olmo"),
        ("smollm", "starcoder", "refact"),
        ("llama-bpe", "llama3", "llama-v3"),
        ("qwen2", "deepseek-r1-qwen"),
        ("modern-bert",),
    ]
    cut = [{byte_level_bpe({}, [], name).to_str() for name in names} for names in alike]
    assert [len(ways) for ways in cut] == [1] * 5
    assert len(set().union(*cut)) == 5
    assert {name for names in alike for name in names} == set(PRE)


def test_turns_and_messages_end_by_tokens_of_their_own() -> None:
    metadata = byte_level_metadata(_pair("smollm")[1], "smollm")
    last = len(metadata["tokenizer.ggml.tokens"]) - 1
    told = {"tokenizer.ggml.eot_token_id": 300, "tokenizer.ggml.eom_token_id": last}
    assert Tokenizer.from_gguf(metadata | told).eos == Tokenizer.from_gguf(metadata).eos | {300, last}
    for wrong in (-1, last + 1, "x"):
        metadata["tokenizer.ggml.eot_token_id"] = wrong
        assert Tokenizer.from_gguf(metadata).eos == _pair("smollm")[0].eos


@pytest.mark.parametrize("spaced", [True, False])
def test_sentencepiece_equals_the_reference_on_a_mixed_text(spaced: bool) -> None:
    ours, reference = _spm_pair(spaced)
    assert ours.encode(MIXED).ids == reference.encode(MIXED)
    assert ours.decode(ours.encode(MIXED).ids) == MIXED


@pytest.mark.parametrize("spaced", [True, False])
@settings(max_examples=120, deadline=None)
@given(text=TEXTS)
def test_sentencepiece_equals_the_reference_on_random_text(spaced: bool, text: str) -> None:
    ours, reference = _spm_pair(spaced)
    if "\0" in text or "▁" in text:  # SentencePiece's own marks do not survive its round trip
        text = text.replace("\0", "").replace("▁", "")
    ids = ours.encode(text).ids
    assert ids == reference.encode(text)
    assert ours.decode(ids) == text


def test_sentencepiece_puts_its_bos_in_front_unless_told_otherwise() -> None:
    reference = sentence_piece()
    metadata = sentence_piece_metadata(reference)
    ours = Tokenizer.from_gguf(metadata)
    assert ours.prefix == (reference.bos_id(),)
    assert ours.separator == ours.bos == reference.bos_id()
    assert ours.eos == {reference.eos_id()}
    assert Tokenizer.from_gguf(metadata | {"tokenizer.ggml.add_bos_token": False}).prefix == ()
    assert Tokenizer.from_gguf(metadata | {"tokenizer.ggml.add_eos_token": True}).suffix == (reference.eos_id(),)


def test_the_roles_of_a_chat_model() -> None:
    ours, reference = _pair("smollm")
    of = reference.token_to_id
    assert ours.bos == of("<|im_start|>")
    assert ours.eos == {of("<|im_end|>"), of("<|endoftext|>")}
    assert ours.controls == {of(token) for token in CONTROLS}
    assert ours.separator == of("<|endoftext|>")
    assert ours.prefix == ours.suffix == ()
    assert ours.pad is None


def test_user_defined_tokens_are_whole_but_not_control_tokens() -> None:
    ours, reference = _pair("smollm")
    tool = reference.token_to_id("<tool>")
    assert tool in ours.encode("a <tool> b").ids
    assert tool not in ours.controls
    assert ours.decode([tool]) == "<tool>"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tokenizer.ggml.model": "plamo2"}, "'plamo2'"),
        ({"tokenizer.ggml.model": "rwkv"}, "damaged"),
        ({"tokenizer.ggml.model": "bert"}, "damaged"),
        ({"tokenizer.ggml.model": "t5"}, "scores"),
        ({"tokenizer.ggml.model": None}, "tokenizer.ggml.model"),
        ({"tokenizer.ggml.model": ["x"] * 1000}, "tokenizer.ggml.model is"),
        ({"tokenizer.ggml.pre": "x" * 1000}, "tokenizer.ggml.pre is"),
        ({"tokenizer.ggml.bos_token_id": ["x"] * 1000}, "bos_token_id is"),
        ({"tokenizer.ggml.pre": "qwen3"}, "did you mean 'qwen2'"),
        ({"tokenizer.ggml.pre": ["smollm"]}, "damaged"),
        ({"tokenizer.ggml.tokens": [1, 2]}, "tokenizer.ggml.tokens"),
        ({"tokenizer.ggml.tokens": []}, "tokenizer.ggml.tokens"),
        ({"tokenizer.ggml.tokens": ["a", "a"]}, "twice"),
        ({"tokenizer.ggml.merges": ["zz yy"]}, "damaged"),
        ({"tokenizer.ggml.merges": ["zz"]}, "damaged"),
        ({"tokenizer.ggml.merges": None}, "tokenizer.ggml.merges"),
        ({"tokenizer.ggml.token_type": [1]}, "token_type has 1 entries"),
        ({"tokenizer.ggml.token_type": "x"}, "token_type is not"),
        ({"tokenizer.ggml.bos_token_id": 10**9}, "bos_token_id"),
        ({"tokenizer.ggml.eos_token_id": -1}, "eos_token_id"),
        ({"tokenizer.ggml.model": "llama"}, "scores"),
    ],
)
def test_damaged_metadata_is_an_error_that_names_the_field(change: dict[str, Any], says: str) -> None:
    metadata = byte_level_metadata(_pair("smollm")[1], "smollm") | change
    with pytest.raises(TextError, match=says) as refused:
        Tokenizer.from_gguf(metadata)
    assert len(str(refused.value)) < 500


@settings(max_examples=40, deadline=None)
@given(
    field=st.sampled_from(
        [
            "model",
            "pre",
            "tokens",
            "token_type",
            "merges",
            "scores",
            "bos_token_id",
            "add_bos_token",
            "precompiled_charsmap",
        ]
    ),
    value=st.one_of(
        st.none(),
        st.integers(-5, 5),
        st.sampled_from(["llama", "gpt2", "smollm", "bert", "t5", "rwkv"]),
        st.lists(st.text(max_size=3), max_size=3),
        st.lists(st.integers(0, 7), max_size=3),
        st.floats(),
    ),
    spm=st.booleans(),
)
def test_hostile_metadata_never_raises_anything_else(field: str, value: Any, spm: bool) -> None:
    whole = sentence_piece_metadata(_spm_pair(True)[1]) if spm else byte_level_metadata(_pair("gpt-2")[1], "gpt-2")
    try:
        encode = Tokenizer.from_gguf(whole | {f"tokenizer.ggml.{field}": value}).encode
    except TextError:
        return
    assert encode("").ids == []

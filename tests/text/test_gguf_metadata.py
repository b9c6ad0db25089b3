"""Tokenizers in GGUF's metadata, field by field: what is read of it, and what is written."""

from typing import Any

import pytest
import tokenizers
from tokenizers import AddedToken, models

from limelight.errors import TextError
from limelight.text import gguf
from limelight.text.gguf import describe, rebuild
from limelight.text.kinds import byte_level_bpe, sentencepiece_bpe
from limelight.text.parts import Parts
from limelight.text.tokenizer import Tokenizer, to_gguf


def metadata(**fields: Any) -> dict[str, Any]:
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


def read(**fields: Any) -> dict[str, Any]:
    """What was made of some fields, but for the tokenizer itself."""
    found = rebuild(metadata(**fields))
    return {name: getattr(found, name) for name in Parts.__slots__ if name != "inner"}


PAIRS = {"model": "gpt2", "tokens": ["a", "b", "ab", "<s>", "</s>", "<u>"], "merges": ["a b"]}
NOTHING = dict.fromkeys(("bos", "eos", "pad", "unk", "template")) | {
    "ends": (),
    "what": "the tokenizer in this file's metadata",
    "others": {},
}


def test_what_metadata_says_of_tokens() -> None:
    assert read(**PAIRS) == NOTHING
    roles = {"bos": 3, "eos": 4, "padding": 0, "unknown": 5, "cls": 3, "mask": 1, "seperator": 4, "eot": 2, "eom": 9}
    ids = {f"{name}_token_id": id for name, id in roles.items()}
    assert read(**PAIRS, **ids) == {
        **NOTHING,
        "bos": "<s>",
        "eos": "</s>",
        "pad": "a",
        "unk": "<u>",
        "ends": (2,),
        "others": {"sep": "</s>", "cls": "<s>", "mask": "b"},
    }
    assert read(**PAIRS, separator_token_id=0)["others"] == {"sep": "a"}
    assert read(**PAIRS, eot_token_id=0, eom_token_id=5)["ends"] == (0, 5)
    template = {"tokenizer.chat_template": "x"}
    assert rebuild(metadata(**PAIRS) | template).template == "x"
    for other in ("rwkv-world", 7, None):
        assert rebuild(metadata(**PAIRS) | {"tokenizer.chat_template": other}).template is None


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({}, [2]),
        ({"add_bos_token": True}, [3, 2]),
        ({"add_eos_token": True}, [2, 4]),
        ({"add_bos_token": True, "add_eos_token": True}, [3, 2, 4]),
        ({"pre": "llama-bpe"}, [3, 2]),  # Llama 3 begins texts unless it is told not to
        ({"pre": "llama3", "add_bos_token": False}, [2]),
        ({"pre": "qwen2"}, [2]),
    ],
)
def test_tokens_stand_around_a_text_as_its_kind_has_it(fields: dict[str, Any], ids: list[int]) -> None:
    made = rebuild(metadata(**PAIRS, bos_token_id=3, eos_token_id=4, **fields))
    assert made.inner.encode("ab").ids == ids


def test_types_say_which_tokens_steer() -> None:
    made = rebuild(metadata(**PAIRS, token_type=[1, 1, 1, 3, 4, 2])).inner
    added = {id: token.special for id, token in made.get_added_tokens_decoder().items()}
    assert added == {3: True, 4: False, 5: True}
    spaced = {"model": "llama", "tokens": ["▁", "a", "?"], "scores": [0.0, -1.0, 0.0], "token_type": [1, 1, 2]}
    assert read(**spaced) == NOTHING | {"unk": "?"}
    assert read(**spaced, unknown_token_id=1)["unk"] == "a"
    assert rebuild(metadata(**spaced)).inner.encode("a").ids == [0, 1]
    assert rebuild(metadata(**spaced, add_space_prefix=False)).inner.encode("a").ids == [1]


def test_names_of_bert_are_known_where_they_are_not_said() -> None:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "b", "[x]"]
    made = rebuild(metadata(model="bert", tokens=tokens))
    assert (made.unk, made.others) == ("[UNK]", {"sep": "[SEP]", "cls": "[CLS]"})
    assert [made.inner.id_to_token(id) for id in (4, 5, 6)] == ["a", "##b", "[x]"]
    assert made.inner.encode("AB").ids == [2, 4, 5, 3]
    assert (gguf._bracketed("[]"), gguf._bracketed("[a]"), gguf._bracketed("[a"), gguf._bracketed("a]")) == (
        *(False, True, False, False),
    )
    assert [gguf._with_marks(*each) for each in (("▁", 1), ("▁a", 3), ("a", 3), ("a", 2), ("a", 1), ("[a]", 1))] == [
        *("##▁", "a", "a", "a", "##a", "[a]"),
    ]


def test_bytes_are_read_as_python_writes_them() -> None:
    spelled = {r"\x00\xff": b"\0\xff", r"a\tb\n\r": b"a\tb\n\r", r"\'\"\\": b"'\"\\", r"\\x41": rb"\x41", "é": b"\xe9"}
    assert {token: gguf._unescaped(token) for token in spelled} == spelled


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "x"}, "tokenizer.ggml.model is 'x'; limelight rebuilds 'gpt2', 'llama', 't5', 'bert', 'rwkv'"),
        ({"tokens": ["a", "a", "b", "b"]}, "tokenizer.ggml.tokens has 2 tokens twice"),
        ({"tokens": "ab"}, "tokenizer.ggml.tokens is missing or not a list of strings"),
        ({"tokens": []}, "tokenizer.ggml.tokens is missing or not a list of strings"),
        ({"merges": ["a b", 1]}, "tokenizer.ggml.merges is missing or not a list of strings"),
        ({"token_type": [1, "1"]}, "tokenizer.ggml.token_type is not a list of numbers"),
        ({"token_type": [1] * 5}, "tokenizer.ggml.token_type has 5 entries for 6 tokens"),
        ({"bos_token_id": 6}, "tokenizer.ggml.bos_token_id is 6, outside the 6 tokens"),
        ({"mask_token_id": -1}, "tokenizer.ggml.mask_token_id is -1, outside the 6 tokens"),
        ({"model": "llama"}, "tokenizer.ggml.scores is missing, which a 'llama' tokenizer is built from"),
        ({"model": "t5"}, "tokenizer.ggml.scores is missing, which a 't5' tokenizer is built from"),
        (
            {"model": "t5", "precompiled_charsmap": "x"},
            "tokenizer.ggml.precompiled_charsmap is not a list of bytes",
        ),
        (
            {"pre": "qwen3"},
            "tokenizer.ggml.pre is 'qwen3', a way to cut words that limelight does not know; did you mean 'qwen2'?",
        ),
    ],
)
def test_a_field_that_does_not_fit_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(TextError) as refused:
        rebuild(metadata(**(PAIRS | fields)))
    assert str(refused.value) == says


def test_a_vocabulary_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf, "LONGEST_VOCABULARY", 6)
    assert rebuild(metadata(**PAIRS)).inner.get_vocab_size() == 6
    monkeypatch.setattr(gguf, "LONGEST_VOCABULARY", 5)
    with pytest.raises(TextError, match=r"^tokenizer\.ggml\.tokens has 6 entries; at most 5 are read$"):
        rebuild(metadata(**PAIRS))


def test_byte_pairs_are_written_with_all_that_is_known_of_them() -> None:
    inner = byte_level_bpe({"a": 0, "b": 1, "ab": 2, "<s>": 3, "<u>": 4}, [("a", "b")], "qwen2")
    inner.add_special_tokens([AddedToken("<s>", normalized=False, special=True)])
    inner.add_tokens([AddedToken("<tool>", normalized=False)])
    parts = Parts(inner, bos="<s>", eos="<s>", unk="<u>", pad="nowhere", template="t")
    assert describe(parts, 8, front=True, back=False) == {
        "tokenizer.chat_template": "t",
        **metadata(
            tokens=["a", "b", "ab", "<s>", "<u>", "<tool>", "[PAD6]", "[PAD7]"],
            token_type=[1, 1, 1, 3, 2, 4, 5, 5],
            add_bos_token=True,
            add_eos_token=False,
            bos_token_id=3,
            eos_token_id=3,
            unknown_token_id=4,
            model="gpt2",
            pre="qwen2",
            merges=["a b"],
        ),
    }
    shorter = describe(Parts(inner), 4, front=False, back=True)  # a model of fewer rows
    assert shorter["tokenizer.ggml.tokens"] == ["a", "b", "ab", "<s>"]
    assert shorter["tokenizer.ggml.token_type"] == [1, 1, 1, 3]
    assert "tokenizer.chat_template" not in shorter


@pytest.mark.parametrize("spaced", [True, False])
def test_pieces_are_written_with_scores_by_their_rank(spaced: bool) -> None:
    vocab = {"<unk>": 0, "<0x0A>": 1, "a": 2, "▁": 3, "▁a": 4, "aa": 5}
    scores, types = [0.0, 0.0, -9.0, -9.0, -1.0, -2.0], [2, 6, 1, 1, 1, 1]
    inner = sentencepiece_bpe(vocab, scores, types, unk="<unk>", spaced=spaced)
    assert describe(Parts(inner, unk="<unk>"), 6, front=False, back=False) == metadata(
        tokens=list(vocab),
        token_type=types,
        scores=[-2.0, -3.0, -4.0, -5.0, 0.0, -1.0],  # what no merge makes comes behind what merges make
        add_bos_token=False,
        add_eos_token=False,
        unknown_token_id=0,
        model="llama",
        add_space_prefix=spaced,
    )


def test_what_gguf_cannot_say_of_a_tokenizer_is_refused() -> None:
    words = tokenizers.Tokenizer(models.WordLevel({"a": 0}, "a"))
    with pytest.raises(TextError, match=r"^GGUF has a form for byte pairs alone, and it is of the type WordLevel$"):
        describe(Parts(words, what="it"), 1, front=False, back=False)
    inner = byte_level_bpe({"a": 0}, [], "gpt-2")
    inner.normalizer = tokenizers.normalizers.Lowercase()
    with pytest.raises(TextError, match=r"^it cuts words in a way that limelight cannot name in GGUF; it names gpt-2"):
        describe(Parts(inner, what="it"), 1, front=False, back=False)
    pieces = sentencepiece_bpe({"<unk>": 0, "▁": 1, "k": 2}, [0.0] * 3, [2, 1, 1], unk="<unk>", spaced=True)
    pieces.normalizer = tokenizers.normalizers.Sequence([pieces.normalizer, tokenizers.normalizers.Replace("c", "k")])
    with pytest.raises(TextError, match=r"^it cuts .The quick brown fox.* in a way that GGUF cannot say$"):
        describe(Parts(pieces, unk="<unk>", what="it"), 3, front=False, back=False)
    around = tokenizers.Tokenizer(models.BPE({"a": 0, "<x>": 1, "</s>": 2, "c": 3}, []))
    around.post_processor = tokenizers.processors.TemplateProcessing("<x> $A", None, [("<x>", 1)])
    with pytest.raises(TextError, match=r"^it puts other tokens around a text than bos and eos$"):
        to_gguf(Tokenizer(Parts(around, bos="</s>", what="it")), 4)

"""What tokenizers of each kind are made of, worked out by hand."""

import json
from typing import Any

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from limelight.errors import TextError
from limelight.text import kinds
from limelight.text.kinds import byte_letters, merges_of, sentencepiece_bpe, surround, word_pieces, world

BYTES = {bytes([byte]): byte + 1 for byte in range(256)}


def made_of(inner: tokenizers.Tokenizer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(inner.to_str())
    return found


def test_pairs_are_merged_by_their_score_and_the_longer_left_first() -> None:
    scores = {"a": 0.0, "b": 0.0, "aaa": -2.0, "aa": -1.0, "ba": -1.0, "xy": 5.0}
    assert merges_of(scores) == [("a", "a"), ("b", "a"), ("aa", "a"), ("a", "aa")]


def test_pieces_may_take_so_much_work_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = dict.fromkeys(("a", "aa", "aaa"), 0.0)  # 1 + 4 + 9
    monkeypatch.setattr(kinds, "_MOST_WORK", 14)
    assert merges_of(pieces) == [("aa", "a"), ("a", "a"), ("a", "aa")]
    monkeypatch.setattr(kinds, "_MOST_WORK", 13)
    with pytest.raises(
        TextError, match=r"^this tokenizer has pieces of up to 3 characters, too long for SentencePiece$"
    ):
        merges_of(pieces)


@pytest.mark.parametrize("spaced", [True, False])
def test_pieces_of_some_types_are_never_merged(spaced: bool) -> None:
    vocab = {"<unk>": 0, "a": 1, "aa": 2, "<0x61>": 3, "b": 4, "ab": 5, "ba": 6}
    scores, types = [0.0, -1.0, -2.0, 0.0, -3.0, -4.0, -5.0], [2, 1, 1, 6, 4, 5, 3]
    found = made_of(sentencepiece_bpe(vocab, scores, types, unk="<unk>", spaced=spaced))
    model = {name: found["model"][name] for name in ("vocab", "merges", "unk_token", "fuse_unk", "byte_fallback")}
    assert model == {
        "vocab": vocab,
        "merges": [["a", "a"], ["a", "b"]],  # not "ba", which steers
        "unk_token": "<unk>",
        "fuse_unk": True,
        "byte_fallback": True,
    }
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    front = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, space]}
    back = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    assert found["normalizer"] == (front if spaced else space)
    assert found["decoder"] == {"type": "Sequence", "decoders": back + (strip if spaced else [])}


def test_pieces_of_words_are_made_as_bert_has_them() -> None:
    usual = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
    found = made_of(word_pieces({"?": 0}, "?", lower=True))
    assert found["normalizer"] == usual | {"lowercase": True}
    assert (found["pre_tokenizer"], found["model"]["unk_token"]) == ({"type": "BertPreTokenizer"}, "?")
    assert found["decoder"] == {"type": "WordPiece", "prefix": "##", "cleanup": True}
    other = made_of(word_pieces({"?": 0}, "?", lower=False, chinese=False, accents=True))["normalizer"]
    assert other == usual | {"lowercase": False, "handle_chinese_chars": False, "strip_accents": True}


def test_bytes_are_written_by_the_letters_that_gpt2_has() -> None:
    assert {*byte_letters()} == {*pre_tokenizers.ByteLevel.alphabet()}
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for first in (*range(128), *range(128, 0x800, 61), *range(0x800, 0xD000, 997), 0x1F600, 0x10FFFF):
        ((written, _),) = cut.pre_tokenize_str(chr(first))
        assert written == "".join(byte_letters()[byte] for byte in chr(first).encode())
    assert [byte_letters()[byte] for byte in (0, 32, 33, 126, 127, 160, 161, 173, 255)] == [*"ĀĠ!~ġł¡Ńÿ"]


def test_a_world_has_every_byte_and_none_twice() -> None:
    found = world(BYTES | {b"ab": 300, b"a b": 301}, {"<end>": 0}, "it")
    assert [found.token_to_id(name) for name in ("<end>", "Ā", "ab", "aĠb")] == [0, 1, 300, 301]
    assert found.encode("aab<end>a bé").ids[:2] == [98, 300]
    assert made_of(found)["model"]["unk_token"] == "Ā"
    with pytest.raises(TextError, match=r"^it has a token twice$"):
        world(BYTES, {"Ā": 0}, "it")  # a name that is the letter of a byte
    for missing in (0, 255):
        with pytest.raises(TextError, match=r"^it is none of RWKV's World: not every byte is a token$"):
            world({token: id for token, id in BYTES.items() if token != bytes([missing])}, {}, "it")
    with pytest.raises(TextError, match="not every byte is a token"):
        world({}, {}, "it")


def test_a_world_may_be_so_large_and_no_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (kinds._MOST_OF_WORLD, kinds._LONGEST_OF_WORLD) == (100_000, 256)
    longest = BYTES | {b"x" * 256: 300}
    assert world(longest, {}, "it").encode("x" * 256).ids == [300]
    with pytest.raises(TextError, match=r"^it is none of RWKV's World: that has at most 100,000 tokens of 256 bytes$"):
        world(BYTES | {b"x" * 257: 300}, {}, "it")
    monkeypatch.setattr(kinds, "_MOST_OF_WORLD", 256)
    assert world(BYTES, {}, "it").get_vocab_size() == 256
    with pytest.raises(TextError, match="at most 256 tokens of 256 bytes"):
        world(longest, {}, "it")


@pytest.mark.parametrize(
    ("front", "back", "ids"),
    [(None, None, [2]), ("<", None, [0, 2]), (None, ">", [2, 1]), ("<", ">", [0, 2, 1]), ("<", "<", [0, 2, 0])],
)
def test_tokens_are_put_around_a_text(front: str | None, back: str | None, ids: list[int]) -> None:
    inner = tokenizers.Tokenizer(models.BPE({"<": 0, ">": 1, "a": 2}, []))
    surround(inner, front, back)
    assert inner.encode("a").ids == ids
    assert (inner.post_processor is None) == (front is back is None)

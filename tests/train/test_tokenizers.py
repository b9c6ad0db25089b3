"""Tokenizers: text comes back, the same text gives the same tokenizer, and what was saved reads the same."""

import json
from pathlib import Path

import pytest

from limelight.errors import RequestError
from limelight.text.tokenizer import Tokenizer
from limelight.train.tokenizers import Kind, train_tokenizer

TEXTS = [
    "Ein Mann, der z.B. 12 Äpfel (rot)  kauft; don't!",
    "The men walk; a dog runs, doesn't it?",
    "Zwei Hunde laufen über 12 Wiesen – schnell.",
] * 10
KINDS: list[Kind] = ["bpe", "unigram", "word", "character", "byte"]


@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_save_and_specials(kind: Kind, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(TEXTS, kind, 400)
    assert tokenizer.vocab <= 400
    assert [tokenizer.token(id) for id in range(4)] == ["<pad>", "<bos>", "<eos>", "<unk>"]
    assert (tokenizer.pad, tokenizer.bos, tokenizer.eos) == (0, 1, {2})
    assert (tokenizer.prefix, tokenizer.suffix) == ((), (2,))
    tokenizer.save(tmp_path)
    opened = Tokenizer.from_folder(tmp_path)
    for text in TEXTS[:3]:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
        assert opened.encode(text).ids == tokenizer.encode(text).ids
    assert tokenizer.controls.isdisjoint(tokenizer.encode("a <eos> b<bos>").ids) or kind != "byte"


@pytest.mark.parametrize("kind", ["bpe", "word", "character", "byte"])
def test_the_same_text_gives_the_same_tokenizer(kind: Kind, tmp_path: Path) -> None:
    for name in ("one", "two"):
        train_tokenizer(TEXTS, kind, 300).save(tmp_path / name)
    assert (tmp_path / "one/tokenizer.json").read_bytes() == (tmp_path / "two/tokenizer.json").read_bytes()


METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
REGEX = r"▁?[\p{L}\p{M}]+|▁?\p{N}+|▁?[^▁\p{L}\p{M}\p{N}]+|▁+"
ISOLATED = {"type": "Split", "behavior": "Isolated", "invert": False}
WORDS = {"type": "Sequence", "pretokenizers": [METASPACE, {**ISOLATED, "pattern": {"Regex": REGEX}}]}


@pytest.mark.parametrize(
    ("kind", "cut", "model", "unknown"),
    [
        ("bpe", WORDS, "BPE", {"unk_token": "<unk>"}),
        ("unigram", WORDS, "Unigram", {"unk_id": 3}),
        ("word", WORDS, "WordLevel", {"unk_token": "<unk>"}),
        ("character", {**ISOLATED, "pattern": {"Regex": r"[\s\S]"}}, "WordLevel", {"unk_token": "<unk>"}),
        ("byte", {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, "BPE", {}),
    ],
)
def test_each_kind_cuts_as_other_programs_will(kind: Kind, cut: object, model: str, unknown: dict[str, object]) -> None:
    said = json.loads(train_tokenizer(["a b. c1"] * 20, kind, 300).definition)
    assert said["pre_tokenizer"] == cut
    assert said["normalizer"] is None
    assert {"type": model, **unknown}.items() <= said["model"].items()
    marks = [each.get("SpecialToken", {}).get("id") for each in said["post_processor"]["single"]]
    assert marks == [None, "<eos>"]
    assert said["decoder"]["type"] == {"character": "Fuse", "byte": "ByteLevel"}.get(kind, "Metaspace")
    assert [token["content"] for token in said["added_tokens"]] == ["<pad>", "<bos>", "<eos>", "<unk>"]
    assert all(token["special"] for token in said["added_tokens"])


def test_lower_case_and_documents() -> None:
    tokenizer = train_tokenizer(TEXTS, "bpe", 300, lower=True)
    assert tokenizer.decode(tokenizer.encode("Zwei HUNDE").ids) == "zwei hunde"
    document = train_tokenizer(TEXTS, "byte", 300, document=True)
    assert (document.prefix, document.suffix) == ((1,), ())
    assert document.decode(document.encode("never seen: 漢字\n").ids) == "never seen: 漢字\n"


def test_words_do_not_cross_signs() -> None:
    tokenizer = train_tokenizer(["end. end. end, end."] * 50, "bpe", 100)
    assert [tokenizer.token(id).strip() for id in tokenizer.encode("end. end,").ids] == ["end", ".", "end", ","]


def test_what_cannot_be_learned() -> None:
    with pytest.raises(RequestError, match="no text to learn a tokenizer from"):
        train_tokenizer([], "bpe", 100)
    with pytest.raises(RequestError, match="a byte vocabulary needs at least 260 tokens; 259 were asked for"):
        train_tokenizer(TEXTS, "byte", 259)
    assert train_tokenizer(TEXTS, "byte", 260).vocab == 260
    with pytest.raises(RequestError, match="a word vocabulary needs at least 5 tokens; 4 were asked for"):
        train_tokenizer(TEXTS, "word", 4)
    assert train_tokenizer(TEXTS, "word", 5).vocab == 5

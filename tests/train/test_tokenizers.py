"""Tokenizers: text comes back, the same text gives the same tokenizer, and what was saved reads the same."""

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
    with pytest.raises(RequestError, match="a byte vocabulary needs at least 260 tokens"):
        train_tokenizer(TEXTS, "byte", 100)

"""Tokenizers of encoders, T5 and RWKV from GGUF metadata, and RWKV's from its own file, against their references."""

import functools
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import MIXED, TEXTS
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from limelight.errors import TextError
from limelight.text import folder
from limelight.text.tokenizer import Tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXT = "The keys, to the Café: unhappily [CLS] 日本 gone…"


def word_piece(pieces: list[str], *, lower: bool) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """BERT's tokenizer, and the metadata that llama.cpp's converter makes of it."""
    vocab = {piece: id for id, piece in enumerate([*SPECIAL, *pieces])}
    inner = tokenizers.Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(True, True, None, lower)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    marked = [piece[2:] if piece.startswith("##") else f"▁{piece}" for piece in pieces]
    said = {"model": "bert", "tokens": [*SPECIAL, *marked], "token_type": [3] * 5 + [1] * len(pieces)}
    said |= {"padding_token_id": 0, "unknown_token_id": 1, "cls_token_id": 2, "seperator_token_id": 3}
    return inner, {f"tokenizer.ggml.{name}": value for name, value in said.items()}


LETTERS = [
    *"abcdefghijklmnopqrstuvwxyz0123456789.,:;!?[]▁日本",
    *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz▁"),
]


@pytest.mark.parametrize("lower", [True, False])
def test_pieces_of_words_are_cut_as_by_bert_and_the_pieces_tell_whether_capitals_count(lower: bool) -> None:
    pieces = [*LETTERS, "the", "keys", "un", "##happi", "##ly", "cafe", *([] if lower else ["The", "Caf", "##é"])]
    reference, metadata = word_piece(pieces, lower=lower)
    ours = Tokenizer.from_gguf(metadata)
    for text in (TEXT, MIXED, "", "▁ a▁b"):
        whole = reference.encode(text).ids
        assert [*ours.prefix, *ours.encode(text).ids, *ours.suffix] == whole
    assert ours.decode(ours.encode("the keys").ids) == "the keys"
    assert ours.pad == 0


def test_tokens_that_are_no_piece_of_a_word_are_spelled_as_they_are() -> None:
    _, metadata = word_piece([*LETTERS, "the"], lower=True)
    tokens = metadata["tokenizer.ggml.tokens"]
    tokens[0] = "<pad>"  # as MPNet has it, without brackets
    ours = Tokenizer.from_gguf(metadata)
    assert [ours.token(id) for id in (0, 1, 2)] == ["<pad>", "[UNK]", "[CLS]"]
    assert ours.decode([tokens.index("▁the")]) == "the"


@pytest.mark.parametrize("spaced", [True, False])
def test_unigram_pieces_are_cut_as_by_sentencepiece(spaced: bool) -> None:
    scores = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -2.0, "▁the": -3.5, "the": -5.0, "▁k": -4.0, "eys": -4.5}
    scores |= {letter: -6.0 - i / 100 for i, letter in enumerate("abcdefghijklmnopqrstuvwxyzTC,:é")}
    reference = tokenizers.Tokenizer(models.Unigram(list(scores.items()), unk_id=2, byte_fallback=False))
    reference.normalizer = normalizers.Sequence(
        [normalizers.Strip(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")]
    )
    scheme = "always" if spaced else "never"
    reference.pre_tokenizer = pre_tokenizers.Metaspace("▁", scheme, split=False)
    said = {
        "model": "t5",
        "tokens": [*scores],
        "scores": [*scores.values()],
        "token_type": [3, 3, 2] + [1] * (len(scores) - 3),
    }
    said |= {"eos_token_id": 1, "padding_token_id": 0, "add_space_prefix": spaced, "precompiled_charsmap": []}
    ours = Tokenizer.from_gguf({f"tokenizer.ggml.{name}": value for name, value in said.items()})
    for text in ("the  keys to the café", " The keys", "日 keys", ""):
        assert ours.encode(text).ids == reference.encode(text).ids
    assert ours.suffix == (1,), "T5 ends every text unless the file says otherwise"
    assert not ours.prefix


WORLD = [
    *(bytes([byte]) for byte in range(256)),
    b"th",
    b"the",
    b"them\n\n",
    b" the",
    b"\n\n",
    "é".encode(),
    b"\xe6\x97",
    "日本".encode(),
]
WORLD += [b"ab", b"abcd", b"bcde", b"'\"", b"\\", b"[a-z]", b"(", b")?", b"aa", b"aaaaaaaa", b"<s>"]
WORLD = [*dict.fromkeys(WORLD)]
NUMBERS = {token: id for id, token in enumerate(WORLD, 1)}


def longest_first(text: str) -> list[int]:
    data, ids = text.encode(), []
    while data:
        size = next(size for size in range(len(data), 0, -1) if data[:size] in NUMBERS)
        ids.append(NUMBERS[data[:size]])
        data = data[size:]
    return ids


def lines() -> str:
    """As the file rwkv_vocab_v20230424.txt has them."""
    spelled = []
    for token, id in NUMBERS.items():
        try:
            spelled.append(f"{id} {token.decode()!r} {len(token)}\n")
        except UnicodeDecodeError:
            spelled.append(f"{id} {token!r} {len(token)}\n")
    return "".join(spelled)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("world")
    (made / "rwkv_vocab_v20230424.txt").write_text(lines(), encoding="utf-8")
    return made


@functools.cache
def in_metadata() -> Tokenizer:
    tokens = ["<|end|>", *(repr(token)[2:-1] for token in WORLD), "[PAD]"]
    said = {
        "model": "rwkv",
        "tokens": tokens,
        "token_type": [3, *[1] * len(WORLD), 5],
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    return Tokenizer.from_gguf(
        {f"tokenizer.ggml.{name}": value for name, value in said.items()} | {"tokenizer.chat_template": "rwkv-world"}
    )


@settings(max_examples=60, deadline=None)
@given(text=st.one_of(TEXTS, st.text("abcdethm \n'\"[-z]\\()?日本é<s>", max_size=60)))
def test_the_world_tokenizer_takes_the_longest_token_each_time(text: str) -> None:
    found = in_metadata().encode(text).ids
    assert found == longest_first(text)
    assert in_metadata().decode(found) == text


def test_the_world_tokenizer_of_a_folder_is_the_same_and_is_saved(world: Path, tmp_path: Path) -> None:
    ours = Tokenizer.from_folder(world)
    assert ours.encode(MIXED).ids == longest_first(MIXED) == in_metadata().encode(MIXED).ids
    assert ours.eos == {0}
    assert ours.bos == 0
    assert ours.prefix == in_metadata().prefix == ()
    ours.save(tmp_path)
    assert Tokenizer.from_folder(tmp_path).encode(MIXED).ids == longest_first(MIXED)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1 'a' 2", "line 1 is no token and its length"),
        ("1 open('x') 1", "line 1 is no token"),
        ("x 'a' 1", "line 1 is no token"),
        ("1 ['a'] 1", "line 1 is no token"),
        ("1 " + "(" * 5000 + " 1", "line 1 is no token"),
        ("1 'a' 1", "not every byte is a token"),
        (f"1 '{'a' * 300}' 300", "of 256 bytes"),
    ],
)
def test_a_damaged_world_is_refused_by_its_line(line: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "rwkv_vocab.txt").write_text(line + "\n")
    with pytest.raises(TextError, match=says):
        folder.read(tmp_path)

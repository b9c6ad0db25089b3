"""Tokenizers whose only file is BERT's vocab.txt."""

import json
from pathlib import Path
from typing import Any

import pytest

from limelight.errors import TextError
from limelight.text.tokenizer import Tokenizer

MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["the", "The", "##re", "cafe", "café", "un", "##aff", "##able", ",", "!", "中", "中文", "don", "'", "t"]
TEXTS = ["The cafe, there!", "unaffable café", "中文 the中", "don't xyz", "the [MASK] the", "", "x" * 101]


def folder(path: Path, tokens: list[str] = [*MARKS, *WORDS], **config: Any) -> Path:  # noqa: B006
    (path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    if config:
        (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"do_lower_case": False, "tokenizer_class": "BertTokenizer"},
        {"strip_accents": False, "tokenize_chinese_chars": False, "tokenizer_class": "DistilBertTokenizerFast"},
    ],
)
def test_it_cuts_as_the_reference_does(config: dict[str, Any], tmp_path: Path) -> None:
    from transformers import BertTokenizer

    path = folder(tmp_path, **config)
    reference = BertTokenizer.from_pretrained(path, **{k: v for k, v in config.items() if k != "tokenizer_class"})
    ours = Tokenizer.from_folder(path)
    for text in TEXTS:
        found = [*ours.prefix, *ours.encode(text, special=True).ids, *ours.suffix]
        assert found == reference(text)["input_ids"], text
        assert ours.decode(found) == reference.decode(found, skip_special_tokens=True)
    assert (ours.mask, ours.pad) == (reference.mask_token_id, reference.pad_token_id)
    assert ours.encode("a[MASK]").ids.count(ours.mask) == 0  # markup is text


@pytest.mark.parametrize("name", [None, "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer"])
@pytest.mark.parametrize("end", ["", "Fast"])
def test_these_classes_are_pieces_of_words(name: str | None, end: str, tmp_path: Path) -> None:
    ours = Tokenizer.from_folder(folder(tmp_path, **({} if name is None else {"tokenizer_class": name + end})))
    assert [ours.token(id) for id in ours.encode("there unaffable").ids] == [" the", "re", " un", "aff", "able"]


def test_marks_may_have_other_names(tmp_path: Path) -> None:
    path = folder(tmp_path, ["<unk>", "<s>", "</s>", "<pad>", "<mask>", "a"])
    names = {"unk": "<unk>", "cls": "<s>", "sep": "</s>", "pad": "<pad>", "mask": "<mask>"}
    (path / "special_tokens_map.json").write_text(json.dumps({f"{name}_token": token for name, token in names.items()}))
    ours = Tokenizer.from_folder(path)
    assert (ours.prefix, ours.suffix, ours.encode("a b").ids) == ((1,), (2,), [5, 0])
    assert (ours.controls, ours.mask, ours.pad) == ({0, 1, 2, 3, 4}, 4, 3)
    assert ours.decode([1, 5, 2]) == "a"
    assert ours.encode("<s>", special=True).ids == [1]


def test_chemistry_is_cut_into_atoms_and_bonds(tmp_path: Path) -> None:
    ours = Tokenizer.from_folder(
        folder(
            tmp_path,
            [*MARKS, "C", "Cl", "c", "1", "=", "O", "(", ")", ">>", "[Na+]"],
            tokenizer_class="SmilesTokenizer",
        )
    )
    text = "c1ccCl(C=O)>>[Na+]C"
    found = ours.encode(text)
    assert [ours.token(id) for id in found.ids] == [
        "c",
        "1",
        "c",
        "c",
        "Cl",
        "(",
        "C",
        "=",
        "O",
        ")",
        ">>",
        "[Na+]",
        "C",
    ]
    assert [text[start:end] for start, end in found.offsets] == [ours.token(id) for id in found.ids]
    assert ours.decode(found.ids) == text
    assert ours.encode("[K]C C").ids == [1, 5, 5]  # an unknown atom; a space is no part of the language


@pytest.mark.parametrize(
    ("tokens", "config", "match"),
    [
        (WORDS, {}, r"vocab.txt lacks the special token '\[UNK\]'"),
        ([*MARKS, "a"], {"tokenizer_class": "BertweetTokenizer"}, "cannot build 'BertweetTokenizer' from vocab.txt"),
        ([*MARKS, "a"], {"tokenizer_class": 3}, "cannot build 3 from vocab.txt"),
    ],
)
def test_what_cannot_be_built_is_named(tokens: list[str], config: dict[str, Any], match: str, tmp_path: Path) -> None:
    with pytest.raises(TextError, match=match):
        Tokenizer.from_folder(folder(tmp_path, tokens, **config))


@pytest.mark.parametrize(
    ("file", "match"),
    [
        ("tokenizer.model", "only as a SentencePiece file; make a tokenizer.json"),
        ("spiece.model", "only as a SentencePiece file; make a tokenizer.json"),
        ("sentencepiece.bpe.model", "only as a SentencePiece file; make a tokenizer.json"),
        ("rwkv_vocab_v20230424.txt", "rwkv_vocab_v20230424.txt is damaged: line 1 is no token and its length"),
        ("merges.txt", "has no tokenizer; put"),
        ("vocab.json", "has no tokenizer; put"),
    ],
)
def test_files_that_are_not_enough_are_named(file: str, match: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"{}")
    with pytest.raises(TextError, match=match):
        Tokenizer.from_folder(tmp_path)

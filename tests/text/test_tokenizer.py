"""The tokenizer of a folder: what it reads, what it writes, what it refuses."""

import codecs
import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tiny import MIXED, byte_level, byte_level_metadata, sentence_piece, sentence_piece_metadata, word_piece
from tokenizers import AddedToken, models, pre_tokenizers, processors

from limelight.errors import RequestError, TextError
from limelight.text import folder
from limelight.text.parts import Parts
from limelight.text.tokenizer import Tokenizer


def _folder(path: Path, inner: tokenizers.Tokenizer | None, **files: Any) -> Path:
    if inner is not None:
        inner.save(str(path / "tokenizer.json"))
    for name, value in files.items():
        text = value if isinstance(value, str) else json.dumps(value)
        (path / (f"{name}.jinja" if name == "chat_template" else f"{name}.json")).write_text(text, encoding="utf-8")
    return path


def test_the_roles_come_from_the_files_that_models_have(tmp_path: Path) -> None:
    inner = byte_level("llama-bpe")
    of = inner.token_to_id
    inner.post_processor = processors.TemplateProcessing(
        "<|im_start|> $A", None, [("<|im_start|>", of("<|im_start|>"))]
    )
    folder = _folder(
        tmp_path,
        inner,
        tokenizer_config={"eos_token": {"content": "<|im_end|>", "lstrip": False}, "chat_template": "old"},
        special_tokens_map={"bos_token": "<|im_start|>", "pad_token": "<|endoftext|>"},
        generation_config={"eos_token_id": [of("<tool>"), of("<|im_end|>")]},
        chat_template="{{ bos_token }}",
    )
    ours = Tokenizer.from_folder(folder)
    assert ours.prefix == (of("<|im_start|>"),)
    assert ours.suffix == ()
    assert ours.separator == ours.bos == of("<|im_start|>")
    assert ours.pad == of("<|endoftext|>")
    assert ours.eos == {of("<tool>"), of("<|im_end|>"), of("<|endoftext|>")}
    assert ours.template == "{{ bos_token }}"
    assert ours.encode("").ids == []
    assert [*ours.prefix, *ours.encode(MIXED, special=True).ids] == inner.encode(MIXED).ids


@pytest.mark.parametrize(
    ("token", "divides"),
    [
        *(("<|endoftext|>", True), ("<|end_of_text|>", True), ("<|im_end|>", False), ("<|eot_id|>", False)),
        *(("<|eom_id|>", False), ("<|end|>", False), ("<end_of_turn>", False), ("<eos>", False), ("</s>", True)),
    ],
)
def test_tokens_by_which_models_end_are_known_where_they_are_special(token: str, divides: bool) -> None:
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<stop>": 0, token: 1}, "<stop>"))
    assert Tokenizer(Parts(inner)).eos == set()
    inner.add_special_tokens(["<stop>", token])
    ours = Tokenizer(Parts(inner, eos="<stop>"))
    assert ours.eos == {0, 1}
    assert ours.separator == int(divides)


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    inner = byte_level("gpt-2")
    inner.model.save(str(tmp_path))
    _folder(tmp_path, None, tokenizer_config={"eos_token": "<|endoftext|>"}, chat_template="{{ 1 }}")
    for file in tmp_path.iterdir():
        file.write_bytes(codecs.BOM_UTF8 + file.read_bytes())
    ours = Tokenizer.from_folder(tmp_path)
    assert ours.template == "{{ 1 }}"
    assert ours.encode("The cat's mats").ids == inner.encode("The cat's mats").ids


def test_further_roles_reach_the_template_and_the_files(tmp_path: Path) -> None:
    config = {
        "sep_token": "<tool>",
        "mask_token": {"content": "<mask>"},
        "chat_template": "{{ sep_token }}{{ mask_token }}",
    }
    ours = Tokenizer.from_folder(_folder(tmp_path, byte_level("smollm"), tokenizer_config=config))
    ours.save(tmp_path / "new")
    for each in (ours, Tokenizer.from_folder(tmp_path / "new")):
        assert each.chat([{"role": "user", "content": "Hi"}]) == "<tool><mask>"


def test_prefix_and_suffix_of_a_bert_are_its_cls_and_sep(tmp_path: Path) -> None:
    inner = word_piece()
    inner.enable_truncation(4)
    inner.enable_padding(length=9)
    ours = Tokenizer.from_folder(
        _folder(tmp_path, inner, tokenizer_config={"unk_token": "[UNK]", "pad_token": "[PAD]"})
    )
    assert (ours.prefix, ours.suffix, ours.pad) == ((2,), (3,), 0)
    inner.no_truncation()
    inner.no_padding()
    text = "the cat sat on the mat"
    assert [2, *ours.encode(text).ids, 3] == inner.encode(text).ids
    assert {0, 1, 2, 3}.isdisjoint(ours.encode("the cat").ids)
    assert {2, 3}.isdisjoint(ours.encode("[CLS] the cat [SEP]").ids)


def test_control_tokens_never_come_out_of_plain_text() -> None:
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("▁", -2.0), ("a", -3.0), ("s", -3.0), ("/", -3.0)]
    inner = tokenizers.Tokenizer(models.Unigram(pieces, 0, False))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.add_special_tokens([AddedToken("</s>", normalized=False), AddedToken("<unk>", normalized=False)])
    ours = Tokenizer(Parts(inner, eos="</s>", unk="<unk>"))
    assert ours.encode("a</s>", special=True).ids[-1] == 1
    assert 1 not in ours.encode("a</s>").ids  # Unigram finds the piece by its letters, too
    assert ours.encode_many(["a</s>", "", "s a"]) == [ours.encode(text).ids for text in ("a</s>", "", "s a")]


def test_a_token_with_a_role_is_special_even_where_the_file_forgot() -> None:
    inner = byte_level("smollm")
    tool = inner.token_to_id("<tool>")
    ours = Tokenizer(Parts(inner, eos="<tool>"))
    assert tool in ours.controls
    assert tool not in ours.encode("a<tool>").ids
    assert ours.encode("a<tool>", special=True).ids[-1] == tool


@pytest.mark.parametrize("kind", ["smollm", "qwen2", "llama-bpe", "sentencepiece"])
def test_transformers_opens_what_save_writes_and_encodes_equally(kind: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the reference is transformers")
    if kind == "sentencepiece":
        metadata = sentence_piece_metadata(sentence_piece()) | {"tokenizer.chat_template": "{{ bos_token }}"}
    else:
        metadata = byte_level_metadata(byte_level(kind), kind)
    ours = Tokenizer.from_gguf(metadata)
    ours.save(tmp_path / "new")
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path / "new")
    assert reference.encode(MIXED) == [*ours.prefix, *ours.encode(MIXED, special=True).ids]
    assert (reference.bos_token_id, reference.pad_token_id) == (ours.bos, ours.pad)
    assert reference.eos_token_id in ours.eos
    assert reference.chat_template == ours.template
    again = Tokenizer.from_folder(tmp_path / "new")
    for name in ("vocab", "bos", "pad", "eos", "controls", "prefix", "suffix", "separator", "template"):
        assert getattr(again, name) == getattr(ours, name)
    assert again.encode(MIXED) == ours.encode(MIXED)
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


def test_the_files_of_gpt2(tmp_path: Path) -> None:
    inner = byte_level("gpt-2")
    inner.model.save(str(tmp_path))
    end = {"content": "<|endoftext|>", "special": True, "normalized": False}
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>", "added_tokens_decoder": {"0": end}}
    ours = Tokenizer.from_folder(_folder(tmp_path, None, tokenizer_config=config))
    assert ours.encode("The cat's 12 mats  é😀").ids == inner.encode("The cat's 12 mats  é😀").ids
    assert ours.eos == {0}
    assert ours.separator == 0
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "RobertaTokenizer"}')
    with pytest.raises(TextError, match="RobertaTokenizer"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("named", "cut"),
    [
        *((None, "gpt-2"), ("GPT2Tokenizer", "gpt-2"), ("GPT2TokenizerFast", "gpt-2")),
        *(("Qwen2Tokenizer", "qwen2"), ("Qwen2TokenizerFast", "qwen2")),
    ],
)
def test_what_a_byte_level_tokenizer_is_called_says_how_it_cuts(tmp_path: Path, named: str | None, cut: str) -> None:
    inner = byte_level(cut)
    inner.model.save(str(tmp_path))
    config = {"eos_token": "<|endoftext|>"} | ({} if named is None else {"tokenizer_class": named})
    ours = Tokenizer.from_folder(_folder(tmp_path, None, tokenizer_config=config))
    for text in ("1984 12345", "e\u0301 don't\n\n x"):
        assert ours.encode(text).ids == inner.encode(text).ids


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word", "normalized", None])
@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("begins", [True, False])
def test_tokens_that_were_added_to_gpt2(tmp_path: Path, flag: str | None, special: bool, begins: bool) -> None:
    inner = byte_level("gpt-2")
    inner.model.save(str(tmp_path))
    flags = {name: name == flag for name in ("lstrip", "rstrip", "single_word", "normalized")}
    tokens = {"<|endoftext|>": {"special": True}, "<tool>": {}, "<call>": {"special": special, **flags}}
    added = {str(id): {"content": text, **token} for id, (text, token) in enumerate(tokens.items())}
    config = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "added_tokens_decoder": added}
    ours = Tokenizer.from_folder(_folder(tmp_path, None, tokenizer_config={**config, "add_bos_token": begins}))
    call = inner.get_vocab_size()
    (inner.add_special_tokens if special else inner.add_tokens)([AddedToken("<call>", special=special, **flags)])
    for text in ("a <call> b", "a<call>b", " <call>", "<call>s <call>, <call>"):
        assert ours.encode(text, special=True).ids == inner.encode(text).ids
        assert (call in ours.encode(text).ids) == (not special and call in inner.encode(text).ids)
    assert (call in ours.controls) == special
    assert ours.prefix == ((0,) if begins else ())


def test_a_file_may_have_so_many_bytes_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _folder(tmp_path, byte_level("gpt-2")) / "tokenizer.json"
    size = place.stat().st_size
    monkeypatch.setattr(folder, "_LARGEST_FILE", size)
    assert Tokenizer.from_folder(tmp_path).vocab
    monkeypatch.setattr(folder, "_LARGEST_FILE", size - 1)
    with pytest.raises(TextError, match=rf"tokenizer\.json has {size:,} bytes; at most {size - 1:,} are read"):
        Tokenizer.from_folder(tmp_path)


def test_the_template_called_default_is_the_one(tmp_path: Path) -> None:
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}, "nonsense"]
    place = _folder(tmp_path, byte_level("gpt-2"), tokenizer_config={"chat_template": several})
    assert Tokenizer.from_folder(place).template == "plain"
    (place / "tokenizer_config.json").write_text(json.dumps({"chat_template": several[:1]}))
    assert Tokenizer.from_folder(place).template is None


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tokenizer.json", "{", "tokenizer.json is damaged"),
        ("tokenizer.json", '{"version": "1.0", "model": {"type": "Nonsense"}}', "tokenizer.json is damaged"),
        ("tokenizer_config.json", "[1]", "holds a list"),
        ("tokenizer_config.json", "{,}", "not valid JSON"),
        ("tokenizer_config.json", "[" * 100_000, "not valid JSON"),
        ("generation_config.json", "\udcff", "cannot be read"),
        ("tokenizer.model", "\n", "save_pretrained"),
        ("README.md", "", "put the model's tokenizer.json there"),
    ],
)
def test_a_missing_or_damaged_file_is_an_error_that_names_it(
    name: str, content: str, says: str, tmp_path: Path
) -> None:
    if name in ("tokenizer_config.json", "generation_config.json"):
        byte_level("gpt-2").save(str(tmp_path / "tokenizer.json"))
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(TextError, match=says):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("copied", [lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy, copy.copy])
@pytest.mark.parametrize("kind", ["smollm", "llama-bpe", "wordpiece"])
def test_a_copy_is_the_same_tokenizer_and_a_tokenizer_of_its_own(copied: Callable[..., Tokenizer], kind: str) -> None:
    if kind == "wordpiece":
        ours = Tokenizer(Parts(word_piece(), pad="[PAD]", unk="[UNK]", template="{{ 1 }}"))
    else:
        metadata = byte_level_metadata(byte_level(kind), kind) | {"tokenizer.ggml.add_bos_token": True}
        ours = Tokenizer.from_gguf(metadata)
    assert ours.prefix
    again = copied(ours)
    for name in ("vocab", "bos", "pad", "eos", "controls", "prefix", "suffix", "template", "byte_pieces"):
        assert getattr(again, name) == getattr(ours, name)
    for special in (False, True):
        assert again.encode(MIXED, special=special) == ours.encode(MIXED, special=special)
    assert again.decode(again.encode(MIXED).ids) == ours.decode(ours.encode(MIXED).ids)
    assert again._inner is not ours._inner


def test_rows_beyond_the_vocabulary_can_be_shown() -> None:
    ours = Tokenizer(Parts(byte_level("smollm")))
    assert ours.spell(ours.vocab + 1) == f"<unused {ours.vocab + 1}>"
    assert ours.spell(ours.id(" the")) == " the"


def test_the_bytes_of_all_tokens_together_are_the_text() -> None:
    """Those of a character may be spread over tokens, none of which can be shown by itself."""
    text = MIXED + "𝄞 Ж \ufffd"
    ours = Tokenizer(Parts(byte_level("gpt-2")))
    parts = [ours.raw(id) for id in ours.encode(text).ids]
    assert b"".join(parts) == text.encode()
    assert len(parts) > len(text.encode()) / 4
    assert any(part.decode(errors="ignore").encode() != part for part in parts)
    assert ours.raw(ours.vocab + 1) == f"<unused {ours.vocab + 1}>".encode()
    pieces = Tokenizer.from_gguf(sentence_piece_metadata(sentence_piece(spaced=False), spaced=False))
    ids = pieces.encode("the cat 𝄞").ids
    assert pieces.byte_pieces.intersection(ids)
    assert b"".join(map(pieces.raw, ids)) == "the cat 𝄞".encode()


def test_tokens_by_name_and_for_display() -> None:
    ours = Tokenizer(Parts(byte_level("smollm"), eos="<|im_end|>"))
    assert ours.token(ours.id(" the")) == " the"
    assert ours.token(ours.id("<|im_end|>")) == "<|im_end|>"
    spm = Tokenizer.from_gguf(sentence_piece_metadata(sentence_piece()))
    assert spm.token(spm.id("▁the")) == " the"
    assert spm.token(spm.id("<0xE2>")) == "<0xE2>"
    with pytest.raises(RequestError, match="is not one token"):
        ours.id("a very long stretch")
    for id in (-1, ours.vocab, 2**40):
        with pytest.raises(RequestError, match="no token has the id"):
            ours.token(id)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(RequestError, match="surrogate"):
        Tokenizer(Parts(byte_level("gpt-2"))).encode("a\ud800")
    with pytest.raises(RequestError, match="surrogate"):
        Tokenizer(Parts(byte_level("gpt-2"))).encode_many(["a", "a\ud800"])


def test_a_vocabulary_that_lacks_its_own_unknown_token_is_an_error() -> None:
    with pytest.raises(TextError, match="damaged: WordPiece error"):
        Tokenizer(Parts(tokenizers.Tokenizer(models.WordPiece({"b": 0}, unk_token="[UNK]"))))


def test_a_model_without_special_tokens_has_no_separator() -> None:
    with pytest.raises(TextError, match="no document separator"):
        _ = Tokenizer(Parts(tokenizers.Tokenizer(models.BPE({"a": 0}, [])))).separator


def test_what_a_switch_is_called_is_said() -> None:
    ours = Tokenizer(Parts(byte_level("gpt-2"), template="x"))
    for use, name in (
        (lambda: ours.encode("a", special=3), "special"),
        (lambda: ours.decode([5], special="no"), "special"),
        (lambda: ours.chat([], reply=None), "reply"),
    ):
        with pytest.raises(RequestError, match=rf"\b{name}\b"):
            use()


def test_a_folder_without_a_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"has no tokenizer; put the model's tokenizer\.json there"):
        Tokenizer.from_folder(tmp_path)
    for name in ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"):
        (tmp_path / name).touch()
        with pytest.raises(TextError, match=r"only as a SentencePiece file; make a tokenizer\.json of it"):
            Tokenizer.from_folder(tmp_path)
        (tmp_path / name).unlink()

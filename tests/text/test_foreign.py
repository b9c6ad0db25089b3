"""Tokenizers by strangers: whatever their files ask for, the answer is one sentence, and soon."""

import base64
import json
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tiny import byte_level, sentence_piece, sentence_piece_metadata, unigram, word_piece

from limelight.errors import TextError
from limelight.text import foreign
from limelight.text.foreign import guarded
from limelight.text.tokenizer import Tokenizer

GROWING = {"type": "Replace", "pattern": {"String": "q"}, "content": "qq"}


def _charsmap(trie: bytes, strings: bytes) -> dict[str, Any]:
    table = len(trie).to_bytes(4, "little") + trie + strings
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def _folder(path: Path, **parts: Any) -> Path:
    definition = json.loads(byte_level("gpt-2").to_str()) | parts
    (path / "tokenizer.json").write_text(json.dumps(definition))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits both time and memory of a process")
@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"normalizer": {"type": "Sequence", "normalizers": [GROWING] * 40}}, "takes more than"),
        ({"normalizer": {"type": "Sequence", "normalizers": [GROWING] * 9}}, "makes [0-9,]+ characters of"),
        ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 40}}, "takes more than"),
        ({"decoder": {"type": "Sequence", "decoders": [GROWING] * 40}}, "takes more than"),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [GROWING | {"pattern": {"Regex": "\\x{1234}"}, "content": "\u1234" * 2}] * 40,
                }
            },
            "rules that can make 1e[+]19 characters of one",
        ),
        ({"normalizer": _charsmap(b"\0" * 4, b"x" * 10**6)}, "rules that can make 3e[+]05 characters of one"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "is damaged"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAP///38AAAA="}}, "is damaged"),
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "is damaged"),
        (
            {
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"Regex": "(a+)+$"},
                    "behavior": "Isolated",
                    "invert": False,
                }
            },
            "is damaged|takes more than",
        ),
        (
            {
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": [{"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                    "special_tokens": {"x": {"id": "x", "ids": [0] * 5000, "tokens": ["x"] * 5000}},
                }
            },
            "puts 5,000 tokens around every text",
        ),
        ({"normalizer": {"type": "Prepend", "prepend": "x" * 8_000_000}}, "rules of 8,000,[0-9]+ characters"),
        ({"normalizer": {"type": "Nonsense"}}, "is damaged or of a newer kind"),
        ({"truncation": {"max_length": -1}, "added_tokens": 5}, "is damaged or of a newer kind"),
    ],
)
def test_rules_that_are_no_good_are_refused_before_they_are_used(
    parts: dict[str, Any], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TextError, match=says) as refused:
        Tokenizer.from_folder(_folder(tmp_path, **parts))
    assert "tokenizer.json" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert capfd.readouterr().err == ""  # the library's panics go to a process that nobody reads


def test_a_key_that_is_there_twice_is_tried_as_it_is_used(tmp_path: Path) -> None:
    bad = json.dumps({"normalizer": {"type": "Sequence", "normalizers": [GROWING] * 9}})[1:-1]
    whole = byte_level("gpt-2").to_str().strip()
    assert '"normalizer": null' in whole or '"normalizer":null' in whole
    (tmp_path / "tokenizer.json").write_text(f"{{{bad}, {whole[1:]}")
    assert Tokenizer.from_folder(tmp_path).encode("q").offsets == [(0, 1)]


def squeezing() -> tokenizers.Tokenizer:
    """With many small rules, each of which might make two characters of one."""
    inner = byte_level("gpt-2")
    rule = tokenizers.normalizers.Replace(tokenizers.Regex(" {2,}"), " ")
    inner.normalizer = tokenizers.normalizers.Sequence([rule] * 12)
    return inner


@pytest.mark.parametrize("inner", [byte_level("llama-bpe"), byte_level("qwen2"), word_piece(), unigram(), squeezing()])
def test_sound_rules_are_taken_as_they_are(inner: tokenizers.Tokenizer, tmp_path: Path) -> None:
    inner.save(str(tmp_path / "tokenizer.json"))
    text = "the cat sat: 12 mats"
    assert Tokenizer.from_folder(tmp_path).encode(text).ids == inner.encode(text, add_special_tokens=False).ids


def test_rules_are_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = byte_level("gpt-2")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        inner.save(str(tmp_path / name / "tokenizer.json"))
    Tokenizer.from_folder(tmp_path / "a")
    monkeypatch.setattr("limelight.text.foreign.apart", lambda *_, **__: pytest.fail("tried again"))
    Tokenizer.from_folder(tmp_path / "b")
    bad = {"normalizer": {"type": "Sequence", "normalizers": [GROWING] * 9}}
    with pytest.raises(pytest.fail.Exception, match="tried again"):
        Tokenizer.from_folder(_folder(tmp_path, **bad))


def test_a_panic_is_a_sentence(tmp_path: Path) -> None:
    """Where no trial found it, too: a regular expression that is slow at what only this text holds."""
    inner = byte_level("gpt-2")
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("(\u1234+)+$"), "isolated")
    inner.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.from_folder(tmp_path)
    for ask in (ours.encode, lambda text: ours.encode_many([text])):
        with pytest.raises(TextError, match=rf"the tokenizer in {re.escape(str(tmp_path))} is damaged: .*retry-limit"):
            ask("\u1234" * 64 + "!")
        ask("a")


def test_only_what_the_library_raises_is_turned_into_a_sentence() -> None:
    with pytest.raises(KeyboardInterrupt), guarded("x"):
        raise KeyboardInterrupt
    with pytest.raises(TextError, match="x: a b"), guarded("x"):
        raise ValueError("a\nb")


@pytest.mark.parametrize("number", [5, 2**32 - 1, 2**40, -1, 1.5, True, None])
def test_tokens_have_numbers_of_their_own_and_no_far_ones(number: Any, tmp_path: Path) -> None:
    inner = byte_level("gpt-2")
    inner.model.save(str(tmp_path))
    vocab = json.loads((tmp_path / "vocab.json").read_text())
    vocab["the"] = number
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    with pytest.raises(TextError, match=r"vocab.json is damaged: .*'the'"):
        Tokenizer.from_folder(tmp_path)
    definition = json.loads(inner.to_str())
    definition["model"]["vocab"] = vocab
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition))
    with pytest.raises(TextError, match=r"tokenizer.json is damaged: .*'the'"):
        Tokenizer.from_folder(tmp_path)


def test_merges_have_the_mark_of_their_pieces(tmp_path: Path) -> None:
    vocab = {piece: id for id, piece in enumerate(["é", "a", "▁", "##a", "é▁", "éa"])}
    for merges, sound in (
        ([["é", "##a"]], True),
        (["é ##a"], True),
        ([["é", "▁"]], False),
        (["é ▁"], False),
        ([[]], False),
    ):
        model = {"type": "BPE", "vocab": vocab, "merges": merges, "continuing_subword_prefix": "##"}
        folder = _folder(tmp_path, model=model, added_tokens=[], pre_tokenizer=None)
        if sound:
            assert Tokenizer.from_folder(folder).encode("éa").ids == [5]
        else:
            with pytest.raises(TextError, match="lacks the mark '##'"):
                Tokenizer.from_folder(folder)


def test_a_piece_of_a_million_characters_is_refused_at_once() -> None:
    metadata = sentence_piece_metadata(sentence_piece())
    metadata["tokenizer.ggml.tokens"][300] = "x" * 2**20
    with pytest.raises(TextError, match="1,048,576 characters"):
        Tokenizer.from_gguf(metadata)


@pytest.mark.parametrize(
    "config",
    [
        {"bos_token": "\ud800"},
        {"sep_token": "\ud800"},
        {"chat_template": "\ud800"},
        {"tokenizer_class": []},
        {"chat_template": [{"name": [], "template": 1}, {"name": {}}, 7, {"name": "default", "template": []}]},
        {"added_tokens_decoder": [1]},
        {"eos_token": {"content": 5}},
    ],
)
def test_odd_values_of_a_config_never_raise_anything_else(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    inner = byte_level("gpt-2")
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [10**30, True, "x"]}))
    inner.model.save(str(tmp_path))
    for _ in range(2):  # by its lists, then by its tokenizer.json
        with suppress(TextError):
            ours = Tokenizer.from_folder(tmp_path)
            assert ours.encode("the cat").ids
            ours.save(tmp_path / "again")
            assert ours.template is None
        inner.save(str(tmp_path / "tokenizer.json"))


def test_rules_have_so_many_characters_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(foreign, "apart", lambda *called, **options: asked.append((called, options)))
    monkeypatch.setattr(foreign, "_sound", set())
    rules = {"normalizer": {"type": "NFC"}, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    written = json.dumps(rules)
    monkeypatch.setattr(foreign, "_LONGEST", len(written))
    for _ in range(2):  # once is enough
        foreign.tried(rules | {"model": {"vocab": {}}}, "it")
    assert asked == [(("limelight.text.trial.trial", written, "it"), {"what": "it"})]
    monkeypatch.setattr(foreign, "_LONGEST", len(written) - 1)
    with pytest.raises(TextError, match=rf"^it has rules of {len(written)} characters; at most {len(written) - 1} are"):
        foreign.tried(rules, "it")


def test_the_words_of_the_library_are_cut_short() -> None:
    with pytest.raises(TextError) as refused, guarded("it is damaged"):
        raise ValueError(" a \n b " + "x" * 400)
    assert str(refused.value) == f"it is damaged: a b {'x' * 296}"
    known = TextError("said already")
    with pytest.raises(TextError) as again, guarded("it is damaged"):
        raise known
    assert again.value is known

"""Files of tokenizers by hand: which are taken, what of each counts, and the sentence for what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import models

from limelight.errors import TextError
from limelight.text import folder
from limelight.text.folder import has_source, read
from limelight.text.parts import Parts


def plain(path: Path, vocab: Any = None, **config: Any) -> Path:
    """A folder with a tokenizer.json of the letters and codes in `vocab`."""
    inner = tokenizers.Tokenizer(models.WordLevel(vocab or {"a": 0, "</s>": 1, "__en__": 2, "en_XX": 3, "fr": 4}, "a"))
    inner.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("config", "around"),
    [
        ({"tokenizer_class": "MBart50Tokenizer"}, [3, 0, 1]),
        ({"tokenizer_class": "MBart50TokenizerFast", "src_lang": "fr"}, [4, 0, 1]),
        ({"tokenizer_class": "M2M100Tokenizer"}, [2, 0, 1]),
        ({"tokenizer_class": "MBartTokenizer"}, [0, 1, 3]),
        ({"tokenizer_class": "MBartTokenizer", "src_lang": "fr"}, [0, 1, 4]),
        ({"tokenizer_class": "MBart50Tokenizer", "legacy_behaviour": True}, [0, 1, 3]),
        ({"tokenizer_class": "NllbTokenizer"}, [0]),  # whose eng_Latn this vocabulary lacks
        ({"tokenizer_class": "MBart50Tokenizer", "src_lang": "de"}, [0]),
        ({"tokenizer_class": "MBart50Tokenizer", "eos_token": None}, [0]),
        ({"tokenizer_class": "MBart50Tokenizer", "eos_token": "<end>"}, [0]),
        ({"tokenizer_class": "GPT2Tokenizer"}, [0]),
        ({}, [0]),
    ],
)
def test_the_code_of_the_language_stands_where_the_class_puts_it(
    config: dict[str, Any], around: list[int], tmp_path: Path
) -> None:
    assert read(plain(tmp_path, **({"eos_token": "</s>"} | config))).inner.encode("a").ids == around


@pytest.mark.parametrize("template", [7, [{"name": "default", "template": []}], [{"name": "other", "template": "x"}]])
def test_a_template_is_a_text_or_none(template: Any, tmp_path: Path) -> None:
    assert read(plain(tmp_path, chat_template=template)).template is None


def test_all_that_a_folder_says_of_its_tokens(tmp_path: Path) -> None:
    plain(
        tmp_path,
        bos_token={"content": "<b>"},
        pad_token="<p>",
        unk_token={"content": 7},
        sep_token="<sep>",
        cls_token={"content": "<cls>", "lstrip": True},
        mask_token=3,
        chat_template="old",
    )
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": "other", "eos_token": "<e>"}))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 9}))
    found = read(tmp_path)
    whole = {name: getattr(found, name) for name in Parts.__slots__ if name != "inner"}
    assert whole == {
        "bos": "<b>",
        "eos": "<e>",
        "pad": "<p>",
        "unk": None,
        "ends": (9,),
        "template": "old",
        "what": f"the tokenizer in {tmp_path}",
        "others": {"sep": "<sep>", "cls": "<cls>"},
    }
    folder.write(tmp_path / "a" / "b", "{}", found)
    assert (tmp_path / "a" / "b" / "tokenizer.json").read_text() == "{}"
    assert json.loads((tmp_path / "a" / "b" / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "bos_token": "<b>",
        "eos_token": "<e>",
        "pad_token": "<p>",
        "sep_token": "<sep>",
        "cls_token": "<cls>",
        "chat_template": "old",
    }


@pytest.mark.parametrize(
    ("generation", "config", "ends"),
    [
        ([1, 2], 9, (1, 2)),
        (3, 9, (3,)),
        (0, 9, (0,)),
        (None, 9, (9,)),
        ([1, None], [2**32 - 1], (2**32 - 1,)),
        (2**32, 9, (9,)),
        (-1, True, ()),
        ([], 9, ()),
        ("x", 1.0, ()),
    ],
)
def test_where_texts_end_is_said_by_two_files(
    generation: Any, config: Any, ends: tuple[int, ...], tmp_path: Path
) -> None:
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": config}))
    assert read(plain(tmp_path)).ends == ends


@pytest.mark.parametrize(
    ("vocab", "says"),
    [
        ({"a": 0, "b": 2_000_000}, "the number of the token 'b' is 2000000"),
        ({"a": 0, "b": -1}, "the number of the token 'b' is -1"),
        ({"a": 0, "b": True}, "the number of the token 'b' is True"),
        ({"a": 3, "b": 3}, "the tokens 'a' and 'b' have the same number, 3"),
    ],
)
def test_numbers_of_tokens_that_cannot_be_are_refused(vocab: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"vocab": vocab}}))
    with pytest.raises(TextError) as refused:
        read(tmp_path)
    assert str(refused.value).replace("2,000,000", "2000000") == f"{path} is damaged: {says}"
    assert read(plain(tmp_path, {"a": 0, "b": 1_999_999})).inner.encode("b").ids == [1_999_999]


def test_an_object_is_read_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer_config.json"
    for held, says in (
        ("[]", f"{path} holds a list where an object belongs"),
        ("{", f"{path} is damaged: it is not valid JSON: Expecting property name"),
    ):
        path.write_text(held)
        with pytest.raises(TextError) as refused:
            read(tmp_path)
        assert str(refused.value).startswith(says)
    with pytest.raises(TextError) as refused:
        read(tmp_path / "nowhere")
    assert str(refused.value) == f"{tmp_path / 'nowhere'} has no tokenizer; put the model's tokenizer.json there"


def test_a_translator_has_two_models_and_one_vocabulary(tmp_path: Path) -> None:
    for name in ("source.spm", "target.spm", "vocab.json"):
        assert not has_source(tmp_path)
        (tmp_path / name).touch()
    assert has_source(tmp_path)
    (tmp_path / "tokenizer.json").touch()
    assert not has_source(tmp_path)


def test_a_list_of_pieces_has_one_a_line_quoted_as_yaml_has_it(tmp_path: Path) -> None:
    path = tmp_path / "vocab.yml"
    path.write_text("</s>: 0\n'it''s': 1\n\"\\u2581a\": 2\n':': 3\na: b: 4\n", "utf-8")
    assert folder._listed(path) == {"</s>": 0, "it's": 1, "▁a": 2, ":": 3, "a: b": 4}
    for number, wrong in enumerate(("no number", "a: x", '"open: 3'), 1):
        path.write_text("a: 0\n" * (number - 1) + wrong)
        with pytest.raises(TextError, match=rf"vocab\.yml is damaged: line {number} is no piece and its number$"):
            folder._listed(path)


@pytest.mark.parametrize(
    ("files", "source", "there"),
    [
        ([], False, "none"),
        (["a.spm", "b.spm"], False, "a.spm, b.spm"),
        (["source.spm", "src.spm"], False, "source.spm, src.spm"),
        (["target.spm", "trg.spm"], False, "target.spm, trg.spm"),
        (["source.spm", "target.spm", "x.spm"], True, "source.spm, target.spm, x.spm"),
    ],
)
def test_which_model_is_whose_must_be_clear(files: list[str], source: bool, there: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(TextError) as refused:
        folder.read_marian(tmp_path, source=source)
    assert str(refused.value) == (
        f"{tmp_path} has no SentencePiece model for both sides, nor one for each that is called source… and target… "
        f"or src… and trg…; there is {there}"
    )


def test_languages_of_m2m_100_have_tokens_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"<s>": 0, "<unk>": 1}))
    (tmp_path / "sentencepiece.bpe.model").touch()
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"language_codes": "m3"}))
    with pytest.raises(
        TextError, match=r"tokenizer_config\.json: language_codes is 'm3'; limelight knows m2m100 and wmt21$"
    ):
        read(tmp_path)
    assert [len(codes.split()) for codes in folder.M2M_100.values()] == [100, 8]


def test_a_vocabulary_has_so_many_lines_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    monkeypatch.setattr(folder, "LONGEST_VOCABULARY", 6)
    assert read(tmp_path).inner.encode("a").ids == [2, 5, 3]
    monkeypatch.setattr(folder, "LONGEST_VOCABULARY", 5)
    with pytest.raises(TextError) as refused:
        read(tmp_path)
    assert str(refused.value) == f"{path} is damaged: it has 6 lines; at most 5 are read"

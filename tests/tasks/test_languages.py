"""Models of several languages: where their codes stand, and what is said of wrong ones."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from references import saved

import limelight
from limelight.errors import RequestError


def with_codes(folder: Path, codes: list[str], kind: str, start: int | None = 2, **config: object) -> None:
    """A tiny model in `folder` whose tokenizer has codes in the place of its last words."""
    saved("m2m_100", folder)
    said = json.loads((folder / "tokenizer.json").read_text())
    vocab = said["model"]["vocab"]
    for number, token in enumerate(codes):
        id = 98 - number
        del vocab[f"w{id}"]
        vocab[token] = id
        said["added_tokens"].append(
            {"id": id, "content": token, "special": True, "normalized": False}
            | dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
        )
    (folder / "tokenizer.json").write_text(json.dumps(said))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": kind} | config))
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_start_token_id": start}))


KINDS = {
    "nllb": (["eng_Latn", "fra_Latn", "zho_Hans", "zho_Hant"], "NllbTokenizer", 2, "front"),
    "older nllb": (["eng_Latn", "fra_Latn", "zho_Hans", "zho_Hant"], "NllbTokenizerFast", 2, "back"),
    "mbart-50": (["en_XX", "fr_XX", "zh_CN"], "MBart50TokenizerFast", 2, "front"),
    "mbart": (["en_XX", "fr_XX", "zh_CN"], "MBartTokenizer", None, "back"),
    "m2m": (["__en__", "__fr__", "__zh__"], "M2M100Tokenizer", 2, "front"),
}


@pytest.mark.parametrize("name", KINDS)
def test_codes_stand_where_the_model_expects_them(name: str, tmp_path: Path) -> None:
    codes, kind, start, place = KINDS[name]
    with_codes(tmp_path, codes, kind, start, legacy_behaviour=name == "older nllb")
    opened = limelight.open(tmp_path, kind=limelight.Translator)
    french, english = (opened.language.target.id(code) for code in (codes[1], codes[0]))
    chosen = opened.between(codes[1].strip("_"), codes[0].strip("_"))
    heard, begins = chosen.language.opening(chosen.network, [5, 6])
    assert heard == ([french, 5, 6, 2] if place == "front" else [5, 6, 2, french])
    assert begins == ([english] if start is None else [start, english])
    assert (
        opened.between("fr" if "mbart" in name or name == "m2m" else "fra", codes[0]).language.front
        == chosen.language.front
    )


def test_a_translation_between_languages_is_the_references(tmp_path: Path) -> None:
    with_codes(tmp_path, *KINDS["nllb"][:3])
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    chosen = limelight.open(tmp_path, kind=limelight.Translator).between("fra_Latn", "eng_Latn")
    found = chosen.complete("w5 w17 w30", max_tokens=12, logprobs=True)
    with torch.inference_mode():
        made = model.generate(
            torch.tensor([[97, 5, 17, 30, 2]]), forced_bos_token_id=98, max_new_tokens=13, num_beams=1
        )
    spelled = [chosen.language.target.spell(id) for id in made[0, 2:].tolist()]
    assert [word for word, _ in found.logprobs] == [word for word in spelled if word != "</s>"]
    assert next(chosen.translate(["w5 w17 w30"])).text
    seen = chosen.look("w5 w17 w30 w8", "w40 w41 w42")
    blocked = seen.importance(2, method="blocking")
    assert [word.word for word in blocked.words] == ["w5", "w17", "w30", "w8"]
    with torch.inference_mode():
        target = torch.tensor([[2, 98, 40]])
        source, hidden = torch.tensor([[97, 5, 17, 30, 8, 2]]), torch.tensor([[1, 1, 0, 1, 1, 1]])
        both = [
            model(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits[0, -1]
            for mask in (torch.ones_like(hidden), hidden)
        ]
    said = [float(logits.log_softmax(-1)[41]) for logits in both]
    assert blocked.words[1].importance == pytest.approx(said[0] - said[1], abs=1e-4)
    assert seen.alignments().shape[1:] == (3, 4)


def test_wrong_languages_are_refused_with_near_ones(tmp_path: Path) -> None:
    with_codes(tmp_path, *KINDS["nllb"][:3])
    opened = limelight.open(tmp_path, kind=limelight.Translator)
    with pytest.raises(RequestError, match=r"source is 'eng_Latm'.* did you mean 'eng_Latn'\?"):
        opened.between("eng_Latm", "fra_Latn")
    with pytest.raises(RequestError, match=r"target is 'zho', .* it has zho_Hans, zho_Hant"):
        opened.between("eng", "zho")
    with pytest.raises(RequestError, match=r"target is 'klingon', .* they are eng_Latn, fra_Latn, zho_Hans"):
        opened.between("eng", "klingon")
    with pytest.raises(RequestError, match="source is None"):
        opened.between(None, "fra")
    for ask in (lambda: next(opened.translate(["w5"])), lambda: opened.complete("w5"), lambda: opened.look("w5", "w6")):
        with pytest.raises(RequestError, match=r"knows 4 languages .* translator\.between\(source, target\)"):
            ask()


def test_a_model_of_two_languages_has_none_to_choose(tmp_path: Path) -> None:
    saved("marian", tmp_path)
    with pytest.raises(RequestError, match="no codes of languages"):
        limelight.open(tmp_path, kind=limelight.Translator).between("en", "fr")


def test_marian_is_told_only_what_to_translate_into(tmp_path: Path) -> None:
    with_codes(tmp_path, [">>fra<<", ">>ita<<"], "PreTrainedTokenizerFast")
    chosen = limelight.open(tmp_path, kind=limelight.Translator).between(None, "ita")
    assert chosen.language.opening(chosen.network, [5]) == ([97, 5, 2], [2])


def test_the_command_line_chooses_languages_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from limelight.cli import main

    with_codes(tmp_path, *KINDS["nllb"][:3])

    def told(*options: str) -> tuple[int | str | None, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["translate", "--model", str(tmp_path), "--beam", "1", *options, "w5 w17 w30"])
        return ended.value.code, *capsys.readouterr()

    chosen = limelight.open(tmp_path, kind=limelight.Translator).between("fra", "eng")
    expected = next(chosen.translate(["w5 w17 w30"], beam=1)).text
    code, out, _ = told("--from", "fra", "--to", "eng")
    assert code in (0, None)
    assert out == f"{expected}\n"
    for options, says in (
        (["--from", "fra"], "say with --to"),
        ([], "--from and --to"),
        (["--from", "fra", "--to", "enk"], "did you mean 'eng'"),
    ):
        code, out, told_so = told(*options)
        assert code == 1
        assert not out
        assert says in told_so

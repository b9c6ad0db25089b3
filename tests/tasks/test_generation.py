"""What generation_config.json says is obeyed: as transformers' `generate` does, or named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from references import reference, saved
from transformers.generation import logits_process as theirs

import limelight
from limelight.decode.processors import Forbidden, ForbiddenPhrases, History, NoEnd, NoRepeat
from limelight.errors import ConfigError
from limelight.models.registry import config_from_hf
from limelight.tasks.generation import Generation

LINES = ["w5 w17 w30 w8", "w40", "w9 w9 w60 w61 w62 w63 w64", "w70 w71 w72"]
RULES: dict[str, dict[str, Any]] = {
    "start": {"decoder_start_token_id": 7},
    "forced first": {"forced_bos_token_id": 41},
    "forced last": {"forced_eos_token_id": 2},
    "no repetition": {"no_repeat_ngram_size": 2},
    "no single one twice": {"no_repeat_ngram_size": 1},
    "never": {"suppress_tokens": [*range(3, 90)]},
    "not first": {"begin_suppress_tokens": [*range(3, 90)]},
    "bad words": {"bad_words_ids": [[id] for id in range(3, 90)] + [[93, 94], [97, 97], [96, 95, 94]]},
    "not short": {"min_length": 15, "eos_token_id": [2, *range(4, 99)]},
    "several ends": {"eos_token_id": [2, *range(40, 80)]},
    "all at once": {
        "forced_bos_token_id": 41,
        "no_repeat_ngram_size": 3,
        "suppress_tokens": [50],
        "min_length": 9,
        "forced_eos_token_id": 2,
    },
}


def folder_with(rules: dict[str, Any], name: str, path: Path) -> hf.PreTrainedModel:
    saved(name, path)
    said = json.loads((path / "generation_config.json").read_text()) | rules
    (path / "generation_config.json").write_text(json.dumps(said))
    return hf.AutoModelForSeq2SeqLM.from_pretrained(path).eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("name", ["bart-scaled", "m2m_100"])
def test_what_is_written_is_what_the_reference_generates(name: str, rules: dict[str, Any], tmp_path: Path) -> None:
    model = folder_with(rules, name, tmp_path)
    opened = limelight.open(tmp_path, kind=limelight.Translator)
    free, language, changed = reference(name), opened.language, 0
    for line, found in zip(LINES, opened.complete_all(LINES, max_tokens=20, logprobs=True), strict=True):
        source = torch.tensor([language.heard(language.read(line))])
        more = len(language.begins) - 1
        options = {"do_sample": False, "num_beams": 1, "max_new_tokens": 20 + more, "use_cache": False}
        with torch.inference_mode():
            made = model.generate(source, **options)[0].tolist()
            changed += made != free.generate(source, **options)[0].tolist()
        assert tuple(made[: 1 + more]) == language.begins
        written = made[1 + more :]
        ids = written[:-1] if found.finish == "stop" else written
        assert [word for word, _ in found.logprobs] == [language.target.spell(id) for id in ids]
        assert (found.finish == "stop") == (written[-1] in language.stop and len(written) < 20)
    assert changed


def test_a_beam_of_one_obeys_as_well(tmp_path: Path) -> None:
    rules = {
        "no_repeat_ngram_size": 2,
        "min_length": 12,
        "bad_words_ids": [[id] for id in range(3, 40)],
        "max_length": 14,
    }
    model = folder_with(rules, "bart-scaled", tmp_path)
    opened = limelight.open(tmp_path, kind=limelight.Translator)
    for line, found in zip(LINES, opened.translate(LINES, beam=1), strict=True):
        source = torch.tensor([opened.language.heard(opened.language.read(line))])
        forbidden = sorted(opened.language.forbidden(99))
        with torch.inference_mode():
            made = model.generate(source, do_sample=False, num_beams=1, suppress_tokens=forbidden)[0].tolist()
        (best,) = found.hypotheses
        ids = made[1:-1] if made[-1] == 2 else made[1:]
        assert list(best.tokens) == ids
        assert best.ended == (made[-1] == 2)


@pytest.mark.parametrize("beam", [1, 3])
def test_what_is_forbidden_is_shared_out_where_the_file_says_so(beam: int, tmp_path: Path) -> None:
    rules: dict[str, Any] = {"bad_words_ids": [[id] for id in range(3, 60)]}
    scores = []
    for shared in (False, True):
        folder = tmp_path / str(shared)
        folder_with(rules | {"renormalize_logits": shared}, "marian", folder)
        opened = limelight.open(folder, kind=limelight.Translator)
        scores.append([each.hypotheses[0].logprob for each in opened.translate(LINES, beam=beam)])
    assert all(after > before + 0.1 for before, after in zip(*scores, strict=True))


def test_beam_and_length_penalty_are_the_files_unless_somebody_says_otherwise(tmp_path: Path) -> None:
    folder_with({"num_beams": 3, "length_penalty": 2.0}, "bart", tmp_path)
    opened = limelight.open(tmp_path, kind=limelight.Translator)

    def hypotheses(**options: Any) -> list[Any]:
        return [each.hypotheses for each in opened.translate(LINES, **options)]

    assert hypotheses() == hypotheses(beam=3, alpha=2.0)
    assert hypotheses() != hypotheses(beam=5, alpha=1.0)


def test_what_is_said_is_kept_when_the_model_is_saved(tmp_path: Path) -> None:
    folder_with({"forced_bos_token_id": 41, "length_penalty": 0.5, "top_k": 7}, "bart", tmp_path / "one")
    limelight.save(limelight.open(tmp_path / "one"), tmp_path / "two")
    said = json.loads((tmp_path / "two" / "generation_config.json").read_text())
    assert (said["forced_bos_token_id"], said["length_penalty"], said["top_k"]) == (41, 0.5, 7)
    assert limelight.open(tmp_path / "two", kind=limelight.Translator).language.begins == (2, 41)


@pytest.mark.parametrize("rule", [{"repetition_penalty": 1.3}, {"do_sample": True}, {"sequence_bias": [[[5], 1.0]]}])
def test_what_is_not_obeyed_is_named(rule: dict[str, Any]) -> None:
    config = config_from_hf({"model_type": "bart", "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 99})
    with pytest.warns(UserWarning, match=f"'{next(iter(rule))}' .* is not obeyed"):
        Generation.read(rule, config)


WRONG: dict[str, Any] = {
    "decoder_start_token_id": 99,
    "forced_bos_token_id": "fr",
    "suppress_tokens": [5, 1000],
    "bad_words_ids": [[5], 6],
    "min_length": -1,
    "no_repeat_ngram_size": 0.5,
    "num_beams": 0,
    "length_penalty": "long",
    "renormalize_logits": "yes",
}


@pytest.mark.parametrize("key", WRONG)
def test_impossible_values_are_refused_by_name(key: str) -> None:
    config = config_from_hf({"model_type": "bart", "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 99})
    with pytest.raises(ConfigError, match=f"generation config key '{key}'"):
        Generation.read({key: WRONG[key]}, config)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 12])
def test_processors_equal_the_references(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    tokens = torch.randint(0, 4, (3, length), generator=generator)
    logits = torch.randn(3, 8, generator=generator)
    history = History.of(tokens, 1)
    phrases = ((1, 2), (3, 3, 0), (0, 1, 2, 3))
    pairs = [
        (NoRepeat(2), theirs.NoRepeatNGramLogitsProcessor(2)),
        (NoRepeat(3), theirs.NoRepeatNGramLogitsProcessor(3)),
        (NoRepeat(1), theirs.NoRepeatNGramLogitsProcessor(1)),
        (NoEnd((2, 5), 7), theirs.MinLengthLogitsProcessor(7, [2, 5])),
        (Forbidden((3, 4)), theirs.SuppressTokensLogitsProcessor([3, 4])),
        (Forbidden((3, 4), first=True), theirs.SuppressTokensAtBeginLogitsProcessor([3, 4], 1)),
        (ForbiddenPhrases(phrases), theirs.NoBadWordsLogitsProcessor([list(p) for p in phrases], [7])),
    ]
    for ours, other in pairs:
        before = logits.clone()
        torch.testing.assert_close(ours(logits, history), other(tokens, logits.clone()), rtol=0, atol=0)
        assert torch.equal(logits, before)

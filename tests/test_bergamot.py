"""Bergamot's students, where they have been fetched (``limelight pull bergamot-en-pt``), against what the engine in
their own wheel, which limelight does not need, makes of the same sentences."""

import json
from pathlib import Path

import pytest
import torch

import limelight
from limelight.checkpoints import wheel
from limelight.checkpoints.catalog import catalog

EXPECTED = json.loads(Path(__file__).with_name("bergamot.json").read_text("utf-8"))


@pytest.fixture(scope="module", params=EXPECTED)
def name(request: pytest.FixtureRequest) -> str:
    if not wheel.path_of(catalog()[request.param]).is_file():
        pytest.skip(f"the model is not on this machine: limelight pull {request.param}")
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> limelight.Translator:
    return limelight.open(name, kind=limelight.Translator)


def test_translations_are_those_of_its_own_engine(name: str, model: limelight.Translator) -> None:
    sources, expected = zip(*EXPECTED[name], strict=True)
    assert [found.text for found in model.translate(sources)] == list(expected)
    assert [found.text for found in model.complete_all(sources, max_tokens=80)] == list(expected)


def test_translations_are_looked_at(name: str, model: limelight.Translator) -> None:
    source, target = EXPECTED[name][0]
    seen = model.look(source, target)
    found = seen.importance(len(seen.target_words) - 1, method="blocking")
    assert len(found.words) == len(seen.source_words)
    assert max(word.importance for word in found.words) > 1
    assert seen.alignments().shape == (2, len(seen.target_words), len(seen.source_words))


def test_every_word_of_a_translation_is_measured(name: str, model: limelight.Translator) -> None:
    """Words of several tokens, too, which the decoder hides from all that follow them."""
    looks = (model.look(source, target) for source, target in EXPECTED[name])
    seen = next(look for look in looks if any(len(word.tokens) > 1 for word in look.target_words[:-1]))
    found = seen.importance(written=True)
    assert len(found.words) == len(seen.source_words) + len(seen.target_words) - 1
    assert all(heard.importance is None or heard.importance == heard.importance for heard in found.words)


def test_it_is_the_same_once_it_was_saved(name: str, model: limelight.Translator, tmp_path: Path) -> None:
    limelight.save(model, tmp_path / "saved")
    again = limelight.open(tmp_path / "saved", kind=limelight.Translator)
    tokens = torch.tensor([[300, 166, 7568, 0]])
    with torch.inference_mode():
        before, after = (each.network(tokens, None, torch.tensor([[32000, 5, 9]])) for each in (model, again))
    assert torch.equal(before, after)
    assert again.language.read("a b") == model.language.read("a b")
    assert next(again.translate(["Hello"])).text

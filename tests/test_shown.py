"""What Python shows of the public objects: names, one line for a model, a table for an importance."""

import builtins
import math
import re
from typing import Any

import pytest
from cli.tiny_models import SENTENCE, random_llama
from tasks.small_languages import language, network

import limelight
from limelight.errors import RequestError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    opened = limelight.open(random_llama(tmp_path_factory, context=64))
    assert isinstance(opened, limelight.Model)
    return opened


def test_the_package_shows_its_public_names() -> None:
    assert set(limelight.__all__) <= set(dir(limelight))
    assert all(name in limelight.__all__ or name == "__version__" for name in dir(limelight))


def test_models_and_looks_are_one_line(model: limelight.Model) -> None:
    translator = limelight.Translator(network("transformer-modern-tiny"), language(), "small", model.path)
    assert re.fullmatch(r"Model\(.*: llama, 3 layers of width 32, context 64\)", repr(model))
    assert re.fullmatch(r"Translator\(small: .*, \d layers of width 32, context 64\)", repr(translator))
    seen = model.look(SENTENCE)
    assert repr(seen) == f"Seen({SENTENCE!r}, 10 words, by {model.title})"
    assert "\n" not in repr(model.look("a\nb " * 20))
    assert repr(translator.look("ein hund", "hund ein")) == "SeenTranslation('ein hund' → 'hund ein')"


def test_an_importance_is_a_table(model: limelight.Model) -> None:
    found = model.look(SENTENCE).importance("it", method="blocking")
    lines = str(found).splitlines()
    told = found.told()
    assert lines[: len(told)] == told
    rows = lines[len(told) :]
    assert len(rows) == 7
    ranked = found.ranked()
    for row, heard in zip(rows, ranked, strict=True):
        number, word, value, *rest = row.split()
        assert (word, found.words[int(number) - 1]) == (heard.word, heard)
        assert float(value) == pytest.approx(math.exp(abs(heard.importance)), rel=0.05)  # how many times
        assert rest == ["times", "less" if heard.importance >= 0 else "more", *(["asks"] if heard.asks else [])]


def test_an_importance_becomes_a_data_frame(model: limelight.Model) -> None:
    pytest.importorskip("pandas")
    found = model.look(SENTENCE).importance("it")
    frame = found.to_pandas()
    assert list(frame.columns) == ["word", "start", "end", "importance", "asks"]
    assert list(frame.index) == list(range(1, 8))
    assert list(frame["word"]) == SENTENCE.split()[:7]
    values = [None if math.isnan(value) else value for value in frame["importance"]]
    assert values == [heard.importance for heard in found.words]
    assert sum(value is not None for value in values) >= 6  # all but the word that asks


def test_without_pandas_a_table_says_how_to_get_it(model: limelight.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    found, real = model.look(SENTENCE).importance("it"), builtins.__import__

    def none(name: str, *args: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", none)
    with pytest.raises(RequestError, match="install it with: pip install pandas"):
        found.to_pandas()

"""The page in one file: what it holds of a question, and how much."""

import base64
import struct
from pathlib import Path

import pytest
from cli.tiny_models import SENTENCE

import limelight
from limelight.views import saved
from limelight.views.text import TextViews
from limelight.views.translation import TranslationViews


def numbers(text: str) -> list[float]:
    """Little-endian float32 in base64, as a file holds attention."""
    raw = base64.b64decode(text)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def test_a_file_holds_as_much_attention_as_there_is_room_for(tiny: Path) -> None:
    model = limelight.open(tiny)
    given = TextViews(model.network, model.tokenizer, SENTENCE)
    views = given.ahead  # what a file is about: the word that the model says next
    head = 4 * (len(SENTENCE.split()) + 1) ** 2  # bytes of one head's weights; 3 layers of 4 heads
    about = saved.about("tiny", model.config)
    whole = saved.hold(given, about, None, None, None, room=12 * head)
    weights = views.every_attention()
    for held, layer in zip(whole["attention"], weights, strict=True):
        assert numbers(held) == pytest.approx(layer.flatten().tolist(), abs=1e-5)
    told = saved.hold(given, about, None, None, None, room=12 * head - 1)
    telling = told["state"]["layer"]
    assert [at for at, layer in enumerate(told["attention"]) if layer] == [telling]
    assert numbers(told["attention"][telling]) == pytest.approx(weights[telling].flatten().tolist(), abs=1e-5)
    none = saved.hold(given, about, None, None, None, room=4 * head - 1)["attention"]
    assert none == ["", "", ""]


@pytest.mark.parametrize("word", [1, 4, 9])
def test_a_file_holds_what_could_stand_in_the_places_beside(tiny: Path, word: int) -> None:
    model = limelight.open(tiny)
    views = TextViews(model.network, model.tokenizer, SENTENCE)
    count = len(SENTENCE.split())
    held = saved.hold(views, saved.about("tiny", model.config), word, None, None, places=3)
    assert list(held["next"]) == [place for place in range(count) if abs(place - word) <= 3]
    assert held["next"][word] == views.next(word, saved.DRAWN)
    assert held["importance"]["word"] == held["state"]["word"] == word
    assert held["lens"] == views.lens(word)


def test_a_file_of_a_translation_holds_an_answer_for_each_of_its_words(tiny: Path, runs: Path) -> None:
    translator = limelight.open(runs / "transformer-modern-tiny")
    assert isinstance(translator, limelight.Translator)
    source = "zwei kinder spielen im schnee und ein hund läuft"
    views = TranslationViews(translator, source, next(translator.translate([source])).text)
    words = views.words()["words"]
    places = [at for at, word in enumerate(words) if not word["given"]]
    assert places[0] == 9
    word = places[1]
    held = saved.hold_translation(views, {"name": "tiny"}, word, "schnee")
    assert list(held["answers"]) == list(held["next"]) == places
    for place in places:
        assert held["answers"][place] == views.importance(place, "schnee" if place == word else None)
        assert held["next"][place] == views.next(place, saved.DRAWN)
    assert (held["words"]["words"], held["added"], held["model"]) == (words, views.target, {"name": "tiny"})
    for row, place in zip(held["translation"]["grid"], places, strict=True):
        alone = views.importance(place, None)
        if row[-1] is None:  # what asks is left out here; there it counts only where it outweighs all others
            assert alone["asks"] == len(row) - 1
            alone["values"][-1] = None
        assert row == pytest.approx(alone["values"], abs=1e-5)
    assert (held["state"]["text"], held["state"]["word"], held["state"]["foil"]) == (source, word, "schnee")
    model = limelight.open(tiny)
    text = TextViews(model.network, model.tokenizer, SENTENCE)
    other = saved.hold(text, saved.about("tiny", model.config), None, None, None)
    assert held["state"].keys() == other["state"].keys()  # what a page is in is one thing, whatever it shows

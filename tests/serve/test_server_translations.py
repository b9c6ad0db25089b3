"""The server with a translator open: what it answers about a translation."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serve.asking import ask, lines, spoken


@pytest.fixture(params=["transformer-modern-tiny", "lstm-attention"])
def translator(request: pytest.FixtureRequest, server: str, runs: Path) -> Iterator[str]:
    """The server with a translator open; afterwards the tiny model is open again."""
    listed = json.loads(ask(server, "/api/models")[2])
    name = str(runs / request.param)
    assert name in [model["name"] for model in listed["models"]]
    about = lines(ask(server, "/api/open", {"name": name}))[-1]["model"]
    assert about["translates"]
    yield server
    ask(server, "/api/open", {"name": listed["first"]})


SOURCE = "zwei kinder spielen im schnee und ein hund läuft"


def translated(server: str) -> str:
    return "".join(line["piece"] for line in lines(ask(server, "/api/continue", {"given": SOURCE})))


def test_a_translation_is_words_that_the_model_added(translator: str) -> None:
    added = translated(translator)
    assert added.split()[0] == "läuft"  # it has learnt to say the sentence backwards
    found = json.loads(ask(translator, "/api/words", {"given": SOURCE, "added": added})[2])["words"]
    assert [word["text"] for word in found if word["given"]] == SOURCE.split()
    assert [word["text"] for word in found if not word["given"]] == added.split()
    assert found[9]["gap"] == "\n"


def test_a_word_of_a_translation_is_asked_about(translator: str) -> None:
    body = {"given": SOURCE, "added": translated(translator)}
    answer = lines(ask(translator, "/api/importance", {**body, "word": 11}))[-1]["importance"]
    assert len(answer["values"]) == answer["word"] == 11  # nine of the source and two of the translation
    assert spoken(answer)[0].startswith(f"The model says “{body['added'].split()[2]}”")
    rows = json.loads(ask(translator, "/api/next", {**body, "word": 11})[2])
    assert rows["rows"][rows["asked"]]["token"].strip() == body["added"].split()[2]
    foil = lines(ask(translator, "/api/importance", {**body, "word": 11, "foil": "schnee"}))[-1]["importance"]
    assert foil["foil"] == "schnee"
    assert "it read it" in lines(ask(translator, "/api/importance", {**body, "word": 3}))[-1]["error"]
    deleted = lines(ask(translator, "/api/importance", {**body, "word": 11, "method": "leave-one-out"}))[-1]
    assert deleted["importance"]["method"] == "leave-one-out"
    assert (
        "cannot be used on" in lines(ask(translator, "/api/importance", {**body, "method": "attention"}))[-1]["error"]
    )


def test_alignment_and_importance_of_a_whole_translation(translator: str) -> None:
    body = {"given": SOURCE, "added": translated(translator)}
    *progress, last = lines(ask(translator, "/api/translation", body))
    found = last["translation"]
    count = len(body["added"].split())
    assert progress[-1] == {"done": count, "total": count}
    assert [len(row) for row in found["grid"]] == [9 + i for i in range(count)]
    for layer in found["alignment"]:
        assert [len(row) for row in layer] == [9] * count
        assert all(0 <= sum(row) <= 1.0001 for row in layer)
    alone = lines(ask(translator, "/api/importance", {**body, "word": 11, "check": False}))[-1]["importance"]
    assert found["grid"][2] == pytest.approx(alone["values"], abs=1e-4)


@pytest.mark.parametrize("path", ["attention", "linking", "lens", "steps", "roles", "what_if"])
def test_what_a_translator_lacks_is_said(server: str, runs: Path, tiny: Path, path: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "attention": {"given": "ein hund", "added": "hund ein", "layer": 0},
        "linking": {"given": "ein hund", "added": "hund ein", "source": 1, "target": 0},
        "lens": {"given": "ein hund", "added": "hund ein", "word": 1},
        "steps": {"given": "ein hund", "added": "hund ein", "word": 1, "layer": 0, "head": 0},
        "roles": {},
        "what_if": {"text": "ein hund", "asked": "hund", "positions": False},
    }
    ask(server, "/api/open", {"name": str(runs / "lstm-attention")})
    answer = ask(server, f"/api/{path}", bodies[path])
    ask(server, "/api/open", {"name": str(tiny)})
    said = "cannot be switched off" if path == "what_if" else "translates texts"
    assert said in json.loads(answer[2].splitlines()[-1])["error"]


def test_another_source_is_translated_and_asked_about(translator: str, tiny: Path) -> None:
    def after(**change: Any) -> Any:
        return lines(ask(translator, "/api/what_if", {"text": "ein hund", "asked": "hund", **change}))[-1]

    found = after()["what_if"]
    given = [word["text"] for word in found["words"]["words"] if word["given"]]
    assert given == ["ein", "hund"]
    assert found["words"]["words"][found["importance"]["word"]]["given"] is False
    assert len(found["importance"]["values"]) == found["importance"]["word"]
    assert "continues texts" in after(name=str(tiny))["error"]

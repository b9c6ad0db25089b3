"""Every name in every kind of answer, as the page reads them: which numbers stand there is tested elsewhere."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from serve.asking import ask, lines

from limelight.look import SteeringVector
from limelight.serve import steering

FILE = Path(__file__).with_name("page_answers.json")
"""The shape of each line that is answered to each of `ASKED`, in order; of lines that are alike the first."""

TEXT = {"given": "The cat sat on the"}
TALK = [{"role": "user", "content": "The cat sat."}, {"role": "assistant", "content": "The mat. Mary gave."}]
NAMES = {
    "kind",
    "unit",
    "answer_unit",
    "method",
    "way",
    "cut",
    "role",
    "step",
    "by",
    "note",
}  # of which a text is one of a few
CHANCE = {"holds", "every", "short", "here"}  # which is true is chance, in a random model or on this machine

KINDS = ("masked", "tags", "classes", "span", "near")

ASKED: dict[str, dict[str, Any]] = {
    "words": {**TEXT, "added": " mat", "ahead": True},
    "continue": {**TEXT, "most": 3},
    "next": {**TEXT, "word": 3, "top_k": 2, "temperature": 1},
    "importance": {**TEXT, "word": 4},
    "every_importance": TEXT,
    "answer": {"messages": TALK[:1], "most": 4},
    "turns": {"messages": TALK},
    "light": {"messages": TALK},
    "came_from": {"messages": TALK, "of": "word", "part": 1},
    "linking": {**TEXT, "source": 3, "target": 1},
    "spotlights": {**TEXT, "toward": [1]},
    "network": TEXT,
    "guesses": {"text": "The cat", "positions": False},
    "roles": {},
    "lens": {**TEXT, "word": 4},
    "inside": {**TEXT, "kind": "adds", "word": 3},
    "inside brings": {**TEXT, "kind": "brings", "word": 4, "changed": 1},
    "steer": {**TEXT, "word": 4},
    "steps": {**TEXT, "word": 4, "layer": 1, "head": 0, "other": 2},
    "what_if": {"text": "The cat sat on", "asked": "sat", "layers_off": [1], "positions": False, "method": "attention"},
}


def shape(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {each: shape(inside, each) for each, inside in value.items()}
    if isinstance(value, list):
        return [json.loads(each) for each in dict.fromkeys(json.dumps(shape(each, name)) for each in value)]
    if isinstance(value, str):
        return value if name in NAMES else "text"
    if isinstance(value, bool):
        return "true or false" if name in CHANCE else value
    return value if value is None else "number"


def answered(server: str, path: str, body: Any = None) -> list[Any]:
    status, headers, answer = ask(server, f"/api/{path.partition(' ')[0]}", body)
    assert status == 200
    kind = headers["content-type"]
    assert kind == "application/x-ndjson" if b"\n" in answer else "application/json"
    found = [json.dumps(shape(line)) for line in lines((status, headers, answer))]
    return [json.loads(each) for each in dict.fromkeys(found)]


@pytest.mark.parametrize("path", ASKED)
def test_an_answer_has_these_names_and_no_others(
    opened: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "VECTORS", tmp_path)
    if path == "steer":
        SteeringVector(torch.ones(32), 1, "tiny").save(tmp_path / "one.safetensors")
    assert answered(opened, path, ASKED[path]) == json.loads(FILE.read_text("utf-8"))[path]


@pytest.mark.parametrize("kind", [*KINDS, "translator"])
def test_answers_of_other_models_have_these_names_and_no_others(
    opened: str, tiny: Path, runs: Path, encoders: dict[str, str], kind: str
) -> None:
    name = str(runs / "transformer-modern-tiny") if kind == "translator" else encoders[kind]
    try:
        assert others(opened, name, kind) == json.loads(FILE.read_text("utf-8"))[kind]
    finally:
        ask(opened, "/api/open", {"name": str(tiny)})


def others(server: str, name: str, kind: str) -> list[Any]:
    """What opening a model tells, and what it answers."""
    told = answered(server, "open", {"name": name})[-1]
    if kind == "translator":
        body = {"given": "zwei kinder", "added": "kinder zwei"}
        asked = {"words": body, "next": body, "translation": body, "importance": {**body, "word": 3, "check": False}}
        asked["what_if"] = {"text": "zwei kinder", "method": "leave-one-out"}
    else:
        body = {"given": "w10 w20 w30 w12 w14", "beside": "w50"}
        asked = {"words": body, "next": {**body, "word": 1}, "importance": {**body, "check": False}}
        asked["linking"] = {**body, "source": 1, "target": 0}
    return [told, *(answered(server, path, {**each}) for path, each in asked.items())]


def test_the_list_of_models_and_a_saved_page_have_these_names_and_no_others(opened: str, tiny: Path) -> None:
    expected = json.loads(FILE.read_text("utf-8"))
    assert answered(opened, "open", {"name": str(tiny)})[-1] == expected["open"]
    assert answered(opened, "models") == expected["models"]
    assert saved(opened) == expected["save"]


def saved(server: str) -> Any:
    status, headers, page = ask(server, "/api/save", {**TEXT, "title": "A model", "method": "attention"})
    assert (status, headers["content-disposition"]) == (200, "attachment")
    assert headers["content-type"].startswith("text/html")
    data = re.search(r"<script[^>]*application/json[^>]*>(.*?)</script>", page.decode(), re.S)
    assert data is not None
    return shape(json.loads(data[1]))

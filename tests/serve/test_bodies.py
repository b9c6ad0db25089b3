"""What may be asked of the server: which numbers, how long a text, and what is meant where nothing is said."""

from typing import Any

import pytest
from pydantic import ValidationError

from limelight.serve import bodies

LIMITS = [
    ("Continue", {"given": "x"}, "most", 1, 512),
    ("Settings", {}, "temperature", 0, 10),
    ("Settings", {}, "top_k", 1, 1_000_000),
    ("Settings", {}, "top_p", 1e-9, 1),
    ("Settings", {}, "seed", 0, 2**53 - 1),
    ("Ask", {"given": "x"}, "word", 0, 100_000),
    ("Layer", {"given": "x", "layer": 0}, "head", 0, 10_000),
    ("Layer", {"given": "x", "layer": 0}, "layer", 0, 10_000),
    ("Follow", {"given": "x", "layer": 0, "head": 0, "word": 0}, "other", 0, 100_000),
]


@pytest.mark.parametrize(("kind", "given", "field", "least", "most"), LIMITS, ids=str)
def test_numbers_reach_from_the_least_to_the_most(
    kind: str, given: dict[str, Any], field: str, least: float, most: float
) -> None:
    body = getattr(bodies, kind)
    for allowed in (least, most):
        assert getattr(body(**{**given, field: allowed}), field) == allowed
    for refused in (least - 1, most + 1, most * 10, "much"):
        with pytest.raises(ValidationError):
            body(**{**given, field: refused})


@pytest.mark.parametrize(
    ("kind", "field", "longest"),
    [
        ("Text", "given", 100_000),
        ("Text", "added", 100_000),
        ("Continue", "given", 100_000),
        ("Opening", "name", 1000),
        ("Ask", "foil", 200),
        ("Ask", "method", 50),
        ("Save", "title", 1000),
        ("WhatIf", "text", 100_000),
        ("WhatIf", "asked", 1000),
        ("WhatIf", "name", 1000),
    ],
)
def test_texts_may_be_as_long_as_that(kind: str, field: str, longest: int) -> None:
    body = getattr(bodies, kind)
    needed = dict.fromkeys((name for name, info in body.model_fields.items() if info.is_required()), "x")
    assert getattr(body(**{**needed, field: "x" * longest}), field) == "x" * longest
    with pytest.raises(ValidationError):
        body(**{**needed, field: "x" * (longest + 1)})


def test_what_nobody_says_is_as_plain_as_can_be() -> None:
    """An answer's defaults are part of what the page and others ask for."""
    assert bodies.Settings().model_dump() == {"temperature": 0.0, "top_k": None, "top_p": None, "seed": 0}
    assert bodies.Text(given="x").model_dump() == {
        "given": "x",
        "added": "",
        "tokens": False,
        "ahead": False,
        "beside": "",
    }
    assert bodies.Ask(given="x").model_dump(exclude={"given", "added", "tokens", "ahead", "beside"}) == {
        "word": None,
        "foil": None,
        "method": None,
        "check": True,
    }
    what_if = bodies.WhatIf(text="x")
    assert what_if.asked is None
    assert (what_if.heads_off, what_if.layers_off, what_if.positions, what_if.tokens) == ([], [], True, False)


TEXT = {"added": "", "tokens": False, "ahead": False, "beside": ""}
DRAWN = {"temperature": 0.0, "top_k": None, "top_p": None, "seed": 0}
ASKED = {**TEXT, "word": None, "foil": None, "method": None, "check": True}
TALK = {"messages": [{"role": "user", "content": "x"}]}
USUAL: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Continue": ({"given": "x"}, {**DRAWN, "most": 24}),
    "Next": ({"given": "x"}, {**TEXT, **DRAWN, "word": None}),
    "Save": ({"given": "x"}, {**ASKED, **DRAWN, "title": ""}),
    "WhatIf": (
        {"text": "x"},
        {
            **dict.fromkeys(("asked", "foil", "method", "name")),
            "heads_off": [],
            "layers_off": [],
            "positions": True,
            "tokens": False,
            "beside": "",
        },
    ),
    "Reply": (TALK, {**DRAWN, "most": 160}),
    "CameFrom": (TALK, {"of": "message", "part": None}),
    "Layer": ({"given": "x", "layer": 0}, {**TEXT, "head": None}),
    "Toward": ({"given": "x"}, {**TEXT, "toward": []}),
    "Guesses": ({"text": "x"}, {"positions": True}),
    "Place": ({"given": "x", "word": 0}, TEXT),
    "Follow": ({"given": "x", "word": 0, "layer": 0, "head": 0}, {**TEXT, "other": None}),
    "Inside": ({"given": "x", "word": 0, "kind": "adds"}, {**TEXT, **dict.fromkeys(("foil", "changed", "instead"))}),
    "Steer": ({"given": "x", "word": 0}, {**TEXT, "vector": None, "strength": 1.0}),
    "Pair": ({"given": "x", "source": 0, "target": 0}, TEXT),
}


@pytest.mark.parametrize("kind", USUAL)
def test_each_question_has_these_fields_and_defaults(kind: str) -> None:
    given, usual = USUAL[kind]
    body = getattr(bodies, kind)
    assert body(**given).model_dump() == {**given, **usual}
    for missing in given:
        with pytest.raises(ValidationError):
            body(**{name: value for name, value in given.items() if name != missing})
    with pytest.raises(ValidationError):
        body(**given, more=1)


@pytest.mark.parametrize(
    ("kind", "field", "most", "beyond"),
    [
        ("Reply", "most", 4096, 4097),
        ("Steer", "strength", 10, 10.1),
        ("Steer", "strength", -10, -10.1),
        ("Steer", "vector", "x" * 1000, "x" * 1001),
        ("Inside", "foil", "x" * 200, "x" * 201),
        ("Inside", "changed", 0, -1),
        ("Toward", "toward", [1] * 100, [1] * 101),
        ("WhatIf", "foil", "x" * 200, "x" * 201),
        ("WhatIf", "method", "x" * 50, "x" * 51),
        ("WhatIf", "heads_off", [(0, 0)] * 10_000, [(0, 0)] * 10_001),
        ("WhatIf", "layers_off", [0] * 1000, [0] * 1001),
        ("WhatIf", "layers_off", [10_000], [10_001]),
        ("CameFrom", "messages", TALK["messages"] * 1000, TALK["messages"] * 1001),
        ("CameFrom", "messages", TALK["messages"], []),
        ("CameFrom", "of", "word", "letter"),
        ("CameFrom", "part", 0, -1),
        ("Inside", "kind", "brings", "takes"),
        ("Place", "word", 100_000, 100_001),
        ("Pair", "target", 100_000, -1),
    ],
)
def test_more_than_that_is_refused(kind: str, field: str, most: Any, beyond: Any) -> None:
    given, _ = USUAL[kind]
    assert getattr(bodies, kind)(**{**given, field: most}).model_dump()[field] == most
    with pytest.raises(ValidationError):
        getattr(bodies, kind)(**{**given, field: beyond})


def test_a_question_about_no_word_is_about_the_next() -> None:
    given = {"given": "a", "added": "b", "tokens": True, "beside": "c"}
    assert bodies.Text(**given).text == ("a", "b", True, False, "c")
    assert bodies.Text(**given, ahead=True).text == ("a", "b", True, True, "c")
    assert bodies.Ask(**given).text == ("a", "b", True, True, "c")
    assert bodies.Ask(**given, word=0).text == ("a", "b", True, False, "c")
    assert bodies.Ask(**given, word=0, ahead=True).text == ("a", "b", True, True, "c")
    assert bodies.Conversation(**TALK).turns == TALK["messages"]

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

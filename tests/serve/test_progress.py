"""Whatever takes long tells how far it is."""

from pathlib import Path
from typing import Any

import pytest
from asking import ask, lines

TEXT = "The cat sat on the mat"
TURNS = [
    {"role": "user", "content": "Is the cat tired?"},
    {"role": "assistant", "content": "The cat sat. Yes!"},
]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("every_importance", {"given": TEXT}),
        ("lens", {"given": TEXT, "word": 3}),
        ("what_if", {"text": TEXT, "heads_off": [[1, 2]], "method": "alti-logit"}),
        ("light", {"messages": TURNS}),
        ("came_from", {"messages": TURNS, "of": "sentence", "part": 1}),
    ],
)
def test_whatever_takes_long_tells_how_far_it_is(server: str, tiny: Path, path: str, body: dict[str, Any]) -> None:
    ask(server, "/api/open", {"name": str(tiny)})
    *told, found = lines(ask(server, f"/api/{path}", body))
    assert "error" not in found
    assert all(0 <= each["done"] <= each["total"] for each in told if "done" in each)
    assert told[-1]["done"] == told[-1]["total"]

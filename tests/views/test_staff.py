"""A tune on a staff: every line, head, sign and bar stands where engravers put it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from limelight.music import abc
from limelight.views.staff import page, staff

FILE = Path(__file__).with_name("staff.svg")
"""The two tunes as they were drawn when somebody looked at them."""

SHARP = """X:1
T:All of it
M:6/8
L:1/8
K:D
|:"D"d2 d ^c/2=c/2 z2|_B3 [Fa]3|A,6|(3abc' z/2 z/2 c d2|[1 D3 d3:|[2 d'6||
^^f d2 ddd|d2 __B2 B2|]
"""


FLAT = "X:2\nT:Flat\nM:4/4\nL:1/8\nK:Eb\ne8|_d4 =a4||\n"


def test_tunes_are_drawn_as_they_were_when_they_were_looked_at() -> None:
    drawn = "".join(staff(abc.read(next(abc.tunes(tune))[1])) for tune in (SHARP, FLAT))
    assert drawn.replace("<", "\n<").strip() == FILE.read_text("utf-8").strip()


def test_a_page_holds_what_was_measured_and_what_sounds() -> None:
    tune = abc.read("X:1\nT:A <b>\nM:4/4\nL:1/4\nK:C\nC2 z [EG]|c4||\n")
    asked: list[int] = []

    def importance(number: int, progress: object) -> Any:
        asked.append(number)
        return SimpleNamespace(told=lambda: ["dropped", f"bar {number}", "</script>"])

    seen: Any = SimpleNamespace(
        bars=[SimpleNamespace(notes="abc"), SimpleNamespace(notes="d")],
        parts=[SimpleNamespace(text="the\nhead"), SimpleNamespace(text="bar 1")],
        importance=importance,
        matrix=lambda: torch.tensor([[0.12345, 0.0], [1.0, -2.0006]]),
    )
    drawn = page(seen, tune, 2, None, "a <model>")
    held = drawn.partition("const DATA = ")[2].partition(";\n")[0]
    assert json.loads(held) == {
        "matrix": [[0.123, 0.0], [1.0, -2.001]],
        "names": ["the head", "bar 1"],
        "told": [["bar 1", "</script>"], ["bar 2", "</script>"]],
        "places": [[1, 1], [1, 2], [1, 3], [2, 1]],
        # of a quarter half a second: the rest is silent, and two notes at once are one sound
        "sounds": [[0.0, 1.0, [60], 0], [1.5, 0.5, [64, 67], 2], [2.0, 2.0, [72], 3]],
        "first": 3,
    }
    assert asked == [1, 2]
    assert "</script>" not in held
    assert "<title>A &lt;b&gt;</title>" in drawn
    assert "<h1>A &lt;b&gt;</h1>" in drawn
    assert "without which a &lt;model&gt; would not have written it" in drawn
    assert staff(tune) in drawn
    assert '"first": 1' in page(seen, tune, 1, 2, "x")
    untitled = abc.read("X:1\nM:4/4\nL:1/4\nK:G\nC4||\n")
    assert f"<title>A tune in {untitled.key}</title>" in page(seen, untitled, 1, 1, "x")

"""A tune on a staff: every line, head, sign and bar stands where engravers put it."""

from pathlib import Path

from limelight.music import abc
from limelight.views.staff import staff

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

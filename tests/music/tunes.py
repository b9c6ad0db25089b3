"""Tunes for tests, made here: none is anybody's."""

import random

from hypothesis import strategies as st

from limelight.music.bars import METRES, Score
from limelight.music.tune import Key

JIG = """X:7
T:A jig of the tests
M:6/8
L:1/8
K:G
D|"G"G2B dBG|"Am"c3 "D7"A2D|"G"GBd "Em"g2e|[1 "D7"d2A F2:|
[2 "D7"dcA "G"G2||
|:d|"G/B"g3 (3gfe d|"C"e2c "Am"A3-|"D7"A2F D2d|"G"BGB G2:|
"""

REEL = """X: 8
M:C|
L:1/4
K:Ddor
P:A
A/B/|d>d|
"""

CHARACTERS = "\"23|AGdBecDfEFg7a:/m4Cb^-MK%68=[#,]_z1'95 ()\n"


@st.composite
def written(draw: st.DrawFn, bars: int = 2) -> str:
    """The text of a tune, drawn among all that `Score` allows."""
    metre = draw(st.sampled_from(("", *METRES)))
    form = draw(st.sampled_from(("", "AB", "AABB", "ABA", "AAB", "AABBA")))
    key = draw(st.sampled_from(("", "D", "Am", "F#m", "Bb")))
    return drawn(Score(metre, key, form, bars=bars), random.Random(draw(st.integers(0, 1 << 32))))


def drawn(score: Score, dice: random.Random, limit: int = 3000) -> str:
    """What chance alone writes under a score."""
    text = ""
    while not score.ends():
        picked = next((each for each in dice.sample(CHARACTERS, len(CHARACTERS)) if score.fits(each)), "")
        assert picked, f"nothing may follow {text[-60:]!r}"
        score.take(picked)
        text += picked
        assert len(text) < limit
    return text


KEYS = [Key.at(sharps, mode) for mode in ("", "m", "Dor", "Mix") for sharps in range(-4, 5)]

"""Tunes in ABC: what is read is what stands there, what is written is read back, and keys move as they must."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tunes import JIG, KEYS, written

from limelight.errors import RequestError
from limelight.music import abc
from limelight.music.tune import Key, Pitch, metre

FEW = settings(max_examples=12, deadline=None, derandomize=True)


def test_a_tune_is_read_as_it_stands() -> None:
    tune = abc.read(JIG)
    assert (tune.metre, str(tune.key), tune.form, tune.title) == ((6, 8), "G", "AABB", "A jig of the tests")
    assert tune.adds_up()
    assert tune.keeps_key()
    first, second = tune.sections
    assert first.endings is not None
    assert [len(part) for part in (first.bars, *first.endings, second.bars)] == [4, 1, 1, 5]
    assert [pitch.midi for note in first.bars[1] for pitch in note.pitches] == [67, 71, 74, 71, 67]
    assert first.bars[4 - 1][0].symbol == "G"
    triplet = second.bars[1][1:4]
    assert [note.tuplet for note in triplet] == [3, 0, 0]
    assert sum(note.sounds for note in triplet) == 2
    assert second.bars[1][0].symbol == "G/B"
    assert second.bars[2][-1].tied
    assert second.bars[4][1].pitches[0].midi == 67
    assert [note.pitches[0].midi for note in first.endings[0][0]][-1] == 66  # the key makes F sharp


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("L:1/4\nK:C\nA A2 A/2 A/ A// A3/2|", [2, 4, 1, 1, Fraction(1, 2), 3]),
        ("L:1/8\nK:C\n[CE]2 [C/2E/2]z4|", [2, Fraction(1, 2), 4]),
        ("K:C\nA2|", [2]),
    ],
)
def test_lengths_are_in_eighths(text: str, lengths: list[int]) -> None:
    tune = abc.read(f"X:1\nM:4/4\n{text}")
    assert [note.length for note in tune.notes()] == lengths


def test_accidentals_hold_to_the_end_of_the_bar_in_every_octave() -> None:
    tune = abc.read("M:4/4\nL:1/8\nK:F\n^F4 f4|F4 =B2B2|B8||")
    assert [note.pitches[0].midi for note in tune.notes()] == [66, 78, 65, 71, 71, 70]
    assert "^F4f4| F4=B2B2| B8||" in abc.write(tune)


@FEW
@given(written())
def test_what_is_written_is_read_back(text: str) -> None:
    tune = abc.read(text, abc.EIGHTH)
    again = abc.write(tune)
    assert abc.read(again, abc.EIGHTH) == tune
    assert abc.write(abc.read(again, abc.EIGHTH)) == again
    whole = abc.read(abc.write(tune, 3))
    assert whole.sections == tune.sections
    assert whole.title == "Tune 3"


@FEW
@given(written(bars=1), st.integers(-4, 4))
def test_a_tune_moves_by_one_interval_and_back(text: str, sharps: int) -> None:
    tune = abc.read(text, abc.EIGHTH)
    moved = tune.transposed(Key.at(sharps, tune.key.mode))
    shifts = {a - b for a, b in zip(moved.melody(), tune.melody(), strict=True)}
    assert len(shifts) <= 1
    assert all(-6 <= shift <= 5 for shift in shifts)
    assert all((shift - moved.key.tonic + tune.key.tonic) % 12 == 0 for shift in shifts)
    back = moved.transposed(tune.key).melody()
    far = {-12} if abs(sharps - tune.key.sharps) == 6 else {0}  # half an octave down, both times
    assert {a - b for a, b in zip(back, tune.melody(), strict=True)} <= far
    assert [note.sounds for note in moved.notes()] == [note.sounds for note in tune.notes()]


def test_keys_say_their_scale() -> None:
    for key in KEYS:
        assert Key.of(str(key)) == key
        assert key.tonic in key.scale
        assert len(key.scale) == 7
    assert Key.of("EDor").scale == Key.of("D").scale == Key.of("Bm").scale
    assert Key.of("F#m").sharps == 3
    assert [Pitch(step, Key.of("Eb").alter(step)).midi for step in range(7)] == [60, 62, 63, 65, 67, 68, 70]


def test_chord_symbols_move_along() -> None:
    tune = abc.read('M:4/4\nL:1/8\nK:G\n"Am7/G"A4 "F#"F4||').transposed(Key.of("Bb"))
    assert [note.symbol for note in tune.notes()] == ["Cm7/Bb", "A"]


@pytest.mark.parametrize(
    ("bars", "right"),
    [
        ("G6|G6||", True),
        ("G6|G5||", False),
        ("|:G|G6|G5:|", True),
        ("|:G|G6|G6:|", False),
        ("G|:G6|G6:|", True),
        ("|:G|G6|[1 G5:|[2 G6||", True),
        ("G7|G6||", False),
    ],
)
def test_bars_add_up_where_upbeats_and_ends_do(bars: str, right: bool) -> None:
    assert abc.read(f"M:6/8\nL:1/8\nK:G\n{bars}").adds_up() is right


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("M:6/8\nG3|", "stands before the key"),
        ("K:G\nG3|", "no metre"),
        ("M:6/8\nK:G\n", "no notes"),
        ("M:6/8\nK:H\nG3|", "'H' is no key"),
        ("M:6\nK:G\nG3|", "'6' is no metre"),
        ("M:6/8\nK:G\nG3|\nK:D\nG3|", "line 4 of the tune: the key changes"),
        ("M:6/8\nK:G\nV:2\nG3|", "several voices"),
        ("M:6/8\nK:G\nG3 @@|", "a sign is not understood"),
        ("M:6/8\nK:G\nG0|", "no length that a note can have"),
        ("M:6/8\nK:G\nG/0|", "by nothing"),
    ],
)
def test_what_is_no_tune_is_refused_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        abc.read(text)


def test_a_beginning_stays_open() -> None:
    begun = abc.beginning("|:D2 FA", "6/8", "D")
    assert (begun.form, begun.text) == ("AA", "|: D2FA")
    begun = abc.beginning("M:6/8\nK:D\n|:D3F3|A6:|\nd6|")
    assert (begun.metre, begun.key, begun.form, begun.text) == ("6/8", "D", "AAB", "|: D3F3| A6:|\nd6| ")
    with pytest.raises(RequestError, match="needs a metre and a key"):
        abc.beginning("d2e")


def test_a_file_is_cut_at_its_numbers() -> None:
    assert [(number, text.split("\n", 1)[0]) for number, text in abc.tunes(f"% front\n{JIG}\n{JIG}")] == [
        (2, "X:7"),
        (11, "X:7"),
    ]


def test_metres_have_names() -> None:
    assert metre("C") == (4, 4)
    assert metre("C|") == (2, 2)

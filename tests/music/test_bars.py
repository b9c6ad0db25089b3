"""What a score lets through adds up, has the form that was asked for, begins as it should, and copies nothing."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tunes import JIG, drawn

from limelight.errors import RequestError
from limelight.music import abc, copies
from limelight.music.bars import METRES, Score, parts

ASKED = st.tuples(st.sampled_from(METRES), st.sampled_from(("AB", "AABB", "ABA", "AABBA", "ABCAB")), st.integers(1, 3))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(ASKED, st.integers(0, 1 << 32))
def test_whatever_chance_writes_adds_up(asked: tuple[str, str, int], seed: int) -> None:
    metre, form, bars = asked
    tune = abc.read(drawn(Score(metre, "Em", form, bars=bars), random.Random(seed), 6000), abc.EIGHTH)
    assert tune.adds_up()
    assert tune.metre == tuple(map(int, metre.split("/")))
    assert len(tune.form) == len(form)
    times = [sum(note.sounds for bar in section.times()[-1] for note in bar) for section in tune.sections]
    assert times == [bars * tune.bar] * len(times)
    if len({each.bars for each in tune.sections}) == len(set(form)):  # unless chance writes one section twice
        assert tune.form == form


def test_a_tune_that_adds_up_is_let_through() -> None:
    text = abc.write(abc.read(JIG))
    score = Score()
    score.take(text)
    assert score.ends()
    assert not score.fits("\n")
    wrong = text.replace("d2A", "d3A", 1)
    with pytest.raises(RequestError, match="the bars would not add up"):
        Score().take(wrong)


def test_several_characters_fit_as_one_by_one() -> None:
    score = Score("6/8", "D", "AABB")
    score.take("M:6/8\nK:D\n% AABB\n|: ")
    for token in ('"D"d3', "d2e", "(3def", "d7", "[1", "d6| ", "d6|| ", ""):
        one = Score("6/8", "D", "AABB")
        one.take("M:6/8\nK:D\n% AABB\n|: ")
        able = bool(token)
        for character in token:
            able = able and one.fits(character)
            if able:
                one.take(character)
        assert score.fits(token) is able, token


def test_a_start_comes_first_and_stays_as_it_is() -> None:
    for seed in range(3):
        score = Score("6/8", "D", "AABB", bars=2, start="|: D2FA")
        text = drawn(score, random.Random(seed))
        body = text.split("\n", 3)[3]
        assert body.startswith("|: D2FA")
        assert body[7] not in "23456/,'"
        assert abc.read(text, abc.EIGHTH).adds_up()


def test_a_run_of_notes_that_was_learned_is_left_after_sixteen() -> None:
    scale = [60, 62, 64, 65, 67, 69, 71, 72, 74, 76, 77, 79, 81, 83] * 2
    windows = copies.windows([scale])
    moved = [note + 3 for note in scale]
    assert not copies.known(moved[:16], windows)
    assert copies.known(moved[:17], windows)
    assert copies.known([50, *moved[:17]], windows)
    assert copies.longest([[1, *moved, 2], [60], [], [60, 60, 90]], [[5], scale]) == [len(scale), 1, 0, 1]
    head = "M:4/4\nK:C\n% AB\nCDEFGABc| defgabCD| "
    free, kept = Score(), Score(windows=windows)
    free.take(head)
    kept.take(head)
    assert free.fits("E")
    assert not kept.fits("E")
    assert kept.fits("F")
    assert kept.fits("z")


@pytest.mark.parametrize("form", ["", "aabb", "BA", "A" * 17, "A1"])
def test_what_is_no_form_is_refused(form: str) -> None:
    with pytest.raises(RequestError, match="is no form"):
        parts(form)


def test_a_form_is_its_sections() -> None:
    assert [(part.letter, part.repeated, part.again, part.later) for part in parts("AABA")] == [
        ("A", True, False, True),
        ("B", False, False, False),
        ("A", False, True, False),
    ]

"""What an answer is as objects, as a table and as text: whole, for one that is made by hand."""

from dataclasses import replace
from math import log

import pytest
from look.made_up import MadeUp, inquiry, text

from limelight.look import METHODS
from limelight.look.answer import Heard, Importance, answer_of
from limelight.look.check import Check, check
from limelight.look.edit import Change, _aligned
from limelight.look.importance import Measured
from limelight.look.links import Link
from limelight.look.perturb import in_groups
from limelight.text.words import Word

FOUND = Importance(
    target=Word("tired", 38, 43, range(10, 11)),
    logprob=log(0.25),
    method="measured",
    words=(Heard("cat", 4, 7, log(4), False), Heard("sat", 8, 11, None, False), Heard("was", 34, 37, -log(2), True)),
    named=(0,),
    losses={"replaced": log(5), "blocked": log(3)},
    check=Check((0,), "deleted", 1.5, 30, True, 0, 0.14),
    links=(Link(0, 1, 2, 0, 0.5),),
    rank=2,
    expected="old",
    foil="hungry",
)
TOLD = [
    "The model expected “old”; “tired” is its no. 2 (25 %).",
    "It depends most on “cat”: with another likely word in its place, “tired” is on average 5.0 times less likely "
    "beside “hungry”.",
    "Check: of all 30 other words, none lowers it as much when deleted.",
]


def test_an_answer_as_objects_is_all_that_was_found() -> None:
    made = FOUND.to_json()
    words = made.pop("words")
    assert [each.pop("times") for each in words] == [pytest.approx(4), None, pytest.approx(0.5)]
    assert words == [
        {"word": "cat", "start": 4, "end": 7, "importance": log(4), "asks": False},
        {"word": "sat", "start": 8, "end": 11, "importance": None, "asks": False},
        {"word": "was", "start": 34, "end": 37, "importance": -log(2), "asks": True},
    ]
    assert made == {
        "target": {"word": "tired", "start": 38, "end": 43},
        "logprob": log(0.25),
        "rank": 2,
        "expected": "old",
        "foil": "hungry",
        "method": "measured",
        "unit": "log-probability",
        "named": [0],
        "losses": {"replaced": log(5), "blocked": log(3)},
        "times": pytest.approx(5),
        "told": TOLD,
        "check": {
            "words": (0,), "way": "deleted", "loss": 1.5, "sets": 30, "every": True, "better": 0, "least": 0.14,
            "holds": True, "short": False,
        },
    }  # fmt: skip
    other = replace(FOUND, method="attention", check=None, named=(), losses={}).to_json()
    assert (other["times"], other["check"], other["named"], other["losses"]) == (None, None, [], {})
    assert [each["times"] for each in other["words"]] == [None] * 3  # shares of attention are no times


def test_an_answer_as_text_is_told_and_has_a_row_for_each_word_that_was_measured() -> None:
    assert str(FOUND).splitlines() == [*TOLD, "1  cat        4.0 times less", "3  was        2.0 times more  asks"]
    other = replace(FOUND, method="attention", words=(*FOUND.words[:1] * 9, Heard("Mary's", 50, 56, -0.5, False)))
    words = tuple(replace(heard, start=at) for at, heard in enumerate(other.words))
    rows = str(replace(other, words=words)).splitlines()
    assert rows[-2:] == [" 9  cat      1.39", "10  Mary's  −0.50"]
    assert str(replace(FOUND, words=(), named=())).splitlines()[1:] == [
        "No few words decide: “tired” depends a little on all of the text.",
        TOLD[2],
    ]


def test_the_methods_that_take_words_away_tell_times() -> None:
    taking = {name for name in METHODS if replace(FOUND, method=name).folds}
    assert taking == {"measured", "blocking", "leave-one-out", "leave-one-replaced"}
    assert taking == {name for name, method in METHODS.items() if method.unit is None}


def test_an_answer_is_trusted_where_its_check_holds() -> None:
    assert FOUND.trusted
    assert not replace(FOUND, check=None).trusted
    assert not replace(FOUND, check=Check((0,), "deleted", 1.5, 30, True, 1, 0.14)).trusted
    assert (FOUND.times, replace(FOUND, named=()).times) == (pytest.approx(5), None)


def test_an_answer_is_what_was_measured_of_each_word() -> None:
    words = [Word("a", 0, 1, range(1, 2)), Word("b", 2, 3, range(2, 3))]
    checked = Check((0,), "deleted", 1.5, 30, True, 0, 0.14)
    found = Measured("blocking", "its unit", "log-odds", (1.5, None), (0,), {"blocked": 2.0}, checked)
    link = Link(0, 0, 1, 0, 0.5)
    told = {"rank": 3, "expected": "d", "foil": "e", "label": "f", "by": "token", "telling": link}
    said = answer_of(found, words, 1, target=Word("c", 4, 5, range(3, 4)), logprob=-1.0, links=[link], **told)
    assert said == Importance(
        Word("c", 4, 5, range(3, 4)), -1.0, "blocking", (Heard("a", 0, 1, 1.5, False), Heard("b", 2, 3, None, True)),
        (0,), {"blocked": 2.0}, checked, (link,), link, "its unit", "log-odds", "token", 3, "d", "e", "f",
    )  # fmt: skip
    plain = answer_of(found, words, target=words[0], logprob=-1.0)
    assert not any(heard.asks for heard in plain.words)
    assert (plain.links, plain.telling, plain.by) == ((), None, "word")
    assert (plain.rank, plain.expected, plain.foil, plain.label) == (None, None, None, None)


def test_words_of_two_answers_stand_side_by_side() -> None:
    def heard(*words: str) -> list[Heard]:
        return [Heard(word, at, at, float(at), False) for at, word in enumerate(words)]

    assert [*_aligned(heard("a", "b", "c", "d"), heard("a", "x", "d"))] == [
        Change("a", 0, 0),
        Change("b → x", 1, 1),
        Change("c", 2, None),
        Change("d", 3, 2),
    ]
    assert [*_aligned(heard("a", "b"), heard("b", "c"))] == [Change("a → b", 0, 0), Change("b → c", 1, 1)]
    assert [*_aligned(heard("b"), heard("a", "b"))] == [Change("a", None, 0), Change("b", 0, 1)]


def test_groups_of_words_are_halved_and_share_what_they_do() -> None:
    """Of 69 words the four best groups are looked into each time: 3, 6 and four times 8 of at most 44 variants."""
    worth = {40: 6.4, 66: 0.5, 0: 0.16, 16: 0.08, 60: 0.032, 69: 0.25}
    session = MadeUp(text(70), lambda way, places, turn: sum(worth.get(place, 0) for place in places))
    told: list[tuple[int, int]] = []
    found = in_groups(inquiry(session), lambda *step: told.append(step))
    expected = dict.fromkeys(range(48, 64), 0.032 / 16) | {at: worth[at] for at in (40, 66, 0, 16, 69)}
    assert found == pytest.approx([expected.get(place, 0) for place in range(70)])
    assert told == [(done, 44) for done in (3, 9, 17, 25, 33, 41, 44)]


def test_long_texts_are_looked_into_once_for_eight_words() -> None:
    """2,000 words are 63 groups; of the best 18 each is halved five times: 63 + 5 × 2 × 18, and the word that asks."""
    session, told = MadeUp(text(2001), lambda way, places, turn: float(sum(places))), []
    in_groups(inquiry(session), lambda *step: told.append(step))
    assert told[-1] == (244, 244)
    assert len(session.asked) == 244


def test_a_check_tells_how_many_sets_it_tried() -> None:
    told: list[tuple[int, int]] = []
    check(inquiry(MadeUp(text(9), lambda way, places, turn: 1.0)), (0, 1), lambda *step: told.append(step))
    assert told == [(21, 27), (27, 27), (1, 1)]  # 64 of 81 variants are read at first


def test_what_was_measured_before_is_told_at_once() -> None:
    asked, told = inquiry(MadeUp(text(4), lambda way, places, turn: float(sum(places)))), []
    for _ in range(2):
        found = METHODS["blocking"].values(asked, lambda *step: told.append(step))
        assert list(found) == [0, 1, 2, 3]
    assert told == [(4, 4), (4, 4)]
    assert len(asked.session.asked) == 4  # type: ignore[attr-defined]
    assert METHODS["leave-one-out"].values(asked) == [0, 1, 2, 3]

"""The check of named words: all other sets or drawn ones, and how often chance passes it."""

import random
from collections import Counter
from dataclasses import replace
from itertools import combinations
from math import comb, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from look.made_up import MadeUp, added, inquiry, text

from limelight.look.check import BATCH, BOTH, DELETED, MOST, ONE_IN, READ, Check, check
from limelight.look.inquiry import AGAIN, MORE, Inquiry


def deleting(session: MadeUp) -> Inquiry:
    """What is asked of such a text, in whose spans no other words could stand: they are only deleted."""
    return replace(inquiry(session), long=True)


def sets(session: MadeUp) -> list[frozenset[int]]:
    """What was deleted, in its order; as often as it should it was replaced, too."""
    deleted = [places for way, places in session.asked if way == "deleted"]
    replaced = Counter(places for way, places in session.asked if way == "replaced")
    assert replaced == dict.fromkeys(deleted, AGAIN)
    assert {way for way, _ in session.asked} == {"deleted", "replaced"}
    return deleted


@settings(max_examples=40, deadline=None)
@given(words=st.integers(2, 12), size=st.integers(1, 3), draw=st.randoms(use_true_random=False))
def test_few_sets_are_all_tried(words: int, size: int, draw: random.Random) -> None:
    chosen = tuple(sorted(draw.sample(range(words), min(size, words))))
    worth = {frozenset(each): float(draw.randint(-9, 99)) for each in combinations(range(words), len(chosen))}
    session = MadeUp(text(words + 1), lambda way, places, turn: worth[places])
    found = check(inquiry(session), chosen)
    assert sorted(map(sorted, sets(session))) == sorted(map(sorted, worth))  # each once, none with the word that asks
    assert (found.words, found.way) == (chosen, BOTH)
    assert found.loss == pytest.approx(worth[frozenset(chosen)])
    assert (found.sets, found.every) == (len(worth) - 1, True)
    assert found.better == sum(loss >= worth[frozenset(chosen)] for loss in worth.values()) - 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_sets_are_ranked_by_deleting_counted_twice_and_by_words_that_stood_nowhere_before(seed: int) -> None:
    draw = random.Random(seed)
    worth = {(way, pair, turn): draw.gauss(1, 2) for way in ("deleted", "replaced")
             for pair in map(frozenset, combinations(range(7), 2)) for turn in range(MORE + AGAIN)}  # fmt: skip
    session = MadeUp(text(8), lambda way, places, turn: worth[way, places, turn])
    found = check(inquiry(session), (1, 5))

    def loss(pair: frozenset[int]) -> float:
        again = sum(worth["replaced", pair, turn] for turn in range(MORE, MORE + AGAIN))
        return DELETED * worth["deleted", pair, 0] + (1 - DELETED) * again / AGAIN

    own = frozenset({1, 5})
    assert found.loss == pytest.approx(loss(own))
    assert found.better == sum(loss(pair) >= loss(own) for pair in map(frozenset, combinations(range(7), 2))) - 1


def test_where_no_word_can_stand_sets_are_deleted_alone() -> None:
    session = MadeUp(text(9), lambda way, places, turn: 1.0 if places == {2, 3} else 0.0)
    asked = inquiry(session)
    found = check(Inquiry(session, asked.question, asked.spans, long=True), (2, 3))
    assert (found.way, found.loss, found.holds) == ("deleted", 1.0, True)
    assert {way for way, _ in session.asked} == {"deleted"}


def test_equal_sets_do_as_much() -> None:
    session = MadeUp(text(30), lambda way, places, turn: 1.0)
    found = check(inquiry(session), [4])
    assert (found.sets, found.better, found.holds) == (28, 28, False)


def test_the_word_that_asks_is_among_the_others_only_if_it_is_checked() -> None:
    for chosen, pool in (([2], 8), ([8], 9), ([2, 8], 9)):
        session = MadeUp(text(9), lambda way, places, turn: 0.5)
        found = check(inquiry(session), chosen)
        assert found.sets == comb(pool, len(chosen)) - 1
        assert any(8 in places for places in sets(session)) is (8 in chosen)


@pytest.mark.parametrize(("better", "tried"), [(0, BATCH), (2, MOST), (9, 160), (80, BATCH)])
def test_of_many_sets_distinct_ones_are_drawn_until_it_is_clear(better: int, tried: int) -> None:
    """better: of a hundred sets, how many lower the answer as much as the one that is checked."""
    chosen = (3, 17, 25)
    drawn = []
    for worth in (5.0, 7.0):

        def lost(way: str, places: frozenset[int], turn: int, worth: float = worth) -> float:
            if places == frozenset(chosen):
                return worth
            return worth + 1 if random.Random(str(sorted(places))).random() < better / 100 else 0.1

        session = MadeUp(text(31), lost)
        found = check(inquiry(session), (25, 3, 17))
        first, *others = sets(session)
        assert first == frozenset(chosen)
        assert first not in others
        assert len(others) == len(set(others)) == found.sets == tried
        assert all(len(places) == 3 and max(places) < 30 for places in others)  # not the word that asks
        assert found.better == sum(lost("deleted", places, 0) > worth for places in others)
        assert not found.every
        assert found.holds == (better < 5)
        drawn.append(others)
    assert drawn[0] == drawn[1]  # by nothing but how many words there are


@pytest.mark.parametrize("words", [92, 150, 211])
@pytest.mark.parametrize("better", [0, 1, 4, 30])
def test_of_a_long_text_no_more_sets_are_tried_than_there_are_or_than_are_needed(words: int, better: int) -> None:
    assert words * words > READ
    session = MadeUp(text(words + 1), lambda way, places, turn: 1.0 if min(places) <= better else 0.0)
    found = check(inquiry(session), [0])
    others = sets(session)[1:]
    assert len(others) == len(set(others)) == found.sets
    assert found.better == sum(min(places) <= better for places in others)
    counts = {n: sum(min(places) <= better for places in others[:n]) for n in range(BATCH, found.sets + 1, BATCH)}
    clear = [
        n for n, count in counts.items() if 2 * 20 * (1 + count) <= 1 + n or 20 * (1 + count) > min(3 * (1 + n), words)
    ]
    assert found.sets == next(iter(clear), words - 1)
    assert found.every == (not clear)
    assert found.holds == (20 * (1 + found.better) <= 1 + found.sets)


@pytest.mark.parametrize("tried", [0, 1, 18, 19, 20, 34, 39, 60, 219, 220])
def test_it_holds_exactly_where_at_most_one_set_in_twenty_does_as_much(tried: int) -> None:
    for better in range(tried + 1):
        found = Check((0,), "deleted", 1.0, tried, True, better, 0.14)
        assert found.short == (tried < 19)
        assert found.holds == ((1 + better) / (1 + tried) <= 1 / 20)
    assert not Check((0,), "deleted", 1.0, 18, True, 0, 0.14).holds


@pytest.mark.parametrize(("loss", "holds"), [(3.0, True), (0.15, True), (0.14, False), (-2.0, False), (nan, False)])
def test_only_a_fall_of_the_answer_can_be_trusted(loss: float, holds: bool) -> None:
    assert Check((0, 1), "deleted", loss, 34, True, 0, 0.14).holds is holds


def test_a_text_with_too_few_words_is_short() -> None:
    for words in range(1, 25):
        found = check(inquiry(MadeUp(text(words + 1), lambda way, places, turn: float(0 in places))), [0])
        assert found.sets == words - 1
        assert found.short == (words < ONE_IN)
        assert found.holds == (words >= ONE_IN)


@settings(max_examples=60, deadline=None)
@given(words=st.integers(2, 21), size=st.integers(1, 3), draw=st.randoms(use_true_random=False))
def test_of_all_sets_at_most_one_in_twenty_passes(words: int, size: int, draw: random.Random) -> None:
    """Of words that do something alone and to one another, whatever it is: counted over all sets there are."""
    every = [frozenset(each) for each in combinations(range(words), size)]
    if not 1 <= len(every) <= MOST + 1:
        return
    alone = [2.0 + draw.randint(-1, 1) * draw.choice([0, 1, 9]) for _ in range(words)]
    pairs = {frozenset(pair): draw.randint(-5, 5) for pair in combinations(range(words), 2) if draw.random() < 0.3}
    worth = {each: added(alone, each) + sum(more for pair, more in pairs.items() if pair <= each) for each in every}
    passed = 0
    asked = deleting(MadeUp(text(words), lambda way, places, turn: worth[places]))
    for each in every:
        found = check(asked, sorted(each))
        assert found.every
        passed += found.holds
    assert passed * ONE_IN <= len(every)


def test_of_random_sets_about_one_in_twenty_passes_among_drawn_ones() -> None:
    """Eight texts whose words do something alone and to one another, every second set of three of which is checked."""
    draw = random.Random(0)
    rates = []
    for _ in range(8):
        words = 13
        every = [frozenset(each) for each in combinations(range(words), 3)]
        alone = [draw.gauss(1, 1) for _ in range(words)]
        worth = {each: 9 + added(alone, each) + draw.gauss(0, 1) for each in every}
        asked = deleting(MadeUp(text(words), lambda way, places, turn, worth=worth: worth[places]))
        found = [check(asked, sorted(each)) for each in every[::2]]
        assert not any(each.every for each in found)
        rates.append(sum(each.holds for each in found) / len(found))
    assert 0.03 < sum(rates) / len(rates) < 0.055


def test_progress_goes_on_to_the_end() -> None:
    for words, size, better in ((8, 2, 0), (30, 3, 0), (30, 3, 4), (30, 3, 60)):
        told: list[tuple[int, int]] = []

        def lost(way: str, places: frozenset[int], turn: int, better: int = better) -> float:
            return 1.0 if places == {0, 1, 2} or random.Random(str(sorted(places))).random() < better / 100 else 0.0

        asked = inquiry(MadeUp(text(words + 1), lost))
        check(asked, range(size), lambda *step, told=told: told.append(step))
        parts = [done / total for done, total in told]
        assert parts == sorted(parts)
        assert parts[-1] == 1

"""The default method: its values against plain forwards, and each rule by which words are named."""

import random
from collections.abc import Callable, Iterable
from itertools import combinations
from math import comb, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from look import plainly
from look.made_up import MadeUp, added, inquiry, text
from references import saved

import limelight
from limelight.look import Seen
from limelight.look.inquiry import MORE, REPLACEMENTS
from limelight.look.measured import (
    ADDS,
    ALL,
    CERTAIN,
    DECIDES,
    FOLLOWED,
    MOST,
    OUTWEIGHS,
    PROPOSED,
    Found,
    measured,
    ranked,
    smallest,
)
from limelight.look.question import GivenWord

TEXT = "w10 w11 w12 w13 w14 w15 w16 w17 w18"
WHOLE = GivenWord.least * DECIDES
"""What words must do together to be named."""


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    return limelight.open(folder, kind=limelight.Model)


@pytest.fixture
def seen(model: limelight.Model) -> Seen:
    return model.look(TEXT)


def found(words: int | list[str], lost: Callable[[str, frozenset[int]], float], *, blocks: bool = True) -> Found:
    """What is measured of words and one more, which asks."""
    names = text(words) if isinstance(words, int) else words
    session = MadeUp([*names, "asks"], lambda way, places, turn: lost(way, places), blocks=blocks)
    return measured(inquiry(session))


@pytest.mark.parametrize("foil", [None, "w40"])
def test_a_word_is_worth_what_the_likely_words_cost_on_average(
    model: limelight.Model, seen: Seen, foil: str | None
) -> None:
    answer = seen.importance("w18", foil=foil)
    assert answer.method == "measured"
    *prompt, token = plainly.ids_of(model, TEXT)
    rival = None if foil is None else model.tokenizer.id(foil)
    expected = [plainly.alone(model, prompt, place, token, rival) for place in range(1, 9)]
    *others, asks = answer.words
    assert [heard.importance for heard in others] == pytest.approx(expected[:7], abs=2e-4)
    assert asks.importance == (pytest.approx(expected[7], abs=2e-4) if 7 in answer.named else None)
    assert [heard.asks for heard in answer.words] == [False] * 7 + [True]
    assert answer.unit == ("log-probability" if foil is None else "log-odds")


@pytest.mark.parametrize("foil", [None, "w40"])
def test_what_is_named_does_most_of_the_pairs_with_one_of_the_strongest(
    model: limelight.Model, seen: Seen, foil: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of seven words two make sets enough to be checked; of a random model none does enough to be named otherwise."""
    monkeypatch.setattr("limelight.look.measured.DECIDES", -100)
    answer = seen.importance("w18", foil=foil)
    *prompt, token = plainly.ids_of(model, TEXT)
    rival = None if foil is None else model.tokenizer.id(foil)

    def ways(words: tuple[int, ...], others: int) -> tuple[tuple[float, ...], ...]:
        places = [i + 1 for i in words]
        replaced = plainly.by_other(model, prompt, places, token, rival, range(others))
        return tuple(replaced), (plainly.blocked(model, prompt, places, token, rival),)

    def order(sets: Iterable[tuple[int, ...]], others: int = REPLACEMENTS) -> list[tuple[int, ...]]:
        return ranked({words: ways(words, others) for words in sets}, GivenWord.least)

    single = [i for (i,) in order((i,) for i in range(7))]
    grown = {tuple(sorted((one, other))) for one in single[:FOLLOWED] for other in single if other != one}
    alone = [plainly.alone(model, prompt, place, token, rival) for place in range(1, 8)]
    best = sorted(order(order(grown)[:FOLLOWED], MORE)[0], key=lambda i: -alone[i])  # the strongest first
    together = plainly.replaced(model, prompt, [i + 1 for i in best], token, rival)
    asking = min(plainly.by_other(model, prompt, [8], token, rival, range(MORE)))
    assert answer.named == (tuple(best) if asking < OUTWEIGHS * together else (7, best[0]))


@pytest.mark.parametrize("words", range(60))
def test_as_many_words_are_needed_as_make_twenty_sets(words: int) -> None:
    enough = [size for size in range(1, MOST + 1) if comb(words, size) >= CERTAIN]
    assert smallest(words) == min(enough, default=1)


values = st.lists(st.floats(0.0, 8.0).map(lambda value: round(value, 3)), min_size=2, max_size=8, unique=True)


@settings(max_examples=80, deadline=None)
@given(values, st.booleans())
def test_of_words_that_do_nothing_to_one_another_the_highest_are_named(worth: list[float], blocks: bool) -> None:
    """One word at a time finds what all sets together would."""
    words = len(worth)
    answer = found(words, lambda way, places: added(worth, places), blocks=blocks)
    assert answer.values == (*worth, None)
    ranked = sorted(range(words), key=lambda i: -worth[i])
    size = min(smallest(words), max(1, words // 2))
    while size < min(MOST, words // 2) and worth[ranked[size]] >= ADDS:
        size += 1
    best = max(combinations(range(words), size), key=lambda chosen: added(worth, chosen))
    assert sorted(best) == sorted(ranked[:size])
    decides = added(worth, best) >= WHOLE
    assert answer.named == (tuple(ranked[:size]) if decides else ())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.booleans(), st.integers(0, 9))
def test_whatever_words_do_to_one_another_what_is_named_is_worth_it(words: int, blocks: bool, seed: int) -> None:
    def lost(way: str, places: frozenset[int]) -> float:
        return random.Random(f"{seed} {way} {sorted(places)}").gauss(0, 2)

    answer = found(words, lost, blocks=blocks)
    asking = lost("replaced", frozenset([words]))
    if words in answer.named:  # which asks, and then comes first
        assert answer.named.index(words) == 0
        assert answer.values[words] == asking >= WHOLE
        assert len(answer.named) <= smallest(words + 1)
        return
    assert answer.values[words] is None
    assert len(set(answer.named)) == len(answer.named) <= MOST
    assert set(answer.named) <= set(range(words))
    if answer.named:
        assert len(answer.named) in (1, *range(2, words // 2 + 1))
        # One word alone where it does enough, and with no other more.
        assert words <= 5 or len(answer.named) in (1, *range(smallest(words), MOST + 1))
        worth = lost("replaced", frozenset(answer.named))
        assert worth >= WHOLE
        assert worth > asking / OUTWEIGHS
        if len(answer.named) > smallest(words):
            fewer = [lost("replaced", frozenset(each)) for each in combinations(answer.named, smallest(words))]
            assert worth >= min(fewer) + ADDS


@pytest.mark.parametrize("way", ["replaced", "blocked"])
def test_one_more_word_must_add_enough_in_every_way(way: str) -> None:
    for more, size in ((ADDS - 0.01, 1), (ADDS + 0.01, 2)):
        worth = {4: 3.0, 9: more}

        def lost(kind: str, places: frozenset[int], worth: dict[int, float] = worth) -> float:
            return added(worth if kind == way else {4: 3.0, 9: 2.0}, places)

        assert found(45, lost).named == (4, 9)[:size]


def test_words_said_more_than_once_are_tried_together() -> None:
    for times in (2, 3):
        for words in (8, 24, 40):
            for spelled in ("Mary", "mary", " Mary"):
                names = text(words)
                places = [1, words // 2, words - 2][:times]
                for at, name in zip(places, ["Mary", spelled, "MARY"], strict=False):
                    names[at] = name
                answer = found(names, lambda way, gone, places=places: 4.0 * (set(places) <= gone))
                assert sorted(answer.named) == places, (times, words)
                if words <= ALL:
                    assert answer.values == (*(0.0,) * words, None)


def test_signs_said_more_than_once_are_not_a_word() -> None:
    names = text(24)
    names[2] = names[20] = ","
    assert found(names, lambda way, gone: 4.0 * ({2, 20} <= gone)).named == ()


@pytest.mark.parametrize("most", [-2.0, 0.0, WHOLE - 0.01])
def test_nothing_is_named_where_no_few_words_lower_the_answer(most: float) -> None:
    def lost(way: str, places: frozenset[int]) -> float:
        return most if places else 0.0

    for words in (1, 2, 5, 8, 22, 40):
        assert found(words, lost).named == ()
    assert found(8, lambda way, places: WHOLE + 0.01).named != ()


@pytest.mark.parametrize(
    ("words", "worth", "named"),
    [
        (8, {2: 1.0, 5: 0.5}, (8, 2)),  # three times what all do that would be named: as many as the check needs
        (8, {2: 1.7, 5: 1.2}, (8, 2)),
        (8, {2: 1.7, 5: 1.4}, (2, 5)),
        (18, {2: 1.0, 5: 0.9}, (18, 2)),
        (22, {2: 1.0, 5: 0.9}, (22,)),
        (8, {}, (8,)),
        (0, {}, (0,)),
    ],
)
def test_the_word_that_asks_counts_only_where_it_outweighs_all_else(
    words: int, worth: dict[int, float], named: tuple[int, ...]
) -> None:
    session = MadeUp([*text(words), "asks"], lambda way, places, turn: added({**worth, words: 9.0}, places))
    answer = measured(inquiry(session))
    assert answer.values[words] == (9.0 if words in named else None)
    assert answer.named == named
    assert {(way, places) for way, places in session.asked if words in places} == {("replaced", frozenset([words]))}


def test_the_word_that_asks_is_not_named_for_little() -> None:
    for loss in (WHOLE - 0.01, WHOLE + 0.01):
        session = MadeUp(text(9), lambda way, places, turn, loss=loss: loss * (8 in places))
        assert measured(inquiry(session)).named == ((8,) if loss > WHOLE else ())


def test_a_word_counts_for_the_mean_probability_whichever_of_the_likely_words_leaves_it_by_chance() -> None:
    for spared in range(REPLACEMENTS):
        session = MadeUp(text(9), lambda way, places, turn: (0.0 if turn == spared else 99.0) * (4 in places))  # noqa: B023
        assert measured(inquiry(session)).values[4] == pytest.approx(log(REPLACEMENTS))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=9))
def test_both_ways_count_as_much_whatever_is_lost_in_each(worth: list[tuple[int, int]]) -> None:
    losses = {(i,): ((replaced - 1.0, replaced + 1.0), (2.0 * blocked,)) for i, (replaced, blocked) in enumerate(worth)}
    order = ranked(losses, 0.14)
    assert sorted(order) == sorted(losses)
    ways = [way for way in zip(*worth, strict=True) if max(way)]  # a way in which nothing is lost says nothing
    shares = [round(sum(way[i] / max(way) for way in ways), 9) for (i,) in order]
    assert shares == sorted(shares, reverse=True)


def test_of_the_words_that_do_most_more_likely_words_are_tried() -> None:
    """The fifth of them can stand for the first word, so that another is named; its number is the first three's."""
    worth = {0: 4.0, 1: 3.9, 2: 3.8}

    def lost(way: str, places: frozenset[int], turn: int) -> float:
        return max((worth.get(i, 0.0) for i in places if i or turn != 4), default=0.0)

    answer = measured(inquiry(MadeUp([*text(22), "asks"], lost)))
    assert answer.named == (1,)
    assert answer.values[:3] == (4.0, 3.9, 3.8)


@settings(max_examples=15, deadline=None)
@given(words=st.integers(ALL + 1, 120), draw=st.randoms(use_true_random=False))
def test_of_a_long_text_only_what_is_proposed_is_measured(words: int, draw: random.Random) -> None:
    heavy = draw.sample(range(words), 3)
    worth = {i: draw.uniform(0, 0.01) for i in range(words)} | dict(zip(heavy, (6.0, 5.0, 4.0), strict=True))
    session = MadeUp([*text(words), "asks"], lambda way, places, turn: added(worth, places))
    answer = measured(inquiry(session))
    known = [i for i, value in enumerate(answer.values) if value is not None]
    assert len(known) == PROPOSED
    assert words not in known  # the word that asks
    assert {*heavy} <= {*known}
    assert answer.named == tuple(heavy)
    for i in known:
        assert answer.values[i] == pytest.approx(worth[i])
    assert {places for way, places in session.asked if way == "replaced" and len(places) == 1} == {
        frozenset([i]) for i in (*known, words)
    }


def test_a_decoder_proposes_what_gave_most_to_the_answer_by_one_reading(model: limelight.Model) -> None:
    draw = random.Random(0)
    seen = model.look(" ".join(f"w{draw.randrange(3, 99)}" for _ in range(40)))
    answer = seen.importance(40)
    given_ = seen.importance(40, method="alti-logit", check=False)
    highest = sorted(range(38), key=lambda i: -(given_.words[i].importance or 0.0))[:PROPOSED]
    asks = [38] if 38 in answer.named else []
    assert [i for i, heard in enumerate(answer.words) if heard.importance is not None] == [*sorted(highest), *asks]
    *prompt, token = plainly.ids_of(model, seen.text)
    for i in (*highest[:3], *asks):
        assert answer.words[i].importance == pytest.approx(plainly.alone(model, prompt, i + 1, token), abs=2e-4)
    assert [heard.start for heard in answer.ranked()] == [
        heard.start
        for heard in sorted(answer.words, key=lambda h: -(h.importance or 0))
        if heard.importance is not None
    ]
    assert {heard.times is None for heard in answer.words} == {True, False}


@pytest.mark.parametrize("words", [1, 2, 5, 8, 23, 40])
@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("heavy", [0.0, 5.0])
def test_progress_goes_on_to_the_end(words: int, blocks: bool, heavy: float) -> None:
    told: list[tuple[int, int]] = []
    session = MadeUp([*text(words), "asks"], lambda way, places, turn: heavy * (0 in places), blocks=blocks)
    measured(inquiry(session), lambda *step: told.append(step))
    parts = [done / total for done, total in told]
    assert parts == sorted(parts)
    assert parts[-1] == 1
    assert min(parts) >= 0
    if words > 2:
        assert told[0][1] == 400  # hundredths of the search for one word, two and three, and of what follows


def test_what_was_measured_is_kept() -> None:
    session = MadeUp(text(9), lambda way, places, turn: added([3.0, 2.0, 1.0], places))
    first = measured(inquiry(session))
    asked = len(session.asked)
    assert measured(inquiry(session)) == first
    assert len(session.asked) == asked
    taken = [(way, places) for way, places in session.asked if way == "blocked"]
    assert len(taken) == len(set(taken))  # nor is anything measured twice
    assert log(2) == ADDS

"""What is told of pictures: ranks with ties, which sets a named one is compared with, shares over texts and kinds."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations, permutations
from math import comb
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

import limelight
from benchmarks import importance as bench
from benchmarks import looking
from benchmarks.everyday import Item
from benchmarks.importance import ALL, KINDS, ahead, pictures, ranks, rows, shown, tables, told
from benchmarks.looking import cut
from benchmarks.pictures import CHANCE, JUDGED_BY, JUDGES, SETS, Picture, _likely, other_sets, picture, reciprocal
from limelight.look.importance import DEFAULT
from limelight.look.inquiry import WAYS, Inquiry
from limelight.look.question import GivenWord

TEXT = "the old man and the sea were calm that day"


@pytest.fixture(scope="module")
def model(tiny: Path) -> limelight.Model:
    found = limelight.open(tiny)
    assert isinstance(found, limelight.Model)
    return found


def made(kind: str = "a", text: str = "t", **more: Any) -> Picture:
    return Picture(kind, text, more.pop("foil", None), "m", peers=True, **{"chance": 0.5} | more)


# ---- ranks


def by_brute_force(values: Sequence[float | None], places: set[int]) -> float:
    """The mean over all orders in which what ties can stand."""
    worth = [float("-inf") if value is None else value for value in values]
    orders = [o for o in permutations(range(len(worth))) if sorted(worth, reverse=True) == [worth[i] for i in o]]
    return fmean(1 / (1 + min(order.index(i) for i in places)) for order in orders)


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ([3.0, 1.0, 2.0], {2}),
        ([3.0, 1.0, 2.0], {1, 2}),
        ([0.0] * 5, {3}),
        ([0.0] * 5, {0, 3}),
        ([2.0, None, None, -1.0, None], {1, 4}),
        ([2.0, None, None, -1.0, None], {0, 4}),
        ([1.0, 2.0, 1.0, 1.0, 0.0], {0, 4}),
    ],
)
def test_a_rank_is_the_mean_over_all_orders_of_what_ties(values: list[float | None], places: set[int]) -> None:
    assert reciprocal(values, places) == pytest.approx(by_brute_force(values, places))


def test_chance_is_that_of_words_in_random_order() -> None:
    assert reciprocal([0.0] * 4, {2}) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_a_word_that_is_left_out_takes_no_rank() -> None:
    assert reciprocal([1.0, 5.0, 3.0], {2}) == 0.5
    assert reciprocal([1.0, 5.0, 3.0], {2}, {1}) == 1


# ---- the sets beside the one that is named


def test_all_other_sets_are_tried_where_they_are_few() -> None:
    assert sorted(other_sets(range(6), (4, 1))) == sorted({*combinations(range(6), 2)} - {(1, 4)})
    assert len(other_sets(range(9), (0, 5, 7))) == comb(9, 3) - 1 <= SETS


@pytest.mark.parametrize(("words", "chosen"), [(5, (1, 3)), (9, (0, 5, 7)), (13, (0, 5, 7)), (40, (39, 2, 3))])
def test_they_are_others_of_as_many_words(words: int, chosen: tuple[int, ...]) -> None:
    others = other_sets(range(words), chosen)
    assert tuple(sorted(chosen)) not in others
    assert len({*others}) == len(others) == min(SETS, comb(words, len(chosen)) - 1)
    assert all(len({*each}) == len(chosen) and {*each} <= {*range(words)} for each in others)
    assert others == other_sets(range(words), chosen)  # the same in every run
    fewer = other_sets(range(words), chosen, 8)
    assert len({*fewer}) == 8
    assert tuple(sorted(chosen)) not in fewer


# ---- a text's picture


def test_a_picture_of_what_the_model_says_next(model: limelight.Model) -> None:
    found = picture(model, "tiny", Item("by hand", TEXT, None, (((4, 7),),)), foil=False, captum={})
    assert found.counts
    assert found.words == TEXT.split()
    assert found.asks == len(found.words) - 1
    assert {DEFAULT, CHANCE, "blocking", "attention", "leave-one-out"} <= {*found.found} == {*found.found_rest}
    n = len(found.words)
    assert found.found[CHANCE] == [pytest.approx(fmean(1 / k for k in range(1, n + 1)))]
    assert found.found_rest[CHANCE] == [pytest.approx(fmean(1 / k for k in range(1, n)))]
    answer = model.look(TEXT).importance()
    assert found.told == answer.told()
    assert found.named == [*answer.named]
    assert found.values == [heard.importance for heard in answer.words]
    if answer.check is not None:
        assert {*found.ahead} == {*JUDGES}
        seen = model.look(TEXT).ahead
        at, said = range(seen.words[-1].tokens.start - 1, seen.words[-1].tokens.stop - 1), seen.words[-1].tokens
        question = GivenWord(tuple(at), tuple(seen.ids[said.start : said.stop]))
        asked = Inquiry(seen.session, question, tuple(word.tokens for word in seen.words[:-1]))
        pool = sorted({*asked.others, *answer.named})
        own, *others = asked.losses(WAYS["deleted"], [answer.named, *other_sets(pool, answer.named)])
        assert found.ahead["deleted"] == fmean(loss > own for loss in others)
    assert Picture(**json.loads(json.dumps(asdict(found)))) == found


def test_new_texts_are_those_of_the_later_part_on_which_nothing_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kinds come in turn, so that a run that is broken off has measured all of them."""
    parts = {later: [Item(kind, f"{kind} {later} {i}", None, ()) for kind in ("by hand", "a", "b") for i in range(40)]
             for later in (False, True)}  # fmt: skip
    monkeypatch.setattr(bench, "items", lambda data, later=False: parts[later])
    new = [item.text for item, _ in bench.wanted("new", None, None, compare=False)]
    assert new[:4] == ["by hand True 36", "a True 14", "b True 14", "by hand True 37"]
    assert len(new) == len({*new}) == 4 + 26 + 26
    assert [item.text for item, _ in bench.wanted("new", 1, ["b"], compare=False)] == ["b True 14"]
    assert len(bench.wanted("later", None, None, compare=False)) == 120
    halves = [{item.text for item, _ in bench.wanted(half, None, None, compare=False)} for half in ("chosen", "told")]
    assert halves[0] | halves[1] == {item.text for item in parts[False]}


def test_an_answer_that_the_model_does_not_give_is_not_measured(model: limelight.Model) -> None:
    found = picture(model, "tiny", Item("by hand", TEXT, "sea", (((4, 7),),)), foil=False, captum={})
    assert 0 < found.chance < 0.05
    assert (found.counts, found.words, found.found) == (False, [], {})


@pytest.mark.parametrize("foil", [False, True])
def test_sentences_for_comparison_have_ranks_alone(model: limelight.Model, foil: bool) -> None:
    items = [Item("blimp one", TEXT, *pair) for pair in (("sea", (((4, 7),),), "man"), ("man", (((4, 7),),), "sea"))]
    found = [picture(model, "tiny", item, foil, None) for item in items]
    assert {each.right for each in found} == {True, False}  # the model finds one of the two likelier
    (right,) = (each for each in found if each.counts)
    assert right.foil == (right.foil if foil else None)
    assert {*right.found} == {DEFAULT, CHANCE}
    assert (right.told, right.ahead) == ([], {})


def test_the_judge_replaces_by_other_words_than_the_method(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    *spans, asked = (word.tokens for word in seen.words)
    question = GivenWord(tuple(range(asked.start - 1, asked.stop - 1)), seen.ids[asked.start :])
    inquiry = Inquiry(seen.session, question, tuple(spans))
    judged = 0
    for i, span in enumerate(spans):
        used = {id for variant in inquiry.replaced_by_more([i]) for _, ids in variant.replaced for id in ids}
        likely = _likely(inquiry.session, span, inquiry.replaced_by_more([i]))
        assert not {*likely} & {*seen.ids[span.start : span.stop]}
        if len(likely) == JUDGED_BY and used:
            judged += not used & {*likely}
    assert judged > 0


# ---- what is told of many


def test_shares_are_of_the_texts_that_they_are_about() -> None:
    some = dict.fromkeys(JUDGES, 0.0)
    found = [
        made("a", named=[1], sets=40, ahead=some, trusted=True, random=[True, False]),
        made("a", named=[1], sets=40, ahead=some | {"blocked": 0.5}, random=[False, False]),
        made("a", named=[1], sets=4, ahead=some, short=True),
        made("b"),
        made("b", chance=0.01),
        made("b", chance=0.01, own=True, named=[0], sets=40, ahead=some),
    ]
    facts = told(found)
    assert [facts[ALL][name] for name in ("texts", "counted", "none named", "too short")] == [6, 5, 1, 1]
    assert facts["a"]["best, blocked"] == pytest.approx(2 / 3)
    assert facts["a"]["rank, blocked"] == pytest.approx(0.5 / 3)
    assert facts["b"]["best, deleted"] == 1
    assert facts["a"]["trusted"] == 0.5
    assert facts[ALL]["trusted"] == pytest.approx(1 / 3)
    assert facts[ALL]["trusted of all"] == pytest.approx(1 / 5)
    assert facts[ALL]["random trusted"] == 0.25
    assert facts["b"]["random trusted"] is None


def test_a_text_counts_once_whatever_its_groups_and_a_kind_whatever_its_texts() -> None:
    found = [
        made("a", found={DEFAULT: [1.0, 0.5], CHANCE: [0.25, 0.25], "p": [0.5, 0.5]}),
        made("b", found={DEFAULT: [0.5], CHANCE: [0.25], "p": [1.0]}),
        made("b", found={DEFAULT: [0.5], CHANCE: [0.25], "p": [0.5]}),
        made("b", chance=0.0, found={DEFAULT: [0.0]}),
        made("c", found={}),
    ]
    by_method = ranks(found)
    assert by_method[DEFAULT] == {"a": 0.75, "b": 0.5, ALL: pytest.approx(1.75 / 3), KINDS: 0.625}
    assert ahead(by_method, bench.peer) == {
        "a": 0.25,
        "b": -0.25,
        ALL: pytest.approx((1.75 - 2.0) / 3),
        KINDS: pytest.approx(0.625 - 0.625),
    }
    assert ahead(by_method, lambda method: method == CHANCE)["b"] == 0.25
    assert ranks(found, rest=True) == {}


def test_a_result_is_told_beside_what_was_asked_for() -> None:
    found = [
        made("a", named=[0], sets=40, ahead=dict.fromkeys(JUDGES, 0.0), trusted=True, told=["So."], words=["x"]),
        made("blimp x", right=True, found={DEFAULT: [1.0], CHANCE: [0.5], "p": [0.5]}),
        made("blimp x", right=True, foil="f", found={DEFAULT: [0.5], CHANCE: [0.5], "p": [1.0]}),
    ]
    result = bench.result_of(found, {})
    by_name = {row["name"]: row for row in result["rows"]}
    assert by_name["the words named are among the best, blocked"]["ours"] == 1
    assert by_name[f"for comparison, no foil, all words, {ALL}"]["ratio"] == 2
    assert by_name[f"for comparison, foil, all words, {KINDS}"]["peer"] == 1
    lines = tables(result).splitlines()
    assert any(line.startswith("| ahead of the best peer") and "-0.500" in line for line in lines)
    assert [*rows({"ranks": {}}, {})] == []
    assert shown([made(told=["So."], words=["x", "y"], values=[0.5, None], own=True, answer="z")], 3).splitlines() == [
        "[a] t → z",
        "So.",
        "x 0.50",
    ]


def test_what_stands_in_the_file_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out.jsonl"
    items = [(Item("a", text, None, ()), False) for text in ("one", "two", "three")]
    calls: list[str] = []

    def measured(model: object, name: str, item: Item, foil: bool, captum: object, most: int) -> Picture:
        calls.append(item.text)
        return Picture(item.kind, item.text, None, name, captum is not None)

    monkeypatch.setattr(bench, "picture", measured)
    monkeypatch.setattr(limelight, "open", lambda path: path)
    assert len([*pictures("some/m", items[:2], False, out)]) == 2
    with out.open("a") as file:
        file.write('\n{"kind": "a", "te')  # broken off
    found = [*pictures("other/m", items, False, out)]
    assert [each.text for each in found] == ["one", "two", "three"]
    assert calls == ["one", "two", "three"]
    assert [*pictures("m", items, False, out)] == found
    assert len(calls) == 3


@pytest.mark.parametrize(("length", "words"), [("12 words", 12), ("128 words", 128)])
def test_what_is_timed_is_as_long_as_it_says(model: limelight.Model, length: str, words: int) -> None:
    assert len(model.look(cut(model, length)).words) == words


def test_what_looking_costs_is_measured_in_turn_or_alone(tiny: Path) -> None:
    seconds = looking.one("seconds", "12 words", str(tiny), 1)
    assert [*seconds] == [*looking.LENGTHS["12 words"]]
    assert all(value > 0 for value in seconds.values())
    assert seconds["picture"] > seconds["plain"]
    assert [*looking.one("estimate", "12 words", str(tiny), 1)] == ["MB"]
    rows = [*looking._rows({"12 words": seconds}, dict.fromkeys(looking.KINDS, 100.0))]
    assert {row.name: row.ours for row in rows if row.unit == "s"}["12 words, check"] == seconds["check"]
    assert [row.ratio for row in rows if row.unit == "of a forward's"] == [1.2] * 3


def test_what_is_timed_has_no_more_tokens_than_it_says(model: limelight.Model) -> None:
    assert 450 < len(model.look(cut(model, "512 tokens")).ids) <= 512

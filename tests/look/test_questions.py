"""What is asked of a model, and how a text is changed for it: each number worked out by hand."""

from collections.abc import Sequence
from math import inf, log

import pytest
import torch
from look.made_up import MadeUp, inquiry, text

from limelight.errors import RequestError
from limelight.look.inquiry import Inquiry
from limelight.look.links import Link, _best, behind, by_word
from limelight.look.many import batches, windows
from limelight.look.question import Class, GivenWord, MaskedWord, NextWord, Question, Score, Similarity, Span, Tag
from limelight.look.session import Variant
from limelight.look.text import Reading
from limelight.text.words import Word

PLACES = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]]).log()
"""Logits [1, 2, 3] of two places."""


@pytest.mark.parametrize(
    ("question", "answers", "value"),
    [
        (GivenWord((4, 5), (2, 0)), PLACES, log(0.2 * 0.1)),
        (NextWord((4,), (2,), 1), PLACES[:, :1], log(0.2 / 0.3)),
        (Class((), (1,)), PLACES[:, 0] + 7, log(0.3)),
        (Class((), (1,), 0), PLACES[:, 0], log(0.3 / 0.5)),
        (Tag((4,), (1,)), PLACES[:, :1], log(0.3)),
        (Score(()), torch.tensor([[1.5, 2.5]]), 1.5),
        (Score((), 1), torch.tensor([[1.5, 2.5]]), 2.5),
        (Span((3, 4, 5), 3, 5), torch.tensor([[[1, 4], [2, 5], [3, 6]]]).float().log(), log(1 / 5) + log(6 / 9)),
        (Span((3, 4, 5), 3, 5, (5, 4)), torch.tensor([[[1, 4], [2, 5], [3, 6]]]).float().log(), log(1 / 3 * 6 / 5)),
        (Similarity((), torch.tensor([3.0, 4.0])), torch.tensor([[1.0, 0.0]]), 0.6),
        (Similarity((), torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0])), torch.tensor([[1.0, 0.0]]), 0.6),
        (Similarity((), torch.tensor([3.0, 4.0]), torch.tensor([5.0, 0.0])), torch.tensor([[1.0, 0.0]]), -0.4),
    ],
)
def test_what_the_head_answers_becomes_one_number(question: Question, answers: torch.Tensor, value: float) -> None:
    assert question.value(answers).tolist() == pytest.approx([value], abs=1e-6)
    assert question.value(answers.repeat(3, *[1] * (answers.dim() - 1))).tolist() == pytest.approx([value] * 3)


def test_the_log_probability_is_told_part_by_part_whatever_the_foil() -> None:
    question = GivenWord((4, 5), (2, 0), 1)
    assert question.logprobs(PLACES).tolist() == [pytest.approx([log(0.2), log(0.1)])]
    assert question.logprob(PLACES).tolist() == pytest.approx([log(0.02)])


def test_each_question_names_its_unit_and_the_least_that_counts() -> None:
    other = torch.ones(2)
    asked = [GivenWord((1,), (2,)), GivenWord((1,), (2,), 3), Score(()), Span((1, 2), 1, 2), Similarity((), other)]
    assert [(each.unit, each.least) for each in asked] == [
        ("log-probability", 0.14),
        ("log-odds", 0.14),
        ("score", 0.14),
        ("log-odds", 0.14),
        ("cosine", 0.01),
    ]


def test_of_probabilities_the_mean_counts_and_of_scores_the_mean_loss() -> None:
    for question in (GivenWord((1,), (2,)), Span((1, 2), 1, 2)):
        assert question.average([0.0, log(4)]) == pytest.approx(log(1.6))  # (1 + 1 / 4) / 2 = 1 / 1.6
        assert question.average([0.0, inf]) == pytest.approx(log(2))
        assert question.average([inf, inf]) == inf
        assert question.average([1.0, -inf]) == -inf
    assert Score(()).average([1.0, 4.0]) == 2.5
    assert Similarity((), torch.ones(2)).average([0.1, 0.2]) == pytest.approx(0.15)


def test_a_foil_is_held_against_the_answer_where_the_two_part() -> None:
    assert MaskedWord.against((4, 5), (7, 8), (7, 9, 1), "x") == MaskedWord((5,), (8,), 9)
    assert GivenWord.against((4, 5), (7, 8), (6,), "x") == GivenWord((4,), (7,), 6)
    with pytest.raises(RequestError, match=r"^' cats' and the word in question begin alike, so no token tells them"):
        GivenWord.against((4, 5), (7, 8), (7,), " cats")


CHANGED = Variant(blocked=(range(1, 2),), left_out=(range(8, 9),), replaced=((range(3, 6), (70, 71)),))


def test_a_variant_says_what_stands_where() -> None:
    assert CHANGED.edits == ((range(3, 6), (70, 71)), (range(8, 9), ()))
    assert [CHANGED.moved(place) for place in range(10)] == [0, 1, 2, 3, 4, 5, 5, 6, 7, 7]
    assert CHANGED.places(10) == [0, 1, 2, 3, 4, 6, 7, 9]
    assert CHANGED.tokens(range(100, 110)) == [100, 101, 102, 70, 71, 106, 107, 109]
    assert CHANGED.places(10, 2) == [2, 3, 4, 6, 7, 9]
    assert CHANGED.tokens(range(100, 110), 2) == [102, 70, 71, 106, 107, 109]
    assert Variant() == Variant((), (), ())
    assert Variant().tokens((5, 6)) == [5, 6]


def test_where_nothing_can_be_blocked_that_is_refused() -> None:
    session = MadeUp(text(3), lambda way, places, turn: 1.0, blocks=False)
    question = GivenWord((2,), (0,))
    told: list[tuple[int, int]] = []
    variants = [Variant(), Variant(left_out=(range(1),))]
    assert session.values(question, variants, lambda *step: told.append(step)) == [0, -1]
    assert told == [(2, 2)]
    with pytest.raises(
        RequestError, match=r"^a recurrent model reads all words into one state, so none can be blocked"
    ):
        session.values(question, [*variants, Variant(blocked=(range(1),))])
    with pytest.raises(RequestError, match=r"^the head of this model has no answer to the question Score$"):
        session.values(Score(()), variants)


def test_variants_are_read_so_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    session, question = MadeUp(text(9), lambda way, places, turn: 1.0), GivenWord((8,), (0,))
    variants = [Variant()] * 130
    assert [len(batch) for batch in session._batches(question, variants)] == [64, 64, 2]
    monkeypatch.setattr("limelight.look.session.BATCH", 30)  # three texts of ten tokens
    assert [*session._batches(question, variants[:7])] == [[0, 1, 2], [3, 4, 5], [6]]
    monkeypatch.setattr("limelight.look.session.BATCH", 9)
    assert [*session._batches(question, variants[:2])] == [[0], [1]]


def test_what_is_kept_is_made_once_until_it_is_forgotten() -> None:
    session, made = MadeUp(text(2), lambda way, places, turn: 1.0), iter(range(9))
    assert not session.knows("it")
    assert [session.once("it", lambda: next(made)) for _ in range(3)] == [0, 0, 0]
    assert session.knows("it")
    assert [session.forget("it"), session.forget("it")] == [0, None]
    assert session.once("it", lambda: next(made)) == 1


def test_the_words_that_can_be_taken_away_are_all_but_the_one_that_asks() -> None:
    asked = inquiry(MadeUp(text(4), lambda way, places, turn: float(len(places))))
    assert (asked.asks, asked.others, asked.ways) == (3, (0, 1, 2), ("replaced", "blocked"))
    zero, three = range(1), range(3, 4)
    assert asked.deleted([0, 3]) == [Variant(left_out=(zero, three))]
    assert asked.blocked([0, 3]) == [Variant((zero,), (three,))]  # it cannot be hidden from itself
    parts = Inquiry(asked.session, asked.question, asked.spans, long=True)
    assert (parts.asks, parts.others, parts.ways) == (None, (0, 1, 2, 3), ("blocked",))
    assert parts.blocked([0, 3]) == [Variant((zero, three))]
    recurrent = inquiry(MadeUp(text(4), lambda way, places, turn: 1.0, blocks=False))
    assert recurrent.ways == ("replaced",)
    assert recurrent.blocked([0]) == [Variant(left_out=(zero,))]
    assert Inquiry(recurrent.session, recurrent.question, recurrent.spans, True).ways == ("deleted",)
    behind = Inquiry(asked.session, asked.question, asked.spans[:3])
    assert (behind.asks, behind.others) == (None, (0, 1, 2))
    assert asked.by_span(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])) == [1, 2, 4, 8]
    wide = Inquiry(asked.session, asked.question, (range(1, 3), range(3, 5)))
    assert wide.by_span(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])) == [6, 24]


def test_texts_come_in_windows_and_in_batches_of_so_many_positions() -> None:
    assert [len(lot) for lot in windows(map(str, range(130)))] == [64, 64, 2]
    assert [*batches([4, 1, 3, 2], 6)] == [[1, 3], [2], [0]]
    assert [*batches([3, 3], 6)] == [[0, 1]]
    assert [*batches([3, 3], 5)] == [[0], [1]]
    assert [*batches([])] == []
    assert [*batches([2048, 2048])] == [[0, 1]]
    assert [*batches([2049, 2048])] == [[1], [0]]


def test_a_word_hears_the_sum_of_the_tokens_and_asks_with_their_mean() -> None:
    words = (Word("a", 0, 1, range(1, 2)), Word("bc", 2, 4, range(2, 4)))
    reading, weights = Reading("a bc", (0, 1, 2, 3), words, str), torch.arange(16.0).view(4, 4)
    assert by_word(weights, reading).tolist() == [[5, 6 + 7], [(9 + 13) / 2, (10 + 11 + 14 + 15) / 2]]
    assert by_word(weights, reading, [1], [0]).tolist() == [[11]]
    assert by_word(weights, reading, targets=[1]).tolist() == [[13], [25]]
    assert by_word(weights, reading, sources=[0]).tolist() == [[5, 13]]


def links(found: Sequence[Link]) -> list[tuple[int, int, int, int, float]]:
    return [(link.layer, link.head, link.source, link.target, round(link.weight, 4)) for link in found]


def test_the_strongest_links_are_between_words_far_enough_apart() -> None:
    totals = [torch.tensor([[[0.1, 0.2], [0.3, 0.4]]]), torch.tensor([[[0.0, 0.9]] * 2, [[0.5, 0.0], [0.6, 0.7]]])]
    found = _best(totals, [2, 5], [1, 4], 5, 1)  # word 2 is in front of word 4
    assert links(found) == [
        (1, 0, 5, 4, 0.9),
        (1, 1, 5, 4, 0.7),
        (1, 1, 5, 1, 0.6),
        (1, 1, 2, 1, 0.5),
        (0, 0, 5, 4, 0.4),
    ]
    found = _best(totals, [2, 5], [1, 4], 9, 2, causal=False)
    assert links(found)[:4] == [(1, 0, 2, 4, 0.9), (1, 1, 5, 1, 0.6), (0, 0, 5, 1, 0.3), (0, 0, 2, 4, 0.2)]
    assert links(found)[4:] == [(1, 0, 5, 1, 0.0), (1, 1, 2, 4, 0.0)]  # nothing is a weight, too
    assert _best(totals, [2, 5], [1, 4], 9, 5) == []


@pytest.mark.parametrize(
    ("heard", "shares", "found", "telling"),
    [
        ([0, 2], [[0, 0], [0.3, 0], [0.2, 0], [0.05, 0.1]], [(0, 0, 2, 0, 0.2), (0, 0, 3, 0, 0.05)], (0, 0, 3, 2, 0.1)),
        (
            [0, 2],
            [[0, 0], [0.3, 0], [0.2, 0], [0.05, 0.09]],
            [(0, 0, 2, 0, 0.2), (0, 0, 3, 0, 0.05)],
            (0, 0, 2, 0, 0.2),
        ),
        ([0, 2], [[0, 0], [0.3, 0], [0.9, 0], [0.2, 0.4]], [(0, 0, 2, 0, 0.9), (0, 0, 3, 0, 0.2)], (0, 0, 3, 0, 0.2)),
        ([3], [[0], [0], [0], [0.4]], [], (0, 0, 3, 3, 0.4)),
    ],
    ids=["from the word that asks", "the strongest of all", "the first that is heard", "of one word alone"],
)
def test_the_telling_link_is_one_that_says_something(
    heard: list[int], shares: list[list[float]], found: list[tuple[float, ...]], telling: tuple[float, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Of four words; neighbours are no link, but the word that asks may look at its neighbour."""
    monkeypatch.setattr("limelight.look.links._totals", lambda *asked: [torch.tensor([shares])])
    strongest, one = behind(None, None, 4, heard, 5)  # type: ignore[arg-type]
    assert links(strongest) == found
    assert one is not None
    assert links([one]) == [telling]
    assert len(behind(None, None, 4, heard, 1)[0]) == min(1, len(found))  # type: ignore[arg-type]

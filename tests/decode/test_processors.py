import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation import logits_process as reference

from limelight.decode.processors import (
    Allowed,
    Bias,
    Forbidden,
    ForbiddenPhrases,
    FrequencyPenalty,
    History,
    LogitsProcessor,
    MinP,
    NoEnd,
    NoRepeat,
    PresencePenalty,
    RepetitionPenalty,
    Temperature,
    Text,
    TopK,
    TopP,
)

EMPTY = torch.zeros(3, 1, dtype=torch.int64)
NOTHING = History.of(EMPTY, 1)

PAIRS = [
    (RepetitionPenalty(1.3), reference.RepetitionPenaltyLogitsProcessor(1.3)),
    (RepetitionPenalty(0.7), reference.RepetitionPenaltyLogitsProcessor(0.7)),
    (Temperature(0.6), reference.TemperatureLogitsWarper(0.6)),
    (Temperature(1.8), reference.TemperatureLogitsWarper(1.8)),
    (TopK(1), reference.TopKLogitsWarper(1)),
    (TopK(40), reference.TopKLogitsWarper(40)),
    (TopK(10_000), reference.TopKLogitsWarper(10_000)),
    (TopP(0.05), reference.TopPLogitsWarper(0.05)),
    (TopP(0.9), reference.TopPLogitsWarper(0.9)),
    (TopP(0.999), reference.TopPLogitsWarper(0.999)),
    (MinP(0.02), reference.MinPLogitsWarper(0.02)),
    (MinP(0.5), reference.MinPLogitsWarper(0.5)),
    (MinP(1.0), reference.MinPLogitsWarper(1.0)),
]


def random_logits(rows: int, vocab: int, seed: int = 0, spread: float = 3.0) -> Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * spread


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda x: repr(x) if hasattr(x, "__slots__") else "")
@pytest.mark.parametrize("vocab", [60, 5000])
def test_equals_transformers(ours: LogitsProcessor, theirs: reference.LogitsProcessor, vocab: int) -> None:
    logits = random_logits(3, vocab)
    before = logits.clone()
    tokens = torch.randint(0, 60, (3, 25), generator=torch.Generator().manual_seed(1))
    found = ours(logits, History.of(tokens, 20))
    assert torch.equal(logits, before), "a processor changes nothing in place"
    assert torch.equal(found, theirs(tokens, logits.clone()))


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), p=st.floats(0.01, 0.99), spread=st.floats(0.1, 8), vocab=st.integers(1, 80))
def test_nucleus_equals_transformers(seed: int, p: float, spread: float, vocab: int) -> None:
    logits = random_logits(3, vocab, seed, spread)
    ours, theirs = TopP(p)(logits, NOTHING), reference.TopPLogitsWarper(p)(EMPTY, logits)
    if not torch.equal(ours, theirs):  # only where the mass meets p within rounding
        mass = logits.sort(descending=True).values.softmax(-1).cumsum(-1)
        assert float((mass - p).abs().min()) < 1e-6
        assert int((ours.isfinite() != theirs.isfinite()).sum(-1).max()) == 1


def test_nucleus_beyond_the_head_looks_at_the_whole_vocabulary() -> None:
    logits = random_logits(2, 4000, spread=0.5)
    logits[1] *= 12  # this row's nucleus is small
    ours = TopP(0.9)(logits, NOTHING)
    wide, narrow = ours.isfinite().sum(-1).tolist()
    assert narrow < 1024 < wide
    assert torch.equal(ours, reference.TopPLogitsWarper(0.9)(EMPTY, logits))
    assert torch.equal(ours[1:], TopP(0.9)(logits[1:], NOTHING)), "a row doesn't depend on who shares its batch"


def test_filters_keep_at_least_the_likeliest() -> None:
    logits = random_logits(3, 100)
    for processor in (TopK(1), TopP(1e-9), MinP(1.0)):
        kept = processor(logits, NOTHING).isfinite()
        assert torch.equal(kept, torch.nn.functional.one_hot(logits.argmax(-1), 100).bool())


def test_filters_respect_what_is_already_excluded() -> None:
    logits = TopK(5)(random_logits(3, 3000), NOTHING)
    for processor in (TopP(0.9), TopP(0.999999), MinP(0.001)):
        kept = processor(logits, NOTHING).isfinite()
        assert bool((kept <= logits.isfinite()).all())
        assert bool(kept.any(-1).all())


@settings(deadline=None)
@given(
    given=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    generated=st.lists(st.integers(0, 9), max_size=12),
    penalty=st.floats(-2, 2),
)
def test_frequency_and_presence_follow_their_definition(given: list[int], generated: list[int], penalty: float) -> None:
    logits = random_logits(1, 10)
    history = History.of(torch.tensor([given + generated]), len(given))
    often = torch.tensor([[float(generated.count(id)) for id in range(10)]])
    frequency = FrequencyPenalty(penalty)(logits, history)
    presence = PresencePenalty(penalty)(logits, history)
    assert torch.allclose(frequency, logits - penalty * often, atol=1e-5)
    assert torch.allclose(presence, logits - penalty * (often > 0), atol=1e-6)


def test_min_p_by_its_definition() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.11, 0.09]]).log()
    assert MinP(0.2)(logits, NOTHING).isfinite().tolist() == [[True, True, True, False]]
    assert math.isclose(float(MinP(0.2)(logits, NOTHING)[0, 1]), math.log(0.3), rel_tol=1e-6)


@pytest.mark.parametrize(
    ("processor", "forbidden"),
    [
        (Forbidden((0, 4)), [[0, 4], [0, 4]]),
        (Forbidden((4,), first=True), [[], [4]]),
        (Allowed((5, 0)), [[1, 2, 3, 4], [1, 2, 3, 4]]),
        (ForbiddenPhrases(((2, 1, 3), (1, 2, 5), (0, 2))), [[3], [2]]),
        (ForbiddenPhrases(((4,), (3, 1, 2, 0, 1), (3, 3, 1, 2, 0, 5))), [[4], [1, 4]]),
        (NoRepeat(1), [[1, 2], [0, 1, 2, 3]]),
        (NoRepeat(2), [[2], []]),
        (NoRepeat(3), [[], []]),
        (NoRepeat(9), [[], []]),
        (NoEnd((0, 5), 5), [[0, 5], [0, 5]]),
        (NoEnd((0, 5), 4), [[0, 5], []]),
        (NoEnd((0, 5), 3), [[], []]),
    ],
    ids=repr,
)
def test_rules_forbid_these_tokens_and_leave_the_others(processor: LogitsProcessor, forbidden: list[list[int]]) -> None:
    history = History([Text([1, 2, 1], 2), Text([3, 1, 2, 0], 4)])  # one has a token of its own, the other has none
    logits = random_logits(2, 6)
    before = logits.clone()
    expected = logits.clone()
    for row, ids in enumerate(forbidden):
        expected[row, ids] = -torch.inf
    assert torch.equal(processor(logits, history), expected)
    assert torch.equal(logits, before)


def test_a_run_of_three_does_not_come_again() -> None:
    history = History([Text([4, 5, 3, 5, 4, 5], 1), Text([4, 5, 3, 4, 5, 2, 4, 5], 8)])
    assert NoRepeat(3)(torch.zeros(2, 6), history).isinf().tolist() == [
        [False, False, False, True, False, False],
        [False, False, True, True, False, False],
    ]


def test_a_bias_is_added_to_each_row() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert Bias((2, 0), (0.5, -1.0))(logits, NOTHING).tolist() == [[0.0, 2.0, 3.5], [3.0, 5.0, 6.5]]


def test_each_filter_at_its_very_border() -> None:
    even = torch.zeros(1, 4)  # a quarter each
    assert TopP(0.5)(even, NOTHING).isfinite().tolist() == [[True, True, False, False]]
    assert TopP(0.75)(even, NOTHING).isfinite().tolist() == [[True, True, True, False]]
    assert MinP(0.5)(torch.tensor([[0.0, math.log(0.5), -0.7]]), NOTHING).isfinite().tolist() == [[True, True, False]]
    assert TopK(2)(torch.tensor([[1.0, 2.0, 3.0, 2.0]]), NOTHING).isfinite().tolist() == [[False, True, True, True]]


def test_penalties_by_hand() -> None:
    history = History([Text([0, 0, 1, 2, 2], 3), Text([3], 1)])
    logits = torch.tensor([[4.0, -4.0, 1.0, 8.0], [2.0, 2.0, 2.0, -2.0]])
    assert RepetitionPenalty(2.0)(logits, history).tolist() == [[2.0, -8.0, 0.5, 8.0], [2.0, 2.0, 2.0, -4.0]]
    assert FrequencyPenalty(0.5)(logits, history).tolist() == [[4.0, -4.0, 0.0, 8.0], [2.0, 2.0, 2.0, -2.0]]
    assert PresencePenalty(0.5)(logits, history).tolist() == [[4.0, -4.0, 0.5, 8.0], [2.0, 2.0, 2.0, -2.0]]
    assert Temperature(2.0)(logits, history).tolist() == [[2.0, -2.0, 0.5, 4.0], [1.0, 1.0, 1.0, -1.0]]


def test_a_history_counts_each_row_and_fills_the_shorter_with_their_first() -> None:
    history = History.of(torch.tensor([[7, 5, 7, 7], [6, 6, 6, 6]]), 2)
    assert [(text.tokens, text.given, text.generated) for text in history.texts] == [
        ([7, 5, 7, 7], 2, 2),
        ([6, 6, 6, 6], 2, 2),
    ]
    tokens, counts = history.counts
    assert (tokens.dtype, counts.dtype) == (torch.int64, torch.float32)
    assert (tokens.tolist(), counts.tolist()) == ([[7, 5], [6, 6]], [[2.0, 0.0], [2.0, 2.0]])
    assert [each.shape for each in History([Text([], 0), Text([], 0)]).counts] == [(2, 0), (2, 0)]

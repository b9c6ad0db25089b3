import math

import pytest
import torch
from transformers.generation import logits_process as reference

from limelight.decode import Sampling
from limelight.decode.processors import (
    FrequencyPenalty,
    History,
    LogitsProcessor,
    MinP,
    PresencePenalty,
    RepetitionPenalty,
    Temperature,
    TopK,
    TopP,
)
from limelight.decode.sampling import _drawn, likeliest
from limelight.errors import RequestError

TOKENS = torch.tensor([[3, 1, 4, 1, 5]])
HISTORY = History.of(TOKENS, 3)


def draw(sampling: Sampling, logits: torch.Tensor, n: int) -> list[int]:
    """n tokens drawn one after another from the same logits [V]."""
    generators = sampling.generators([[0]])
    return [int(sampling.choose(logits[None], HISTORY, generators)) for _ in range(n)]


@pytest.mark.parametrize(
    ("wrong", "permitted"),
    [
        (
            {"temperature": -0.1},
            "temperature is -0.1; it must be 0 (always the likeliest token) or from 0.00001 to 100",
        ),
        ({"temperature": 1e-30}, "from 0.00001"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": 0}, "top_k is 0; it must be at least 1"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"min_p": -0.1}, "min_p is -0.1; it must be from 0 to 1"),
        ({"min_p": 1.5}, "min_p is 1.5"),
        ({"repetition": 0.0}, "repetition is 0.0; it must be above 0"),
        ({"repetition": math.inf}, "repetition is inf"),
        ({"frequency": 2.1}, "frequency is 2.1; it must be from −2 to 2"),
        ({"presence": -3.0}, "presence is -3.0; it must be from −2 to 2"),
        ({"seed": -1}, "seed is -1; it must be from 0 to 9223372036854775807"),
        ({"seed": 2**63}, "seed is"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float], permitted: str) -> None:
    with pytest.raises(RequestError) as error:
        Sampling(**wrong)
    assert permitted in str(error.value)


def test_limits_themselves_are_permitted() -> None:
    for sampling in (
        Sampling(temperature=1e-5, top_k=1, top_p=1.0, min_p=0.0, frequency=-2, presence=2, seed=0),
        Sampling(temperature=100, min_p=1.0, repetition=100, seed=2**63 - 1),
    ):
        assert 0 <= draw(sampling, torch.randn(20), 1)[0] < 20


def test_rules_in_sequence_equal_transformers() -> None:
    sampling = Sampling(temperature=0.8, top_k=30, top_p=0.9, min_p=0.05, repetition=1.2)
    processors = reference.LogitsProcessorList(
        [
            reference.RepetitionPenaltyLogitsProcessor(1.2),
            reference.TemperatureLogitsWarper(0.8),
            reference.TopKLogitsWarper(30),
            reference.TopPLogitsWarper(0.9),
            reference.MinPLogitsWarper(0.05),
        ]
    )
    logits = torch.randn(1, 200, generator=torch.Generator().manual_seed(0)) * 3
    ours = logits
    for processor in sampling.processors:
        ours = processor(ours, HISTORY)
    assert torch.equal(ours, processors(TOKENS, logits))


def test_only_rules_that_change_something_run() -> None:
    assert Sampling().processors == ()
    assert Sampling(temperature=1, top_p=1.0, min_p=0.0).processors == ()
    assert (
        len(Sampling(temperature=0.5, top_k=3, top_p=0.5, min_p=0.1, repetition=2, frequency=1, presence=1).processors)
        == 7
    )


def test_greedy_takes_the_likeliest_after_penalties() -> None:
    logits = torch.zeros(1, 8)
    logits[0, 5], logits[0, 2] = 2.0, 1.5
    assert Sampling().choose(logits, HISTORY, []).tolist() == [5]
    assert Sampling(presence=1.0).choose(logits, HISTORY, []).tolist() == [2]
    assert Sampling(frequency=1.0).choose(logits, HISTORY, []).tolist() == [2]
    assert Sampling(repetition=2.0).choose(logits, HISTORY, []).tolist() == [2]


def test_draws_follow_the_distribution() -> None:
    chances = torch.tensor([0.0, 0.4, 0.3, 0.0, 0.2, 0.1, 0.0])
    n = 4000
    drawn = torch.bincount(torch.tensor(draw(Sampling(temperature=1, seed=1), chances.log(), n)), minlength=7)
    assert drawn[chances == 0].sum() == 0
    sd = (chances * (1 - chances) * n).sqrt()
    assert bool(((drawn - chances * n).abs() <= 4 * sd).all())


def test_the_ends_of_the_unit_interval_choose_possible_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.tensor([[-torch.inf, 1.0, 2.0, -torch.inf]])
    for least_or_most, expected in ((0.0, 2), (1 - 2**-24, 1)):
        monkeypatch.setattr(torch, "rand", lambda n, generator, value=least_or_most: torch.full((n,), value))
        chosen = Sampling(temperature=1).choose(logits, HISTORY, [torch.Generator()])
        assert chosen.tolist() == [expected]


def test_a_total_mass_below_one_never_leaves_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda n, generator: torch.zeros(n))  # the point at the very end
    rows = torch.randn(200, 3000, generator=torch.Generator().manual_seed(0))
    assert bool((rows.softmax(-1).cumsum(-1)[:, -1] < 1).any()), "rounding must leave some totals below one"
    chosen = Sampling(temperature=1).choose(rows, HISTORY, [torch.Generator()] * 200)
    assert bool((chosen < 3000).all())


def test_a_seed_reproduces_and_its_absence_does_not() -> None:
    logits = torch.zeros(1000)
    assert draw(Sampling(temperature=1, seed=7), logits, 20) == draw(Sampling(temperature=1, seed=7), logits, 20)
    assert draw(Sampling(temperature=1, seed=7), logits, 20) != draw(Sampling(temperature=1, seed=8), logits, 20)
    assert draw(Sampling(temperature=1), logits, 20) != draw(Sampling(temperature=1), logits, 20)


def test_copies_of_a_prompt_draw_different_numbers() -> None:
    one, other, again = Sampling(temperature=1, seed=7).generators([[1, 2], [3], [1, 2]])
    assert [g.initial_seed() for g in (one, other, again)] == [7, 7, 8]


EVERY = {"temperature": 0.5, "top_k": 3, "top_p": 0.6, "min_p": 0.1, "repetition": 2, "frequency": 1, "presence": 1.5}
PENALTIES = (RepetitionPenalty(2), FrequencyPenalty(1), PresencePenalty(1.5))


@pytest.mark.parametrize(
    ("sampling", "processors", "remembers", "greedy"),
    [
        (Sampling(), (), False, True),
        (Sampling(**EVERY), (*PENALTIES, Temperature(0.5), TopK(3), TopP(0.6), MinP(0.1)), True, False),
        (Sampling(**{**EVERY, "temperature": 0}), PENALTIES, True, False),
        (Sampling(temperature=1.5), (Temperature(1.5),), False, False),
        (Sampling(temperature=1, repetition=0.5), (RepetitionPenalty(0.5),), True, False),
        (Sampling(frequency=-1), (FrequencyPenalty(-1),), True, False),
        (Sampling(presence=-1), (PresencePenalty(-1),), True, False),
        (Sampling(temperature=1, top_k=1, top_p=1, min_p=1), (TopK(1), MinP(1)), False, False),
    ],
)
def test_what_is_asked_for_is_done_in_this_order(
    sampling: Sampling, processors: tuple[LogitsProcessor, ...], remembers: bool, greedy: bool
) -> None:
    assert sampling.processors == processors
    assert (sampling.remembers, sampling.greedy) == (remembers, greedy)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"temperature": 9e-6},
            "temperature is 9e-06; it must be 0 (always the likeliest token) or from 0.00001 to 100",
        ),
        (
            {"temperature": 100.5},
            "temperature is 100.5; it must be 0 (always the likeliest token) or from 0.00001 to 100",
        ),
        ({"top_p": 1.01}, "top_p is 1.01; it must be above 0 and at most 1"),
        ({"min_p": 1.01}, "min_p is 1.01; it must be from 0 to 1"),
        ({"repetition": 100.5}, "repetition is 100.5; it must be above 0 and at most 100 (1 is no penalty)"),
        ({"frequency": -2.1}, "frequency is -2.1; it must be from −2 to 2 (0 is no penalty)"),
        ({"presence": 2.1}, "presence is 2.1; it must be from −2 to 2 (0 is no penalty)"),
    ],
)
def test_the_sentence_names_the_number_and_its_range(wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(RequestError) as error:
        Sampling(**wrong)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("point", "token"), [(1e-9, 1), (0.25, 1), (0.2501, 3), (0.5, 3), (0.75, 4), (0.7501, 5), (1.0, 5)]
)
def test_a_point_of_the_mass_belongs_to_one_token(point: float, token: int) -> None:
    scores = torch.tensor([-torch.inf, 9.0, -torch.inf, 9.0, 9.0, 9.0, -torch.inf]).numpy()  # a quarter each
    assert _drawn(scores, point) == token


def test_where_nothing_may_be_chosen_the_first_stands_for_it() -> None:
    assert _drawn(torch.full((3,), -torch.inf).numpy(), 0.5) == 0


def test_the_first_of_the_likeliest_is_taken() -> None:
    assert likeliest(torch.tensor([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]])) == [1, 0]


def test_without_a_seed_each_prompt_has_numbers_of_its_own() -> None:
    generators = Sampling(temperature=1).generators([[1], [1], [2]])
    assert len({generator.initial_seed() for generator in generators}) == 3
    assert [each.initial_seed() for each in Sampling(seed=0).generators([[1]] * 3)] == [0, 1, 2]

"""Many requests choose their tokens in one pass, and each chooses what it would alone."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from limelight.decode import Request, Rules, Sampling
from limelight.decode.choosing import choose
from limelight.decode.processors import (
    Forbidden,
    FrequencyPenalty,
    History,
    NoEnd,
    NoRepeat,
    PresencePenalty,
    RepetitionPenalty,
    Text,
    TopK,
    TopP,
)
from limelight.errors import RequestError

VOCAB = 40_000  # so many that torch would share a row among threads
LOGITS = torch.randn(12, VOCAB, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.1, 6, 12)[:, None]
TEXTS = [[(at * at + row) % (7 + row) for at in range(3 + 5 * row)] for row in range(12)]
MANNERS = [
    (Sampling(), Rules()),
    (Sampling(temperature=0.7, top_p=0.9, repetition=1.1), Rules()),
    (Sampling(temperature=1.2, top_k=40, min_p=0.01, frequency=0.5, presence=0.2), Rules()),
    (Sampling(frequency=1.5), Rules((Forbidden((3,), first=True), NoRepeat(2), NoEnd((5,), 20)))),
]


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def requests() -> list[Request]:
    found = []
    for row, text in enumerate(TEXTS):
        sampling, rules = MANNERS[row % len(MANNERS)]
        generator = torch.Generator().manual_seed(row)
        given = max(1, len(text) - 2 * row)
        found.append(Request(row, list(text), given, 90, 90, sampling, generator, frozenset(), None, None, rules=rules))
    return found


@torch.inference_mode()
def test_all_choose_in_one_pass_what_each_chooses_alone(threads: int) -> None:
    together, alone = requests(), requests()
    for step in range(4):
        logits = LOGITS.roll(step, 0)
        chosen = choose(together, logits)
        assert chosen == [choose([request], logits[row : row + 1])[0] for row, request in enumerate(alone)]
        for request, other, id in zip(together, alone, chosen, strict=True):
            request.add(id, None)
            other.add(id, None)


@pytest.mark.parametrize(
    "processor",
    [RepetitionPenalty(1.3), FrequencyPenalty(0.3), PresencePenalty(0.3), TopK(30), TopP(0.3), TopP(0.95)],
    ids=repr,
)
def test_a_row_is_the_same_bits_among_others(processor: object, threads: int) -> None:
    texts = [Text(text, len(text) // 2) for text in TEXTS]
    found = processor(LOGITS, History(texts))
    for row, text in enumerate(texts):
        assert torch.equal(found[row : row + 1], processor(LOGITS[row : row + 1], History([text])))
    torch.set_num_threads(1)
    assert torch.equal(found, processor(LOGITS, History(texts)))
    assert torch.equal(LOGITS.log_softmax(-1)[3], LOGITS[3].log_softmax(-1)), "as log-probabilities are told"


def test_counts_follow_a_text_that_grows() -> None:
    text = Text([4, 2, 4], 2)
    growing = [Text([1], 1), text]
    for more in ([], [2], [7, 7, 4]):
        text.tokens.extend(more)
        tokens, counts = History(growing).counts
        assert sorted(set(tokens[1].tolist())) == sorted(set(text.tokens))
        for token, count in zip(tokens[1].tolist(), counts[1].tolist(), strict=True):
            assert count == text.tokens[2:].count(token)
        assert set(tokens[0].tolist()) == {1}
        assert not counts[0].any()


def test_what_goes_wrong_with_one_is_told_of_it_alone() -> None:
    def picky(logits: Tensor, history: History) -> Tensor:
        if any(text.tokens[0] == 13 for text in history.texts):
            raise ValueError("unlucky")
        return logits

    def none(logits: Tensor, history: History) -> Tensor:
        return torch.full_like(logits, -torch.inf)

    rules = [Rules((picky,)), Rules((picky,)), Rules((none,)), Rules(), Rules()]
    dice = torch.Generator()
    several = [
        Request(row, [row + 12], 1, 9, 9, Sampling(), dice, frozenset(), None, None, rules=rule)
        for row, rule in enumerate(rules)
    ]
    for request in several[:2]:
        request.sampling = Sampling(temperature=1.0)
    logits = torch.zeros(5, 50)
    logits[:, 7] = 99
    logits[4, 3] = torch.nan
    first, second, third, fourth, fifth = choose(several, logits)
    assert first == fourth == 7
    assert isinstance(second, ValueError)
    assert isinstance(third, RequestError)
    assert "nothing may come next" in str(third)
    assert "not numbers" in str(fifth)

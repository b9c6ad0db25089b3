"""Beam search: against every text there is, against greedy decoding, alone and in a batch."""

import functools
import itertools
import math

import pytest
import torch
from hashed_model import HashedModel
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.decode import Hypothesis, Sampling, beam_search, collect, generate
from limelight.decode.beam import PART, _largest
from limelight.errors import RequestError
from limelight.models import config as c
from limelight.models.api import Decoder, Seq2Seq
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.presets import preset

EOS = 1


def search(
    model: HashedModel, prompts: list[list[int]], limits: list[int], **options: object
) -> list[list[Hypothesis]]:
    width = max(map(len, prompts))
    tokens = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in prompts])
    counts = torch.tensor([len(prompt) for prompt in prompts])
    state = model.start(len(prompts), width + max(limits) - 1)
    return beam_search(model, state, tokens, counts=counts, limits=limits, **{"stop": {EOS}, **options})


def every_text(model: HashedModel, prompt: list[int], limit: int, alpha: float, banned: set[int]) -> list[Hypothesis]:
    """All texts that can be generated, in the order in which they should be found."""
    found = []
    logprobs = functools.cache(lambda text: model.scores((*prompt, *text)).double().log_softmax(-1).tolist())
    words = [id for id in range(model.vocab) if id != EOS and id not in banned]
    for n in range(limit + 1):
        for text in itertools.product(words, repeat=n):
            ended = n < limit
            ids = (*text, EOS) if ended else text
            logprob = sum(logprobs(ids[:at])[id] for at, id in enumerate(ids))
            found.append(Hypothesis(text, logprob / len(ids) ** alpha, logprob, ended))
    return sorted(found, key=lambda each: (not each.ended, -each.score))


def same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [each.tokens for each in found] == [each.tokens for each in expected]
    assert [each.ended for each in found] == [each.ended for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert math.isclose(ours.score, theirs.score, abs_tol=1e-5)
        assert math.isclose(ours.logprob, theirs.logprob, abs_tol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 3), min_size=1, max_size=3),
    vocab=st.integers(2, 4),
    limit=st.integers(1, 4),
    alpha=st.sampled_from([-0.5, 0.0, 0.6, 1.0, 2.0]),
    best=st.integers(1, 60),
    banned=st.sets(st.integers(2, 3), max_size=1),
)
def test_a_wide_beam_finds_what_trying_every_text_finds(
    prompt: list[int], vocab: int, limit: int, alpha: float, best: int, banned: set[int]
) -> None:
    model = HashedModel(vocab)
    banned = {id for id in banned if id < vocab}
    expected = every_text(model, prompt, limit, alpha, banned)
    (found,) = search(model, [prompt], [limit], beam=200, best=best, alpha=alpha, forbidden=banned)
    same(found, expected[:best])


@settings(max_examples=25, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(0, 19), min_size=1, max_size=5), min_size=1, max_size=4),
    data=st.data(),
    beam=st.integers(1, 6),
    alpha=st.sampled_from([0.0, 1.0]),
)
def test_each_row_gives_what_it_would_give_alone(
    prompts: list[list[int]], data: st.DataObject, beam: int, alpha: float
) -> None:
    model = HashedModel(20)
    limits = data.draw(st.lists(st.integers(1, 12), min_size=len(prompts), max_size=len(prompts)))
    together = search(model, prompts, limits, beam=beam, best=beam, alpha=alpha)
    alone = [
        search(model, [p], [n], beam=beam, best=beam, alpha=alpha)[0] for p, n in zip(prompts, limits, strict=True)
    ]
    assert together == alone
    for found in together:
        assert len({each.tokens for each in found}) == len(found)
        ended = [each.score for each in found if each.ended]
        assert ended == sorted(ended, reverse=True)
        assert [each.ended for each in found] == sorted((each.ended for each in found), reverse=True)


@settings(max_examples=30, deadline=None)
@given(prompts=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_beam_of_one_is_greedy(prompts: list[list[int]]) -> None:
    model = HashedModel(10)
    steps = generate(model, prompts, max_tokens=8, sampling=Sampling(), stop=frozenset({EOS, 7}), logprobs=0)
    greedy = collect(steps)
    found = search(model, prompts, [8] * len(prompts), beam=1, stop={EOS, 7})
    for (ours,), theirs in zip(found, greedy, strict=True):
        assert list(ours.tokens) == theirs.ids
        assert ours.ended == (theirs.finish == "stop")
        assert math.isclose(ours.logprob, sum(token.logprob for token in theirs.tokens), abs_tol=1e-4)


def test_the_penalty_favours_long_texts() -> None:
    model = HashedModel(12)
    lengths = []
    for alpha in (-2.0, 0.0, 1.0, 4.0):
        found = search(model, [[at] for at in range(12)], [10] * 12, beam=8, alpha=alpha)
        lengths.append(sum(len(row[0].tokens) for row in found))
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


class Counting(HashedModel):
    """Ends every text at the length that its first token says."""

    def scores(self, prefix: tuple[int, ...]) -> torch.Tensor:
        scores = torch.randn(self.vocab, generator=torch.Generator().manual_seed(len(prefix)))
        scores[EOS] = 30.0 if len(prefix) > prefix[0] else -30.0
        return scores


def test_rows_that_are_through_leave_the_batch() -> None:
    model = Counting(20)
    found = search(model, [[2], [9], [4]], [20, 20, 20], beam=3)
    assert [len(row[0].tokens) for row in found] == [2, 9, 4]
    assert [rows for rows, _, _ in model.calls] == [3, *[9] * 2, *[6] * 2, *[3] * 5]


class Sure(HashedModel):
    """All but certain to end at once, and then never again."""

    def scores(self, prefix: tuple[int, ...]) -> torch.Tensor:
        scores = torch.zeros(self.vocab)
        scores[EOS] = 12.0 if len(prefix) == 1 else -50.0
        return scores


def test_a_row_is_through_when_nothing_running_can_win() -> None:
    model = Sure(20)
    (found,) = search(model, [[3]], [50], beam=4, alpha=0.0)
    assert found[0].tokens == ()
    assert len(model.calls) == 1
    search(model, [[3]], [50], beam=4, best=2, alpha=0.0)
    assert len(model.calls) == 51  # a second one is asked for, and none ever ends


def test_the_last_token_is_a_stop_token_or_the_text_is_cut_off() -> None:
    model = Counting(20)
    (found,) = search(model, [[9]], [4], beam=3, best=3)
    assert [(len(each.tokens), each.ended) for each in found] == [(4, False)] * 3
    (found,) = search(model, [[9]], [4], beam=3, stop=())
    assert not found[0].ended


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 2, "best": 3}, "best 3 of a beam of 2"),
        ({"alpha": math.nan}, "alpha, the length penalty, is nan"),
        ({"limits": [0]}, "at least 1"),
        ({"stop": {10}}, "vocabulary of 10"),
        ({"forbidden": set(range(10))}, "vocabulary of 10"),
        ({"limits": [9]}, "room for 9 tokens and its state has 8"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    model = HashedModel(10)
    with pytest.raises(RequestError, match=message):
        beam_search(model, model.start(1, 8), torch.tensor([[3]]), **{"limits": [4], "stop": {EOS}, **options})


def test_logits_that_are_not_numbers_are_refused() -> None:
    class Broken(HashedModel):
        def scores(self, prefix: tuple[int, ...]) -> torch.Tensor:
            return torch.full((self.vocab,), math.nan)

    with pytest.raises(RequestError, match="not numbers"):
        search(Broken(10), [[3]], [4])


NAMES = ["transformer2017-tiny", "transformer-modern-tiny", "lstm-attention", "gru-attention-additive", "rnn-plain"]


def spread(name: str) -> Decoder | Seq2Seq:
    network = build(preset(name, 23, width=16, dropout=0.0, context=64)).eval()
    initialise(network, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.5 if parameter.dim() > 1 else 1.0)
    return network


@pytest.mark.parametrize("name", NAMES)
def test_encoder_decoders_find_the_scores_that_reading_at_once_gives(name: str) -> None:
    network = spread(name)
    assert isinstance(network, Seq2Seq)
    source, lengths = torch.randint(3, 23, (3, 6), generator=torch.Generator().manual_seed(3)), torch.tensor([6, 2, 4])
    first = torch.full((3, 1), 2)

    def found(rows: list[int]) -> list[list[Hypothesis]]:
        longest = int(lengths[rows].max())
        state = network.start(network.encode(source[rows, :longest], lengths[rows]), 10)
        return beam_search(network, state, first[rows], limits=[10] * len(rows), stop={EOS}, best=5, forbidden={0, 2})

    together = found([0, 1, 2])
    for row, hypotheses in enumerate(together):
        same(hypotheses, found([row])[0])
        for each in hypotheses:
            ids = [*each.tokens, *([EOS] if each.ended else [])]
            assert not {0, 2} & set(ids)
            target = torch.tensor([[2, *ids[:-1]]])
            with torch.no_grad():
                logits = network(source[row : row + 1, : lengths[row]], None, target)[0]
            logprob = float(logits.double().log_softmax(-1)[torch.arange(len(ids)), ids].sum())
            assert math.isclose(each.logprob, logprob, abs_tol=1e-4)


@pytest.mark.parametrize("name", ["gpt-tiny", "lstm"])
def test_language_models_search_as_they_are_greedy(name: str) -> None:
    network = spread(name)
    assert isinstance(network, Decoder)
    prompts = [[4, 5, 6], [7], [8, 9]]
    greedy = collect(generate(network, prompts, max_tokens=12, stop=frozenset({EOS})))
    padded = torch.tensor([prompt + [0] * (3 - len(prompt)) for prompt in prompts])
    state = network.start(3, 14)
    found = beam_search(network, state, padded, counts=torch.tensor([3, 1, 2]), limits=[12] * 3, stop={EOS}, beam=1)
    assert [list(row[0].tokens) for row in found] == [row.ids for row in greedy]
    assert isinstance(network.config.decoder, c.TransformerStack | c.RecurrentStack)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 4), vocab=st.integers(1, 5 * PART), n=st.integers(1, 8), seed=st.integers(0, 2**31))
def test_the_largest_of_a_vocabulary_are_those_of_topk(rows: int, vocab: int, n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.stack([torch.randperm(vocab, generator=generator) for _ in range(rows)]).float()
    n = min(n, vocab)
    if n < vocab:  # tokens that are forbidden
        scores[:, scores[0].argmin()] = float("-inf")
    for ours, theirs in zip(_largest(scores, n), scores.topk(n), strict=True):
        assert torch.equal(ours, theirs)

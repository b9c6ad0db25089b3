import gc
import weakref

import pytest
import torch
from hashed_model import HashedModel
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.decode import Sampling, collect, generate
from limelight.decode.request import CHUNK
from limelight.errors import RequestError

PROMPTS = [[1, 2, 3], [7], [4, 4, 4, 4, 9, 9, 2], [1, 2, 4], [30, 31]]
SAMPLINGS = [
    Sampling(),
    Sampling(repetition=1.5, frequency=0.5, presence=0.5),
    Sampling(temperature=1.0, seed=3),
    Sampling(temperature=1.2, top_k=20, top_p=0.95, min_p=0.01, repetition=1.2, frequency=1, presence=1, seed=4),
]


def run(model: HashedModel, prompts: list[list[int]], n: int = 12, **options: object) -> list[list[int]]:
    return [row.ids for row in collect(generate(model, prompts, max_tokens=n, **options))]


def test_greedy_takes_the_likeliest_token_each_time() -> None:
    model = HashedModel()
    assert run(model, PROMPTS) == [model.greedy(prompt, 12) for prompt in PROMPTS]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=repr)
def test_a_batch_gives_what_each_prompt_gives_alone(sampling: Sampling) -> None:
    # Many stop tokens, so that rows leave the batch at different times.
    options = {"sampling": sampling, "stop": frozenset(range(0, 50, 8)), "logprobs": 2}
    together = collect(generate(HashedModel(), PROMPTS, max_tokens=20, **options))
    alone = [collect(generate(HashedModel(), [prompt], max_tokens=20, **options))[0] for prompt in PROMPTS]
    assert len({len(row.tokens) for row in together}) > 2, "rows must leave at different times"
    for row, (batched, single) in enumerate(zip(together, alone, strict=True)):
        assert batched.ids == single.ids
        assert batched.finish == single.finish
        assert {token.row for token in batched.tokens} == {row}
        for ours, theirs in zip(batched.tokens, single.tokens, strict=True):
            assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-5)
            assert [id for id, _ in ours.best] == [id for id, _ in theirs.best]


@given(st.lists(st.lists(st.integers(0, 49), min_size=1, max_size=9), min_size=1, max_size=5), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_any_prompts_in_one_batch_equal_one_by_one(prompts: list[list[int]], n: int) -> None:
    model = HashedModel(context=10)
    sampling = Sampling(repetition=1.4, presence=0.3)
    assert run(model, prompts, n, sampling=sampling) == [run(model, [p], n, sampling=sampling)[0] for p in prompts]


def test_finished_rows_leave_the_batch() -> None:
    model = HashedModel()
    full = [model.greedy(prompt, 12) for prompt in PROMPTS]
    stop = frozenset({full[0][2], full[3][5]})
    rows = collect(generate(model, PROMPTS, max_tokens=12, stop=stop))
    for row, ids in zip(rows, full, strict=True):
        cut = next((at for at, id in enumerate(ids) if id in stop), None)
        assert row.ids == ids[:cut]
        assert row.finish == ("length" if cut is None else "stop")
        if cut is not None:
            assert row.tokens[-1].id in stop
    sizes = [size for size, _, _ in model.calls]
    assert sizes[0] == 5
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 5


def test_the_model_is_not_run_after_the_last_token() -> None:
    model = HashedModel()
    run(model, [[1, 2]], n=5)
    assert [T for _, T, _ in model.calls] == [2, 1, 1, 1, 1]  # reading the prompt gives the first token
    assert model.rooms == [6]  # the last token is never read


def test_prompts_are_read_in_chunks_and_nothing_changes() -> None:
    model = HashedModel()
    lengths = [CHUNK * 2 + 300, 3, CHUNK, CHUNK + 1, CHUNK * 2]
    prompts = [[(at * 7 + length) % 50 for at in range(length)] for length in lengths]
    rows = run(model, prompts, n=4)
    assert rows == [model.greedy(prompt, 4) for prompt in prompts]
    assert model.calls[0] == (5, CHUNK, [3, CHUNK, CHUNK, CHUNK, CHUNK]), "the shortest first"
    # Who has been read goes on while others are still being read.
    assert model.calls[1:3] == [(2, 1, None), (3, CHUNK // 3, [1, CHUNK // 3, CHUNK // 3])]
    assert sum(T * B for B, T, _ in model.calls) < sum(lengths) * 1.5, "little is read that is no token"


def test_prompts_of_one_length_need_no_padding() -> None:
    model = HashedModel()
    run(model, [[1] * (CHUNK + 5), [2] * (CHUNK + 5)], n=1)
    assert model.calls == [(2, CHUNK, None), (2, 5, None)]


def test_rows_end_where_the_context_ends() -> None:
    model = HashedModel(context=8)
    rows = collect(generate(model, [[1] * 8, [2] * 6, [3]], max_tokens=5))
    assert [row.finish for row in rows] == ["context", "context", "length"]
    # The last token is predicted but never read, so it fits.
    assert [len(row.ids) for row in rows] == [1, 3, 5]
    assert model.rooms == [8]
    assert [row.ids for row in rows] == [model.greedy([1] * 8, 1), model.greedy([2] * 6, 3), model.greedy([3], 5)]


def test_reaching_both_limits_at_once_is_length() -> None:
    (row,) = collect(generate(HashedModel(context=8), [[2] * 6], max_tokens=3))
    assert (len(row.ids), row.finish) == (3, "length")


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([[1] * 9000], {}, "the prompt has 9,000 tokens and the model sees at most 4,096"),
        ([[1], [1] * 4097], {}, "prompt 2 has 4,097 tokens and the model sees at most 4,096"),
        ([[]], {}, "the prompt is empty"),
        ([[1], []], {}, "prompt 2 is empty"),
        ([], {}, "no prompt"),
        ([[50]], {}, "outside the model's vocabulary of 50"),
        ([[-1]], {}, "outside the model's vocabulary of 50"),
        ([[1]], {"max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
        ([[1]], {"logprobs": 51}, "logprobs is 51; it must be from 0 to 50"),
        ([[1]], {"logprobs": -1}, "logprobs is -1"),
    ],
)
def test_impossible_requests_are_refused_at_once(
    prompts: list[list[int]], options: dict[str, int], message: str
) -> None:
    model = HashedModel()
    with pytest.raises(RequestError) as error:
        generate(model, prompts, **{"max_tokens": 3, **options})
    assert message in str(error.value)
    assert not model.rooms


def test_logits_that_are_not_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HashedModel()
    monkeypatch.setattr(model, "scores", lambda prefix: torch.full((50,), torch.nan))
    with pytest.raises(RequestError, match="not numbers"):
        next(generate(model, [[1]], max_tokens=3))


def test_log_probabilities_are_the_models_own() -> None:
    model = HashedModel()
    sampling = Sampling(temperature=0.5, top_k=5, repetition=1.5, seed=1)
    (row,) = collect(generate(model, [[1, 2]], max_tokens=6, sampling=sampling, logprobs=3))
    text = (1, 2)
    for token in row.tokens:
        scores = model.scores(text).log_softmax(-1)
        values, ids = scores.topk(3)
        assert token.logprob == pytest.approx(float(scores[token.id]), abs=1e-6)
        assert token.best == tuple(zip(ids.tolist(), pytest.approx(values.tolist()).expected, strict=True))
        text += (token.id,)


def test_log_probabilities_only_when_asked_for() -> None:
    (without,) = next(generate(HashedModel(), [[1]], max_tokens=1))
    (chosen,) = next(generate(HashedModel(), [[1]], max_tokens=1, logprobs=0))
    assert (without.logprob, without.best) == (None, ())
    assert chosen.logprob is not None
    assert chosen.logprob < 0
    assert chosen.best == ()


def test_a_seed_makes_copies_that_differ_and_repeat() -> None:
    sampling = Sampling(temperature=1.5, seed=5)
    first, second = run(HashedModel(), [[1, 2], [1, 2]], sampling=sampling)
    assert first != second
    assert [first, second] == run(HashedModel(), [[1, 2], [1, 2]], sampling=sampling)
    assert [second] == run(HashedModel(), [[1, 2]], sampling=Sampling(temperature=1.5, seed=6))


def test_penalties_see_each_rows_own_tokens_only() -> None:
    model = HashedModel()
    strong = Sampling(repetition=100.0, presence=2.0)
    short, long = [5], [5, 6, 7, 8, 9, 10]
    assert run(model, [short, long], sampling=strong)[0] == run(model, [short], sampling=strong)[0]
    ids = run(model, [short], n=20, sampling=strong)[0]
    assert len({5, *ids}) == 21, "a strong penalty repeats nothing, the prompt included"


def test_frequency_counts_what_was_generated_and_nothing_else() -> None:
    model = HashedModel(vocab=6)
    for prompt in ([0], [1, 5, 5, 2], [3, 4]):
        expected: list[int] = []
        for _ in range(15):
            often = torch.tensor([expected.count(id) for id in range(6)])
            expected.append(int((model.scores((*prompt, *expected)) - 2.0 * often).argmax()))
        assert run(model, [prompt], n=15, sampling=Sampling(frequency=2.0)) == [expected]


def test_steps_stream_and_the_caller_may_leave() -> None:
    model = HashedModel()
    states: list[weakref.ref[object]] = []
    start = model.start

    def watched(rows: int, room: int) -> object:
        state = start(rows, room)
        states.append(weakref.ref(state))
        return state

    model.start = watched  # type: ignore[assignment]
    steps = generate(model, [[1, 2]], max_tokens=100)
    assert not states, "nothing is set aside before the first step"
    (token,) = next(steps)
    assert token.id == model.greedy([1, 2], 1)[0]
    assert len(model.calls) == 1, "the first token doesn't wait for the second"
    assert not torch.is_inference_mode_enabled(), "the caller's own work is not in inference mode"
    steps.close()
    gc.collect()
    assert states[0]() is None
    assert len(model.calls) == 1


def test_nothing_is_recorded_for_gradients() -> None:
    modes: list[bool] = []
    model = HashedModel()
    scores = model.scores
    model.scores = lambda prefix: modes.append(torch.is_inference_mode_enabled()) or scores(prefix)  # type: ignore
    run(model, [[1]], n=3)
    assert modes == [True] * 3

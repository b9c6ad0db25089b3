"""The engine: whoever joins, leaves, waits or is put out at whatever step, each text comes out as it would alone."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pytest
import torch
from hashed_model import HashedModel, Prefixes
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.decode import Engine, Request, Sampling, Step, collect, generate
from limelight.decode.choosing import choose
from limelight.errors import RequestError

STOP = frozenset({0, 17})
SAMPLINGS = [
    Sampling(),
    Sampling(repetition=1.4, frequency=0.5, presence=0.3),
    Sampling(temperature=1.0, seed=7),
    Sampling(temperature=1.3, top_k=20, top_p=0.95, min_p=0.01, repetition=1.2, seed=8),
]


def alone(prompt: list[int], n: int, sampling: Sampling, context: int) -> tuple[list[int], str | None]:
    """What one prompt gives by itself, without the engine: the model asked again for each token."""
    model = HashedModel(context=context)
    text, generators = list(prompt), sampling.generators([prompt])
    lone = Request(0, text, len(prompt), n, n, sampling, generators[0], STOP, None, None)
    while lone.finish is None:
        lone.add(*choose([lone], model.scores(tuple(text))[None]), None)
        if lone.finish is None and len(text) > context:
            return lone.generated, "context"
    return lone.generated, lone.finish


@dataclass(frozen=True)
class Visit:
    """A request that is submitted before some step and perhaps cancelled before a later one."""

    prompt: list[int]
    n: int
    sampling: Sampling
    arrives: int
    cancelled: int | None


visits = st.lists(
    st.builds(
        Visit,
        st.lists(st.integers(0, 49), min_size=1, max_size=30),
        st.integers(1, 25),
        st.sampled_from(SAMPLINGS),
        st.integers(0, 20),
        st.none() | st.integers(0, 40),
    ),
    min_size=1,
    max_size=8,
)


@given(visits, st.integers(1, 5), st.integers(30, 120), st.integers(1, 20), st.sampled_from([None, "lookup"]))
@settings(max_examples=150, deadline=None)
def test_each_text_comes_out_as_it_would_alone(
    visits: list[Visit], rows: int, positions: int, chunk: int, draft: str | None
) -> None:
    model = HashedModel(context=40)
    engine = Engine(model, rows=rows, positions=positions, chunk=chunk)
    requests: dict[int, Request] = {}
    steps: list[Step] = []
    now = 0
    while engine.busy or len(requests) < len(visits):
        for at, visit in enumerate(visits):
            if visit.arrives == now:
                requests[at] = engine.submit(
                    visit.prompt, max_tokens=visit.n, sampling=visit.sampling, stop=STOP, draft=draft
                )
            elif visit.cancelled == now and at in requests:
                engine.cancel(requests[at])
        steps.append(engine.step())
        assert len(engine.running) <= rows
        now += 1
        assert now < 2000, "it never comes to an end"

    assert all(size <= positions for size in model.sizes)
    made = {row.tokens[0].row: row for row in collect(steps)}
    for at, request in requests.items():
        visit = visits[at]
        expected, finish = alone(visit.prompt, visit.n, visit.sampling, min(40, positions))
        got = [token.id for token in made[request.row].tokens] if request.row in made else []
        assert got == request.generated
        assert request.status == "ended"
        if request.finish == "cancelled":
            assert visit.cancelled is not None
            assert got == expected[: len(got)]
        else:
            assert (got, request.finish) == (expected, finish)


def run(engine: Engine) -> list[list[int]]:
    return [row.ids for row in collect(engine.run())]


def test_who_comes_first_is_served_first() -> None:
    model = HashedModel()
    engine = Engine(model, rows=2)
    requests = [engine.submit([number + 1] * (9 - number), max_tokens=6) for number in range(5)]
    begun: list[int] = []
    for step in engine.run():
        begun += [token.row for token in step if token.row not in begun]
        assert [token.row for token in step] == sorted(token.row for token in step)
        assert len(step) <= 2
    assert begun == [0, 1, 2, 3, 4]
    assert [request.generated for request in requests] == [model.greedy([n + 1] * (9 - n), 6) for n in range(5)]


def test_a_long_prompt_holds_nobody_up() -> None:
    model = HashedModel()
    engine = Engine(model, rows=2, chunk=16)
    first = engine.submit([1, 2, 3], max_tokens=100)
    assert [token.row for token in engine.step()] == [0]
    long = [at % 50 for at in range(100)]
    second = engine.submit(long, max_tokens=5)
    for _ in range(6):
        assert [token.row for token in engine.step()] == [0]  # 16 of 100 tokens read each time
    assert [token.row for token in engine.step()] == [0, 1]
    assert max(T for _, T, _ in model.calls) == 16
    run(engine)
    assert first.generated == model.greedy([1, 2, 3], 100)
    assert second.generated == model.greedy(long, 5)


def test_short_prompts_are_read_together() -> None:
    model = HashedModel()
    engine = Engine(model, rows=8, chunk=16)
    engine.submit([1], max_tokens=50)
    engine.step()
    for number in range(5):
        engine.submit([number, 2, 3, 4], max_tokens=3)
    assert [token.row for token in engine.step()] == [0, 1, 2, 3, 4]
    assert [token.row for token in engine.step()] == [0, 1, 2, 3, 4, 5]


def test_when_the_cache_is_full_the_youngest_goes_and_comes_back() -> None:
    model = HashedModel()
    sampling = Sampling(temperature=1.2, frequency=0.5, seed=3)
    engine = Engine(model, rows=3, positions=120)
    prompts = [[1, 2], [3, 4], [5, 6]]
    requests = [engine.submit(prompt, max_tokens=70, sampling=sampling) for prompt in prompts]
    running: list[tuple[int, ...]] = []
    steps = []
    while engine.busy:
        steps.append(engine.step())
        running.append(tuple(sorted(request.row for request in engine.running)))
    # All three fit up to 40 positions each, two up to 60, then one; each comes back only when it can go on for a while.
    assert [rows for rows, _ in groupby(running) if rows] == [(0, 1, 2), (0, 1), (0,), (1,), (2,)]
    assert max(model.sizes) <= 120
    assert len(collect(steps)) == 3
    for prompt, request in zip(prompts, requests, strict=True):
        (lone,) = collect(generate(HashedModel(), [prompt], max_tokens=70, sampling=sampling))
        assert request.generated == [token.id for token in lone.tokens]


def test_the_cache_ends_a_text_that_fills_it() -> None:
    model = HashedModel()
    engine = Engine(model, rows=4, positions=10)
    request = engine.submit([1, 2, 3], max_tokens=50)
    run(engine)
    assert (request.generated, request.finish) == (model.greedy([1, 2, 3], 8), "context")
    with pytest.raises(RequestError, match="the prompt has 11 tokens and the cache holds 10"):
        engine.submit([1] * 11, max_tokens=1)


@pytest.mark.parametrize("before", [0, 1, 2, 3, 8], ids=["waiting", "joining", "joining too", "running", "ended"])
def test_cancelling_at_any_time_ends_one_and_no_other(before: int) -> None:
    model = HashedModel()
    engine = Engine(model, rows=3, chunk=8)
    first = engine.submit([1, 2], max_tokens=20)
    engine.step()
    others = [engine.submit([at] * 10, max_tokens=4) for at in (3, 4)]
    steps = [engine.step() for _ in range(before)]
    done = list(others[0].generated)
    engine.cancel(others[0])
    engine.cancel(others[0])
    steps += list(engine.run())
    assert others[0].generated == done == model.greedy([3] * 10, 4)[: len(done)]
    assert (others[0].finish == "cancelled") == (before < 8)
    assert others[0].status == "ended"
    assert others[1].generated == model.greedy([4] * 10, 4)
    assert first.generated == model.greedy([1, 2], 20)
    assert not engine.busy


@pytest.mark.parametrize("which", range(3))
def test_cancelling_while_several_are_read_ends_one_and_no_other(which: int) -> None:
    model = HashedModel(context=1000)
    engine = Engine(model, rows=3)
    prompts = [[at] * (600 + at) for at in (3, 4, 5)]
    requests = [engine.submit(prompt, max_tokens=2) for prompt in prompts]
    engine.step()
    assert [request.status for request in requests] == ["reading"] * 3
    engine.cancel(requests[which])
    run(engine)
    for number, (prompt, request) in enumerate(zip(prompts, requests, strict=True)):
        assert request.generated == ([] if number == which else model.greedy(prompt, 2))


def test_nothing_is_copied_but_rows_that_move(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []
    put = Prefixes.put

    def watched(own: Prefixes, row: int, other: Prefixes, length: int) -> None:
        moved.append(len(other.rows))
        put(own, row, other, length)

    monkeypatch.setattr(Prefixes, "put", watched)
    monkeypatch.setattr(Prefixes, "select", None)
    model = HashedModel()
    prompts = [[at, at + 1] for at in range(8)]
    engine = Engine(model, rows=8)
    requests = [engine.submit(prompt, max_tokens=3 + (at * 5) % 8) for at, prompt in enumerate(prompts)]
    run(engine)
    assert len(model.rooms) == 1, "memory was set aside once"
    assert set(moved) == {1}
    assert len(moved) < 8
    for at, (prompt, request) in enumerate(zip(prompts, requests, strict=True)):
        assert request.generated == model.greedy(prompt, 3 + (at * 5) % 8)


def test_the_cache_grows_by_doubling() -> None:
    model = HashedModel()
    engine = Engine(model, rows=16)
    requests = []
    for at in range(5):
        requests.append(engine.submit([at], max_tokens=600))
        engine.step()
    run(engine)
    assert [size for size in model.sizes if size > 1] == [256, 2 * 256, 4 * 256, 8 * 256, 8 * 514, 8 * 600]
    assert requests[3].generated == model.greedy([3], 600)


def test_the_cache_shrinks_when_a_long_text_has_left() -> None:
    model = HashedModel()
    engine = Engine(model, rows=4)
    long = engine.submit([1] * 3000, max_tokens=2)
    short = [engine.submit([at], max_tokens=90) for at in range(2, 5)]
    while long.finish is None:
        engine.step()
    assert model.rooms[-1] >= 3000
    run(engine)
    assert model.rooms[-1] <= 256
    assert [request.generated for request in short] == [model.greedy([at], 90) for at in range(2, 5)]


def test_logits_that_are_not_numbers_end_their_own_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HashedModel()
    scores = model.scores
    monkeypatch.setattr(model, "scores", lambda text: scores(text) * (torch.nan if 13 in text[:2] else 1))
    engine = Engine(model, rows=4)
    first = engine.submit([1, 2], max_tokens=9)
    engine.step()
    bad, good = engine.submit([13, 2], max_tokens=9), engine.submit([5, 2], max_tokens=9)
    assert [token.row for token in engine.step()] == [0, 2]
    assert (bad.generated, bad.status, bad.finish) == ([], "ended", "error")
    assert isinstance(bad.error, RequestError)
    assert "not numbers" in str(bad.error)
    run(engine)
    assert good.generated == model.greedy([5, 2], 9)
    assert first.generated == model.greedy([1, 2], 9)
    with pytest.raises(RequestError, match="not numbers"):
        list(generate(model, [[13, 2], [5, 2]], max_tokens=9))


def test_a_request_says_where_it_is() -> None:
    engine = Engine(HashedModel(), rows=2, positions=90, chunk=4)
    first = engine.submit([1, 2], max_tokens=60)
    assert (first.status, first.finish) == ("waiting", None)
    engine.step()
    assert first.status == "running"
    second, third = engine.submit([3] * 9, max_tokens=60), engine.submit([4], max_tokens=1)
    told = []
    while engine.busy:
        engine.step()
        told.append(second.status)
    assert [status for status, _ in groupby(told)] == ["reading", "running", "waiting", "running", "ended"]
    assert [request.finish for request in (first, second, third)] == ["length"] * 3


def test_prompts_of_different_lengths_cost_what_they_are_long() -> None:
    model = HashedModel()
    engine = Engine(model, rows=16)
    lengths = [400, 30, 5, 290, 100, 100, 60, 300]
    requests = [engine.submit([at] * length, max_tokens=3) for at, length in enumerate(lengths)]
    run(engine)
    computed = sum(rows * steps for rows, steps, _ in model.calls)
    assert computed < 1.5 * sum(lengths), "all at once, padded, they would be 3,200 positions, not 1,285"
    for at, request in enumerate(requests):
        assert request.generated == model.greedy([at] * lengths[at], 3)


@pytest.mark.parametrize(("others", "most"), [(0, 9), (6, 4), (15, 2)])
def test_guesses_of_one_cost_the_others_little(others: int, most: int) -> None:
    model = HashedModel()
    engine = Engine(model, rows=16)
    for at in range(others):
        engine.submit([at], max_tokens=40)
    request = engine.submit([1, 2], max_tokens=40, draft="lookup")
    engine.step()
    request.draft.propose = lambda tokens, most: [7] * min(most, 8)
    model.calls.clear()
    engine.step()
    assert model.calls[0][:2] == (others + 1, most)


def test_a_prompt_that_cannot_be_read_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HashedModel()
    step = model.step

    def failing(tokens: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        if 13 in tokens:
            raise RuntimeError("can't allocate memory")
        return step(tokens, *rest, **options)

    monkeypatch.setattr(model, "step", failing)
    engine = Engine(model)
    first = engine.submit([1], max_tokens=9)
    engine.step()
    together = [engine.submit([2, at], max_tokens=9) for at in (4, 13)]
    engine.step()
    for bad in together:
        assert (bad.status, bad.finish, str(bad.error)) == ("ended", "error", "can't allocate memory")
    last = engine.submit([3], max_tokens=9)
    run(engine)
    assert first.generated == model.greedy([1], 9)
    assert last.generated == model.greedy([3], 9)
    alone = engine.submit([13], max_tokens=9)
    with pytest.raises(RuntimeError, match="can't allocate"):
        list(engine.run())
    assert alone.finish == "error"
    assert engine.nbytes == 0
    assert not engine.busy


class Odd:
    """Allows odd tokens only, and 0 to end with from the `least`-th on; raises at the `worst`-th."""

    def __init__(self, least: int = 5, worst: int | None = None, size: int = 50) -> None:
        self.least = least
        self.worst = worst
        self.size = size
        self.seen: list[int] = []

    def mask(self) -> torch.Tensor | None:
        if len(self.seen) == self.worst:
            raise ValueError("lost")
        mask = torch.arange(self.size) % 2 == 1
        mask[0] = len(self.seen) >= self.least
        return mask

    def accept(self, token: int) -> None:
        assert token % 2 or len(self.seen) >= self.least
        self.seen.append(token)


@given(
    st.lists(st.tuples(st.sampled_from(SAMPLINGS), st.integers(1, 30), st.booleans()), min_size=1, max_size=5),
    st.integers(1, 3),
    st.sampled_from([None, "lookup"]),
)
@settings(max_examples=40, deadline=None)
def test_a_constraint_is_kept_by_whoever_has_one(
    wanted: list[tuple[Sampling, int, bool]], rows: int, draft: str | None
) -> None:
    model = HashedModel()
    engine = Engine(model, rows=rows, positions=60)
    requests = []
    for at, (sampling, n, held) in enumerate(wanted):
        constraint = Odd() if held else None
        options = {"max_tokens": n, "sampling": sampling, "stop": frozenset({0}), "draft": draft}
        requests.append((engine.submit([at, 1, 2, 1, 2], constraint=constraint, **options), constraint, options))
    run(engine)
    for request, constraint, options in requests:
        lone = Engine(model)
        expected = lone.submit(
            request.tokens[: request.given],
            constraint=None if constraint is None else Odd(),
            **options | {"draft": None},
        )
        run(lone)
        assert (request.generated, request.finish) == (expected.generated, expected.finish)
        if constraint is not None:
            assert constraint.seen == request.generated


@pytest.mark.parametrize(
    ("constraint", "says"),
    [
        (Odd(worst=3), "lost"),
        (Odd(size=49), r"mask is torch.bool \[49\]; it must be bool \[50\]"),
        (Odd(size=1), r"bool \[1\]"),
    ],
    ids=["raises", "too short", "of one"],
)
def test_a_constraint_that_fails_ends_its_request_alone(constraint: Odd, says: str) -> None:
    model = HashedModel()
    engine = Engine(model, rows=3)
    good, bad, last = (
        engine.submit([at], max_tokens=9, constraint=constraint if at == 2 else None) for at in (1, 2, 3)
    )
    while engine.busy:
        engine.step()
    assert bad.finish == "error"
    assert len(bad.generated) == len(constraint.seen) == (constraint.worst or 0)
    with pytest.raises(Exception, match=says):
        raise bad.error
    assert good.generated == model.greedy([1], 9)
    assert last.generated == model.greedy([3], 9)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_draft_that_fails_ends_its_request_alone(place: int) -> None:
    class Failing(HashedModel):
        def scores(self, prefix: tuple[int, ...]) -> torch.Tensor:
            if len(prefix) == 5:
                raise ValueError("lost")
            return super().scores(prefix) * -1  # so that all of its guesses are wrong

    model = HashedModel()
    engine = Engine(model, rows=3)
    others = [engine.submit([at], max_tokens=9, draft=Failing() if at == place else None) for at in range(3)]
    bad = others.pop(place)
    with pytest.raises(ValueError, match="lost"):
        list(engine.run())
    assert bad.finish == "error"
    assert bad.generated == model.greedy([place], len(bad.generated)) != []
    run(engine)
    assert [each.generated for each in others] == [model.greedy(each.tokens[:1], 9) for each in others]


def test_a_constraint_that_allows_nothing_or_everything() -> None:
    class Fixed:
        def __init__(self, mask: torch.Tensor | None) -> None:
            self.mask = lambda: mask
            self.accept = lambda token: None

    model = HashedModel()
    engine = Engine(model)
    nothing = engine.submit([1], max_tokens=3, constraint=Fixed(torch.zeros(50, dtype=torch.bool)))
    free = engine.submit([1], max_tokens=3, constraint=Fixed(None))
    while engine.busy:
        engine.step()
    assert "allows no token" in str(nothing.error)
    assert free.generated == model.greedy([1], 3)


@pytest.mark.parametrize("name", ["rows", "positions", "memory", "chunk"])
def test_impossible_sizes_are_refused(name: str) -> None:
    options: dict[str, Any] = {name: 0}
    with pytest.raises(RequestError, match=f"^{name} is 0; it must be at least 1$"):
        Engine(HashedModel(), **options)

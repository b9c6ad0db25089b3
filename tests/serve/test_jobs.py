"""Texts that an engine's thread writes: what it is asked, what it counts, and who hears of what."""

import asyncio
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from decode.hashed_model import HashedModel

from limelight.decode import Engine, Rules, Sampling, Token
from limelight.decode.processors import Bias
from limelight.errors import RequestError
from limelight.models.api import Decoder
from limelight.serve.runner import Ask, BusyError, Counts, Job, Runner

MODEL = HashedModel()


def asked(prompt: list[int], most: int, **more: Any) -> Ask:
    plain = {"seed": 0, "sampling": Sampling(), "stop": frozenset(), "logprobs": None, "rules": Rules()}
    return Ask(**{"prompt": prompt, "max_tokens": most, "constraint": None, **plain, **more})


def runner(rows: int = 2, waiting: int = 2) -> Runner:
    return Runner(cast(Decoder, MODEL), rows=rows, waiting=waiting)


def test_texts_come_to_those_who_asked_and_all_is_counted() -> None:
    async def run() -> Counts:
        running = runner()
        asking = asyncio.ensure_future(running.submit([asked([1, 2], 3), asked([4], 2)]))
        await asyncio.sleep(0)  # nothing that the engine tells can be heard before
        assert running.open == 2
        job = await asking
        found: dict[int, list[int]] = {0: [], 1: []}
        async for index, token in job:
            found[index].append(token.id)
        assert found == {0: MODEL.greedy([1, 2], 3), 1: MODEL.greedy([4], 2)}
        assert (running.open, running.running, running.waiting, job.left) == (0, 0, 0, set())
        with pytest.raises(StopAsyncIteration):
            await anext(job)
        assert running.nbytes >= 0
        assert running.positions == 2 * MODEL.context
        await asyncio.to_thread(running.end)
        return running.counts

    counts = asyncio.run(run())
    assert 0 < counts.first < 60
    assert 3 <= counts.steps <= 5
    counts.steps, counts.first = 0, 0.0
    assert counts == Counts(prompt=3, generated=5, begun=2)
    assert Counts() == Counts(0, 0, 0, 0, 0, 0.0, 0, 0)


def test_all_that_is_asked_reaches_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    submit = Engine.submit

    def recorded(self: Engine, prompt: Any, **how: Any) -> Any:
        heard.append((prompt, how))
        return submit(self, prompt, **how)

    class Shape:
        def mask(self) -> None:
            return None

        def accept(self, token: int) -> None:
            pass

    shape = Shape()
    monkeypatch.setattr(Engine, "submit", recorded)
    more = {"sampling": Sampling(temperature=0.5), "stop": frozenset({9}), "logprobs": 2}
    rules = Rules((Bias((3,), (1.0,)),))

    async def run() -> None:
        running = runner()
        ask = asked([1, 2], 3, seed=11, rules=rules, constraint=lambda: shape, **more)
        tokens = [token async for _, token in await running.submit([ask])]
        assert all(len(token.best) == 2 for token in tokens)
        await asyncio.to_thread(running.end)

    asyncio.run(run())
    ((prompt, how),) = heard
    assert how.pop("generator").initial_seed() == 11
    assert (prompt, how) == ([1, 2], {**more, "max_tokens": 3, "rules": rules, "constraint": shape})


def test_a_text_that_fails_ends_alone() -> None:
    class Bad:
        def mask(self) -> torch.Tensor:
            raise RequestError("this grammar has come to nothing")

        def accept(self, token: int) -> None:
            pass

    async def run() -> None:
        running = runner()
        bad = await running.submit([asked([1], 5, constraint=Bad)])
        good = await running.submit([asked([1, 2], 4)])
        with pytest.raises(RequestError, match="come to nothing"):
            await anext(bad)
        assert [token.id async for _, token in good] == MODEL.greedy([1, 2], 4)
        assert (running.counts.failed, running.counts.cancelled, running.open) == (1, 0, 0)
        await asyncio.to_thread(running.end)

    asyncio.run(run())


def test_a_text_that_has_ended_gives_no_more_tokens() -> None:
    """Though the engine had some on the way."""
    cancelled: list[Any] = []
    owner: Any = SimpleNamespace(cancel=lambda job, index: cancelled.append((job, index)))

    async def run() -> None:
        job = Job(owner, [], 0.0, left={0, 1, 2})
        late, last = Token(0, 5), Token(1, 6, "length")
        for event in ((0, late), (1, last), (1, late)):
            job.put(event)
        job.ended(0)
        job.ended(0)
        assert await anext(job) == (1, last)
        assert job.left == {2}
        waits = asyncio.ensure_future(anext(job))
        await asyncio.sleep(0)
        assert not waits.done()
        job.put((2, late))
        job.put(RequestError("no"))
        assert await waits == (2, late)
        with pytest.raises(RequestError, match="no"):
            await anext(job)
        job.close()
        assert job.left == set()
        assert cancelled == [(job, 0), (job, 2)]

    asyncio.run(run())


def test_so_many_may_wait_and_no_more() -> None:
    async def run() -> None:
        running = runner(rows=1, waiting=2)
        running.admit(99)  # where nobody else is there
        running.open = 2
        running.admit()
        with pytest.raises(BusyError) as busy:
            running.admit(2)
        said = "2 texts are being written or wait for it, and at most 3 may; ask again later"
        assert (str(busy.value), busy.value.retry) == (said, 1)
        running.open = 3
        with pytest.raises(BusyError):
            running.admit()
        running.open = 0
        await asyncio.to_thread(running.end)
        with pytest.raises(BusyError) as busy:
            running.admit()
        assert (str(busy.value), busy.value.retry) == ("the model has been closed; ask again", 5)
        assert not running._thread.is_alive()
        assert running._thread.daemon
        assert running._thread.name == "limelight engine"

    asyncio.run(run())


def test_work_between_steps_returns_what_it_finds_or_its_error() -> None:
    modes: list[bool] = []

    def three() -> Generator[None, None, int]:
        for _ in range(3):
            modes.append(torch.is_inference_mode_enabled())
            yield
        return 3

    def fails() -> Generator[None, None, int]:
        yield
        raise ZeroDivisionError

    async def run() -> None:
        running = runner()
        together = asyncio.gather(running.aside(three), running.aside(three))
        assert await together == [3, 3]
        with pytest.raises(ZeroDivisionError):
            await running.aside(fails)
        assert [token.id async for _, token in await running.submit([asked([1], 2)])] == MODEL.greedy([1], 2)
        assert not running._asides
        await asyncio.to_thread(running.end)

    asyncio.run(run())
    assert modes == [True] * 6


def test_tokens_of_texts_that_nobody_waits_for_are_dropped() -> None:
    running = runner()
    running._hand_out([Token(99, 1)])
    assert running.counts == Counts()
    running.end()

"""The thread that owns an engine: whoever asks is answered or told why not, whatever becomes of it."""

import asyncio
import threading
from collections.abc import Generator
from dataclasses import replace
from typing import Any, cast

import pytest
from decode.hashed_model import HashedModel

from limelight.decode import Engine, Rules, Sampling
from limelight.errors import RequestError
from limelight.models.api import Decoder
from limelight.serve import runner as runners
from limelight.serve.runner import Ask, BusyError, Runner

LONG = Ask([1, 2], 4000, 0, Sampling(), frozenset(), None, Rules(), None)


def runner() -> Runner:
    return Runner(cast(Decoder, HashedModel()), rows=2, waiting=2)


def for_ever() -> Generator[None, None, None]:
    while True:
        yield


def test_those_who_are_not_answered_when_it_ends_are_told_so() -> None:
    async def run() -> None:
        running = runner()
        jobs = [await running.submit([LONG, LONG]), await running.submit([LONG])]
        aside = asyncio.ensure_future(running.aside(for_ever))
        await anext(jobs[0])
        await asyncio.to_thread(running.end)
        for job in jobs:
            with pytest.raises(BusyError, match="has been closed"):
                async for _ in job:
                    pass
        with pytest.raises(BusyError, match="has been closed"):
            await aside
        with pytest.raises(BusyError, match="has been closed"):
            await running.submit([LONG])
        assert running.open == 0

    asyncio.run(run())


def test_those_who_come_when_it_has_ended_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those, too, who were let in a moment before."""

    async def run() -> None:
        running = runner()
        job = await running.submit([LONG])
        running.end()
        with pytest.raises(BusyError, match="has been closed"):
            await asyncio.wait_for(running.aside(for_ever), 10)
        monkeypatch.setattr(running, "admit", lambda texts: None)
        with pytest.raises(BusyError, match="has been closed"):
            await asyncio.wait_for(running.submit([LONG]), 10)
        job.close()  # nothing is left to be cancelled
        running.end()
        await asyncio.sleep(0)
        assert running.open == 0

    asyncio.run(run())


def test_those_who_ask_while_it_ends_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stepping, go_on, step = threading.Event(), threading.Event(), Engine.step

    def held(self: Engine) -> Any:
        stepping.set()
        go_on.wait()
        return step(self)

    async def run() -> None:
        running = runner()
        await anext(await running.submit([LONG]))
        monkeypatch.setattr(Engine, "step", held)
        await asyncio.to_thread(stepping.wait)
        late = [asyncio.ensure_future(running.submit([LONG])) for _ in range(2)]
        aside = asyncio.ensure_future(running.aside(for_ever))
        await asyncio.sleep(0)  # until they are in the queue
        ending = asyncio.ensure_future(asyncio.to_thread(running.end))
        while not running._ending:
            await asyncio.sleep(0)
        go_on.set()
        await ending
        for each in late:
            with pytest.raises(BusyError, match="has been closed"):
                await asyncio.wait_for(anext(await asyncio.wait_for(each, 9)), 9)
        with pytest.raises(BusyError, match="has been closed"):
            await asyncio.wait_for(aside, 9)
        assert running.open == 0
        assert not running.alive

    asyncio.run(run())


def test_texts_that_are_asked_for_together_are_refused_together() -> None:
    async def run() -> None:
        running = runner()
        for wrong in (replace(LONG, max_tokens=0), replace(LONG, prompt=[-1])):
            with pytest.raises(RequestError):
                await running.submit([LONG, LONG, wrong])
            assert running.open == running.running == running.waiting == 0
        job = await running.submit([LONG, LONG])
        running.admit(2)
        with pytest.raises(BusyError, match="at most 4 may") as busy:
            running.admit(3)
        assert busy.value.retry == 1
        assert running.alive
        job.close()
        job.close()  # which nobody minds
        while running.open:
            await asyncio.sleep(0)
        assert (running.counts.cancelled, running.counts.prompt) == (2, 2 * len(LONG.prompt))
        await running.submit([LONG] * 5)  # more than there is room for are taken where nobody else is there
        await asyncio.to_thread(running.end)

    asyncio.run(run())


def test_an_engine_that_does_not_step_counts_as_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        running = runner()
        monkeypatch.setattr(runners, "STALLED", 0.0)
        assert running.alive  # nobody waits for it
        job = await running.submit([LONG])
        assert not running.alive
        monkeypatch.undo()
        assert running.alive
        job.close()
        while running.open:
            await asyncio.sleep(0)
        aside = asyncio.ensure_future(running.aside(for_ever))
        while not running._asides:
            await asyncio.sleep(0)
        monkeypatch.setattr(runners, "STALLED", 0.0)
        assert not running.alive
        aside.cancel()
        await asyncio.to_thread(running.end)

    asyncio.run(run())


def test_a_defect_ends_all_that_was_asked_and_the_next_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        running = runner()
        job = await running.submit([LONG])
        aside = asyncio.ensure_future(running.aside(for_ever))
        await anext(job)

        def broken(self: Engine) -> Any:
            raise ZeroDivisionError

        monkeypatch.setattr(Engine, "step", broken)
        for end in (anext(aiter(running_out(job))), aside):
            with pytest.raises(RuntimeError, match="the engine failed"):
                await end
        monkeypatch.undo()
        assert (await anext(await running.submit([LONG])))[0] == 0
        await asyncio.to_thread(running.end)

    async def running_out(job: Any) -> Any:
        async for _ in job:
            pass
        yield

    asyncio.run(run())

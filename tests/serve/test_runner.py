"""The thread that owns an engine: whoever asks is answered or told why not, whatever becomes of it."""

import asyncio
from collections.abc import Generator
from typing import Any, cast

import pytest
from decode.hashed_model import HashedModel

from limelight.decode import Engine, Rules, Sampling
from limelight.models.api import Decoder
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
        late = asyncio.ensure_future(running.submit([LONG]))
        await asyncio.sleep(0)  # until the late one is in the queue
        await asyncio.to_thread(running.end)
        for job in jobs:
            with pytest.raises(BusyError, match="has been closed"):
                async for _ in job:
                    pass
        with pytest.raises(BusyError, match="has been closed"):
            await aside
        with pytest.raises(BusyError, match="has been closed"):
            await anext(await late)
        with pytest.raises(BusyError, match="has been closed"):
            await running.submit([LONG])
        assert running.open == 0

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

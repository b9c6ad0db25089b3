"""The one thread that computes for everybody: what waits, what is given up, and what becomes of errors."""

import asyncio
import threading
from typing import Any

import pytest

from limelight.errors import RequestError
from limelight.serve import worker as workers
from limelight.serve.worker import AbandonedError, Emit, Worker, heed


class Panic(BaseException):
    """As a library in Rust raises it."""


def test_errors_reach_whoever_asked_and_a_panic_is_one() -> None:
    worker = Worker()

    def fail(error: BaseException) -> None:
        raise error

    assert worker.submit(lambda: 3).result(9) == 3
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: fail(ZeroDivisionError())).result(9)
    with pytest.raises(RuntimeError, match=r"^it broke$") as broken:
        worker.submit(lambda: fail(Panic("it broke"))).result(9)
    assert isinstance(broken.value.__cause__, Panic)
    with pytest.raises(AbandonedError):
        worker.submit(lambda: fail(AbandonedError())).result(9)
    assert worker.submit(lambda: 4).result(9) == 4
    assert worker.end(9)
    assert worker._asked == {}


def until_unwanted(begun: threading.Event) -> None:
    begun.set()
    while True:
        heed()


def test_what_is_abandoned_ends_where_it_looks_or_never_begins() -> None:
    worker, begun = Worker(), threading.Event()
    heed("nobody", "waits", "here")  # outside of any work it is nothing
    running = worker.submit(lambda: until_unwanted(begun))
    waiting = worker.submit(lambda: 1)
    assert begun.wait(9)
    worker.abandon(waiting)
    worker.abandon(waiting)  # which nobody minds
    assert waiting.cancelled()
    worker.abandon(running)
    with pytest.raises(AbandonedError):
        running.result(9)
    worker.abandon(running)
    assert worker.submit(heed).result(9) is None  # the next one is wanted
    assert worker.end(9)


def test_an_end_gives_up_what_runs_and_what_waits() -> None:
    worker, begun = Worker(), threading.Event()
    running, waiting = worker.submit(lambda: until_unwanted(begun)), worker.submit(lambda: 1)
    assert begun.wait(9)
    assert worker.end(9)
    assert isinstance(running.exception(0), AbandonedError)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="shutdown"):
        worker.submit(lambda: 1)


def test_who_is_cancelled_abandons_his_work() -> None:
    worker, begun = Worker(), threading.Event()

    async def run() -> None:
        assert await worker.do(lambda: 5) == 5
        task = asyncio.ensure_future(worker.do(lambda: until_unwanted(begun)))
        await asyncio.to_thread(begun.wait, 9)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await worker.do(lambda: 6) == 6

    asyncio.run(run())
    assert worker.end(9)


def test_lines_come_in_order_and_an_error_behind_them() -> None:
    def work(emit: Emit) -> None:
        for number in range(3):
            emit({"number": number})
        raise RequestError("that is all")

    async def run() -> None:
        lines = worker.lines(work, waiting=lambda: {"waiting": True})
        assert [await anext(lines) for _ in range(3)] == [{"number": number} for number in range(3)]
        with pytest.raises(RequestError, match="that is all"):
            await anext(lines)

    worker = Worker()
    asyncio.run(run())
    assert worker.end(9)


def test_whoever_waits_is_comforted_until_it_is_his_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.01)
    worker, free, pause = Worker(), threading.Event(), threading.Event()

    def work(emit: Emit) -> None:
        pause.wait(0.1)  # ten times as long as patience lasts
        emit({"done": 1})

    async def told(waiting: Any) -> list[Any]:
        return [line async for line in worker.lines(work, waiting)]

    async def run() -> None:
        before = worker.submit(lambda: free.wait(9))
        lines = worker.lines(work, lambda: {"waiting": True})
        assert [await anext(lines) for _ in range(2)] == [{"waiting": True}] * 2
        silent = asyncio.ensure_future(told(None))
        free.set()
        rest = [line async for line in lines]
        assert rest[-1] == {"done": 1}
        assert rest.count({"waiting": True}) <= 2  # none while it is at work
        assert await silent == [{"done": 1}]
        assert before.result(9)

    asyncio.run(run())
    assert worker.end(9)

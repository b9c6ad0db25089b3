"""One thread that computes for everybody who asks, and work that ends when its answer is no longer wanted."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TypeVar

from limelight.errors import RequestError

MOST = 100
"""Requests that may wait."""

PATIENCE = 0.25
"""Seconds between two words of comfort to one who waits."""

Line = dict[str, Any]
Emit = Callable[[Line], None]
"""Sends one line; raises `AbandonedError` when nobody is listening."""

T = TypeVar("T")

_gone: ContextVar[threading.Event | None] = ContextVar("gone", default=None)


class AbandonedError(BaseException):
    """The one who asked has gone. No Exception, so that nobody on the way takes it for a fault."""


def heed(*_: object) -> None:
    """Raises AbandonedError if what this thread computes is no longer wanted."""
    gone = _gone.get()
    if gone is not None and gone.is_set():
        raise AbandonedError


class Worker:
    """Does what is asked of it in a thread of its own, one thing after another.

    Looking takes every core there is, so that two at once would each be half as fast. Whoever waits costs no thread.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "limelight")
        self._asked: dict[Future[Any], threading.Event] = {}  # what waits or is being done; set when it need not be

    def submit(self, work: Callable[[], T]) -> "Future[T]":
        """Lines up some work. Raises RequestError if too many wait."""
        if len(self._asked) >= MOST:
            raise RequestError(f"{MOST} requests are waiting for the model; ask again when some are answered")
        gone = threading.Event()
        future = self._thread.submit(_done, work, gone)
        self._asked[future] = gone
        future.add_done_callback(lambda future: self._asked.pop(future, None))
        return future

    def abandon(self, future: "Future[Any]") -> None:
        """This is no longer needed: it does not begin, or ends where it next looks."""
        if not future.cancel() and (gone := self._asked.get(future)):
            gone.set()

    async def do(self, work: Callable[[], T]) -> T:
        """What `work` returns. It is abandoned when this is cancelled; raises RequestError if too many wait."""
        future = self.submit(work)
        try:
            return await asyncio.wrap_future(future)
        finally:
            self.abandon(future)

    async def lines(
        self, work: Callable[[Emit], None], waiting: Callable[[], Line] | None = None
    ) -> AsyncGenerator[Line, None]:
        """What `work(emit)` emits; raises what it raises, and abandons it when closed.

        waiting: what to say now and then before it is its turn.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Line | None] = asyncio.Queue()
        begun = threading.Event()

        def emit(line: Line) -> None:
            heed()
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(queue.put_nowait, line)

        def run() -> None:
            begun.set()
            work(emit)

        task = asyncio.ensure_future(self.do(run))
        task.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while True:
                patience = None if waiting is None or begun.is_set() else PATIENCE
                try:
                    line = await asyncio.wait_for(queue.get(), patience)
                except TimeoutError:
                    if waiting is not None and not begun.is_set():
                        yield waiting()
                    continue
                if line is None:
                    break
                yield line
            await task
        finally:
            task.cancel()

    def end(self, seconds: float) -> bool:
        """Abandons everything; whether all of it has ended after so many seconds."""
        futures = list(self._asked)
        for future in futures:
            self.abandon(future)
        self._thread.shutdown(wait=False)
        return not wait(futures, seconds).not_done


def _done(work: Callable[[], T], gone: threading.Event) -> T:
    before = _gone.set(gone)
    try:
        return work()
    except (Exception, AbandonedError):
        raise
    except BaseException as error:  # a panic of a library that is written in Rust
        raise RuntimeError(str(error)) from error
    finally:
        _gone.reset(before)

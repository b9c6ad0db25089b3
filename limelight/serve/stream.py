"""Answers that come line by line, and work that ends when nobody listens any more."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from limelight.errors import LimelightError

Emit = Callable[[dict[str, Any]], None]
"""Sends one line; raises `AbandonedError` when nobody listens any more."""


class AbandonedError(Exception):
    """The one who asked has gone."""


def sentence(error: Exception) -> str:
    """What to tell whoever asked: a LimelightError's own words, and for a defect that it is one."""
    if isinstance(error, LimelightError):
        return str(error)
    logging.getLogger("limelight").error("a request failed", exc_info=error)
    return "limelight failed at this; the terminal it was started in says why"


async def lines(work: Callable[[Emit], None]) -> AsyncIterator[str]:
    """What `work(emit)` emits from a thread of its own, as lines of JSON; an error is a last line with "error"."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    gone = threading.Event()

    def put(line: dict[str, Any] | None) -> None:
        with suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(queue.put_nowait, line)

    def emit(line: dict[str, Any]) -> None:
        if gone.is_set():
            raise AbandonedError
        put(line)

    def run() -> None:
        try:
            work(emit)
        except AbandonedError:
            pass
        except Exception as error:
            put({"error": sentence(error)})
        finally:
            put(None)

    # Who ends the server waits for it: it ends at what it emits next, and a daemon would be torn out of a computation.
    threading.Thread(target=run).start()
    try:
        while (line := await queue.get()) is not None:
            yield json.dumps(line) + "\n"
    finally:
        gone.set()

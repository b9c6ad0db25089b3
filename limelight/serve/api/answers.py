"""Answers of the API: whole, or piece by piece as server-sent events; given up when whoever asked leaves."""

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.types import Send

from limelight.serve.api.errors import api_error
from limelight.serve.reply import Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

Object = dict[str, Any]


_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encoded(value: Any) -> bytes:
    """JSON, with characters as they are."""
    return _JSON.encode(value).encode("utf-8", "replace")


def event(value: Object, name: str = "") -> bytes:
    """A server-sent event."""
    return b"%sdata: %s\n\n" % (b"event: %s\n" % name.encode() if name else b"", encoded(value))


class Pattern:
    """Events that differ in one text alone, so that all the rest is encoded once."""

    def __init__(self, make: Callable[[str], Object]) -> None:
        text = "\0"  # as JSON has it, "\u0000", which nothing else in a made-up name or number can be
        self._front, self._back = event(make(text)).split(encoded(text))

    def event(self, text: str) -> bytes:
        """The event with this text."""
        return b"".join((self._front, encoded(text), self._back))


class Whole(Reply):
    """The object that `work` comes to, or its error."""

    def __init__(self, work: Callable[[], Awaitable[Any]]) -> None:
        super().__init__("application/json")
        self._work = work

    async def _answer(self, send: Send) -> None:
        try:
            body = encoded(await self._work())
        except Exception as error:
            found = api_error(error)
            self.status_code, body = found.status, encoded(found.body)
            self.headers.update(found.headers)
        self.headers["content-length"] = str(len(body))
        await self._begin(send)
        await send({"type": "http.response.body", "body": body})


class Events(Reply):
    """The server-sent events that `work` yields; an error in the middle is one, too. done: how the stream ends."""

    def __init__(self, work: "AsyncGenerator[bytes, None]", done: bytes = b"data: [DONE]\n\n") -> None:
        super().__init__("text/event-stream")
        self.headers["x-accel-buffering"] = "no"  # a proxy would hold the pieces back
        self._work = work
        self._done = done

    async def _answer(self, send: Send) -> None:
        await self._begin(send)
        async with aclosing(self._work) as events:
            try:
                async for body in events:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            except Exception as error:
                body = event(api_error(error).body)
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": self._done})

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
    """What `work` yields, as server-sent events; an error in the middle is one, too. done: how the stream ends."""

    def __init__(
        self, work: "AsyncGenerator[Object | tuple[str, Object], None]", done: bytes = b"data: [DONE]\n\n"
    ) -> None:
        super().__init__("text/event-stream")
        self.headers["x-accel-buffering"] = "no"  # a proxy would hold the pieces back
        self._work = work
        self._done = done

    async def _answer(self, send: Send) -> None:
        await self._begin(send)
        async with aclosing(self._work) as events:
            try:
                async for event in events:
                    name, value = event if isinstance(event, tuple) else ("", event)
                    head = b"event: %s\n" % name.encode() if name else b""
                    body = b"%sdata: %s\n\n" % (head, encoded(value))
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            except Exception as error:
                body = b"data: %s\n\n" % encoded(api_error(error).body)
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": self._done})

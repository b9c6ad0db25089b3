"""Answers that are computed while whoever asked listens, and sent in pieces, as fast as they are read."""

import asyncio
import io
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, BinaryIO

from fastapi.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from limelight.errors import LimelightError
from limelight.serve.worker import Line, Worker
from limelight.views.numbers import dumps

PIECE = 1 << 16
"""Bytes of an answer that are sent at once."""

HELD = 1 << 20
"""Bytes of an answer that are kept in memory while it is sent; a longer one is kept in a file."""


def sentence(error: Exception) -> str:
    """What to tell whoever asked: a LimelightError's own words, and for a defect that it is one."""
    if isinstance(error, LimelightError):
        return str(error)
    logging.getLogger("limelight").error("a request failed", exc_info=error)
    return "limelight failed at this; the terminal it was started in says why"


class Json(JSONResponse):
    """An answer that is known already, in the same JSON as all others."""

    def render(self, content: Any) -> bytes:
        return dumps(content).encode()


class Reply(Response, ABC):
    """An answer that is given up when whoever asked leaves."""

    def __init__(self, media_type: str) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answering, leaving = asyncio.ensure_future(self._answer(send)), asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            answering.cancel()
            leaving.cancel()

    @abstractmethod
    async def _answer(self, send: Send) -> None: ...

    async def _begin(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})


class Answer(Reply):
    """The bytes that `work` returns, or an error as JSON."""

    def __init__(self, worker: Worker, work: Callable[[], bytes | memoryview], media_type: str) -> None:
        super().__init__(media_type)
        self._worker = worker
        self._work = work

    async def _answer(self, send: Send) -> None:
        try:
            file = await self._worker.do(lambda: _kept(self._work()))
        except Exception as error:
            file = _kept(dumps({"error": sentence(error)}).encode())
            self.status_code = 400 if isinstance(error, LimelightError) else 500
            self.headers["content-type"] = "application/json"
        with file:
            self.headers["content-length"] = str(file.seek(0, io.SEEK_END))
            file.seek(0)
            await self._begin(send)
            while piece := file.read(PIECE):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class Lines(Reply):
    """What comes, as lines of JSON; an error is a last line with "error"."""

    def __init__(self, lines: AsyncGenerator[Line, None]) -> None:
        super().__init__("application/x-ndjson")
        self._lines = lines

    async def _answer(self, send: Send) -> None:
        async def put(line: Line) -> None:
            await send({"type": "http.response.body", "body": f"{dumps(line)}\n".encode(), "more_body": True})

        await self._begin(send)
        async with aclosing(self._lines) as lines:
            try:
                async for line in lines:
                    await put(line)
            except Exception as error:
                await put({"error": sentence(error)})
        await send({"type": "http.response.body", "body": b""})


def _kept(data: bytes | memoryview) -> BinaryIO:
    """The data, in memory only if they are few: a slow reader would otherwise hold them there as long as it likes."""
    if len(data) <= HELD:
        return io.BytesIO(data)
    file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by whoever sends it)
    file.write(data)
    return file


async def _left(receive: Receive) -> None:
    """Until whoever asked has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass

"""Answers of the page's server as clients get them: their bytes, status and headers, and errors in their place."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from limelight.errors import RequestError
from limelight.serve import reply
from limelight.serve.reply import Answer, Lines
from limelight.serve.worker import Worker


def got(app: Any) -> tuple[int, str, str | None, bytes]:
    answer = TestClient(app).get("/")
    return answer.status_code, answer.headers["content-type"], answer.headers.get("content-length"), answer.content


@pytest.mark.parametrize("held", [5, 100])
def test_bytes_arrive_whole_whatever_they_are_kept_in(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reply, "PIECE", 4)
    monkeypatch.setattr(reply, "HELD", held)
    worker = Worker()
    for data in (b"0123456789", memoryview(b"0123456789"), b"01234567", b""):
        found = got(Answer(worker, lambda data=data: data, "application/octet-stream"))
        assert found == (200, "application/octet-stream", str(len(data)), bytes(data))
    assert worker.end(9)


def test_an_error_stands_in_an_answers_place() -> None:
    def fail(error: Exception) -> bytes:
        raise error

    worker = Worker()
    said = b"limelight failed at this; the terminal it was started in says why"
    for error, status, why in ((RequestError("no"), 400, b"no"), (ValueError("secret"), 500, said)):
        found = got(Answer(worker, lambda error=error: fail(error), "text/html"))
        body = b'{"error":"%s"}' % why
        assert (found[:2], found[3].replace(b": ", b":")) == ((status, "application/json"), body)
        assert found[2] == str(len(found[3]))
    assert worker.end(9)


def test_an_error_is_the_last_of_the_lines() -> None:
    async def lines() -> AsyncGenerator[dict[str, Any], None]:
        yield {"done": 1}
        raise RequestError("no")

    status, kind, length, body = got(Lines(lines()))
    assert (status, kind, length) == (200, "application/x-ndjson", None)
    assert [line.replace(b" ", b"") for line in body.split(b"\n")] == [b'{"done":1}', b'{"error":"no"}', b""]

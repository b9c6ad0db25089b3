"""A running server of the API, and how tests ask it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from limelight.serve.api.shelf import Shelf, Writer

ROWS, WAITING = 4, 4


@dataclass
class Served:
    """A running server. shelf: its models."""

    port: int
    shelf: Shelf

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def writer(self) -> Writer:
        """The model that is meant where none is named."""
        found = self.shelf.opened[0]
        assert isinstance(found, Writer)
        return found

    @contextmanager
    def open(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> Iterator[HTTPResponse]:
        """The answer to a request, not read yet."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if body is None else {"content-type": "application/json"}
        connection.request(method or ("GET" if body is None else "POST"), path, sent, {**kind, **(headers or {})})
        with closing(connection), connection.getresponse() as answer:
            yield answer

    def ask(self, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """(status, JSON) of a request's answer."""
        with self.open(path, body, headers) as answer:
            return answer.status, json.loads(answer.read())

    def events(self, path: str, body: Any) -> list[Any]:
        """What a stream sends."""
        with self.open(path, {**body, "stream": True}) as answer:
            assert answer.status == 200, answer.read()
            blocks = answer.read().decode().split("\n\n")
        assert blocks[-2:] == ["data: [DONE]", ""]
        return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]

    def idle(self) -> None:
        """Returns when nothing is being written any more."""
        begun = time.monotonic()
        while self.writer.runner.open:
            assert time.monotonic() - begun < 30
            time.sleep(0.005)


Serve = Callable[..., Served]

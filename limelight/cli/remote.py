"""Asking a running ``limelight serve`` instead of opening a model."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from rich.console import Console
from rich.table import Table
from rich.text import Text

from limelight import given
from limelight.cli.screen import ADDED, clean, print_json
from limelight.errors import RequestError, SourceError

if TYPE_CHECKING:
    from limelight import Sampling

PATIENCE = 600
"""Seconds without a word from the server after which it is given up."""


class Server:
    """A server of OpenAI's API at an address such as http://127.0.0.1:11211; its key is LIMELIGHT_API_KEY."""

    def __init__(self, url: str) -> None:
        """Raises RequestError for what is no address."""
        try:
            parts = urlsplit(url)
            self._port, self._host = parts.port, parts.hostname
        except ValueError:
            self._host = None
        if self._host is None or parts.scheme not in ("http", "https"):
            raise RequestError(
                f"--server is {given.shown(url)}; it must be an address such as http://127.0.0.1:11211, as limelight "
                "serve tells it"
            )
        self._secure = parts.scheme == "https"
        self._front = parts.path.rstrip("/").removesuffix("/v1")
        self._where = f"{parts.scheme}://{parts.netloc}"

    def ask(self, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        """The answer to a request: GET, or with a body POST. Raises SourceError if nobody answers, RequestError with
        the server's own words if it refuses."""
        told = urlencode({name: value for name, value in query.items() if value is not None})
        with closing(self._connection()) as connection:
            return json.loads(self._answer(connection, f"{path}?{told}" if told else path, body).read())

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Any]:
        """What a stream sends, object by object. Raises as `ask` does."""
        with closing(self._connection()) as connection:
            answer = self._answer(connection, path, {**body, "stream": True})
            try:
                for line in answer:
                    data = line.removeprefix(b"data: ").strip()
                    if line.startswith(b"data: ") and data != b"[DONE]":
                        found = json.loads(data)
                        if "error" in found:
                            raise RequestError(found["error"]["message"])
                        yield found
            except (OSError, HTTPException) as error:
                raise SourceError(f"the server at {self._where} broke off: {error or type(error).__name__}") from None

    def _connection(self) -> HTTPConnection:
        assert self._host is not None
        kind = HTTPSConnection if self._secure else HTTPConnection
        return kind(self._host, self._port, timeout=PATIENCE)

    def _answer(self, connection: HTTPConnection, path: str, body: Mapping[str, Any] | None) -> HTTPResponse:
        headers = {"content-type": "application/json"} if body is not None else {}
        if key := os.environ.get("LIMELIGHT_API_KEY"):
            headers["authorization"] = f"Bearer {key}"
        sent = None if body is None else json.dumps(body).encode()
        try:
            connection.request("GET" if body is None else "POST", self._front + path, sent, headers)
            answer = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise SourceError(
                f"no server answers at {self._where} ({error or type(error).__name__}); start one with limelight serve"
            ) from None
        if answer.status >= 400:
            raise RequestError(f"the server at {self._where} says: {_said(answer)}")
        return answer


def _said(answer: HTTPResponse) -> str:
    raw = answer.read(100_000)
    try:
        error = json.loads(raw)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return f"{answer.status} {answer.reason}"


def drawn(sampling: "Sampling", max_tokens: int, stop: list[str] | None, model: str | None) -> dict[str, Any]:
    """What a request says of how tokens are chosen."""
    found = {
        "model": model,
        "max_tokens": max_tokens,
        "stop": stop or None,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition,
        "frequency_penalty": sampling.frequency,
        "presence_penalty": sampling.presence,
        "seed": sampling.seed,
    }
    return {name: value for name, value in found.items() if value is not None}


def chat(server: Server, messages: list[Any], body: Mapping[str, Any]) -> Iterator[str]:
    """Pieces of a server's answer to a conversation."""
    for event in server.events("/v1/chat/completions", {**body, "messages": messages}):
        for choice in event["choices"]:
            if piece := choice["delta"].get("content"):
                yield piece


def complete(server: Server, prompt: str, body: Mapping[str, Any]) -> Iterator[str]:
    """Pieces of a server's continuation of a text."""
    for event in server.events("/v1/completions", {**body, "prompt": prompt}):
        for choice in event["choices"]:
            if choice["text"]:
                yield choice["text"]


def looked(server: Server, id: str, word: str | None, sentence: str | None) -> Any:
    """What in the prompt made the answer of a request that a server has kept."""
    return server.ask(f"/v1/requests/{quote(id, safe='')}/look", word=word, sentence=sentence)


def show(console: Console, found: Any, json: bool) -> None:
    """Prints what `looked` returns."""
    from limelight.look.wording import folded, quoted

    if json:
        print_json(found)
        return
    console.print(Text(clean(found["answer"]), ADDED), soft_wrap=True)
    console.print()
    if "matrix" in found:
        matrix, table = found["matrix"], Table.grid(padding=(0, 2))
        for row, losses in zip(matrix["rows"], matrix["losses"], strict=True):
            most = max(range(len(losses)), key=losses.__getitem__)
            owes = f"{folded(losses[most])} likely without {quoted(clean(matrix['columns'][most]['text']))}"
            table.add_row(Text(quoted(clean(row["text"])), "bold"), owes)
        console.print(table)
        console.print()
    for told in found["importance"]["told"][1 if "matrix" in found else 0 :]:
        console.print(clean(told))

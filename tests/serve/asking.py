"""Requests to a server, and their answers."""

import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

Answer = tuple[int, dict[str, str], bytes]


def ask(server: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """One request; `body` goes as JSON, by POST."""
    connection = HTTPConnection(urlsplit(server).netloc, timeout=60)
    sent = None if body is None else json.dumps(body).encode()
    json_type = {} if body is None else {"content-type": "application/json"}
    connection.request("GET" if body is None else "POST", path, sent, {**json_type, **(headers or {})})
    answer = connection.getresponse()
    found = (answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    connection.close()
    return found


def lines(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer[2].splitlines()]


def spoken(answer: dict[str, Any]) -> list[str]:
    """The sentences of an answer as text."""
    return ["".join(part if isinstance(part, str) else part["text"] for part in told) for told in answer["told"]]

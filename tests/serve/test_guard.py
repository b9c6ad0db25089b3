"""What stands between a server and other people's pages, without a server: every header, every refusal."""

import asyncio
import json
import socket
from typing import Any

import pytest

from limelight.serve.guard import HEADERS, Guard, Receive, Scope, Send

HOST = (b"Host", b"localhost")
JSON = (b"content-type", b"application/json")
PAGE = "https://good.example"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Says what reached it."""
    if scope["type"] == "http" and scope["path"] == "/bare":
        await send({"type": "http.response.start", "status": 200})
    else:
        await send({"type": "http.response.start", "status": 201, "headers": [JSON]})
    await send({"type": "http.response.body", "body": (await receive())["body"]})


def asked(
    guard: Guard, *headers: tuple[bytes, bytes], method: str = "POST", path: str = "/", type: str = "http"
) -> list[dict[str, Any]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"asked"}

    scope = {"type": type, "method": method, "path": path, "headers": list(headers)}
    asyncio.run(guard(scope, receive, send))
    return sent


def refusal(status: int, body: Any) -> list[dict[str, Any]]:
    data = json.dumps(body).encode()
    length = (b"content-length", str(len(data)).encode())
    return [
        {"type": "http.response.start", "status": status, "headers": [JSON, length, *HEADERS]},
        {"type": "http.response.body", "body": data},
    ]


def test_what_is_meant_for_the_server_reaches_it_and_its_answer_has_the_headers() -> None:
    body = {"type": "http.response.body", "body": b"asked"}
    assert asked(Guard(app), HOST) == [
        {"type": "http.response.start", "status": 201, "headers": [JSON, *HEADERS]},
        body,
    ]
    assert asked(Guard(app), HOST, path="/bare") == [
        {"type": "http.response.start", "status": 200, "headers": HEADERS},
        body,
    ]


def test_servers_beginnings_are_passed_on_and_sockets_are_not() -> None:
    assert len(asked(Guard(app), type="lifespan")) == 2
    assert asked(Guard(app), HOST, type="websocket") == []


@pytest.mark.parametrize(
    "host", ["box.example", "BOX.example:80", "localhost:", "[::1]", "[FE80::1]:1", "10.0.0.1", socket.gethostname()]
)
def test_names_that_are_ours_are_answered(host: str) -> None:
    assert asked(Guard(app, frozenset({"box.example"})), (b"host", host.encode()))[0]["status"] == 201


@pytest.mark.parametrize("host", ["other.example", "box.example.evil", "localhost:x", "[::g]", "::1", ""])
def test_other_names_are_refused(host: str) -> None:
    said = "this server answers to localhost and to addresses only"
    guard = Guard(app, frozenset({"box.example"}))
    assert asked(guard, (b"host", host.encode())) == refusal(421, {"error": said})
    assert asked(guard) == refusal(421, {"error": said})  # who names no host


def test_only_the_servers_own_page_may_ask_and_those_that_are_named() -> None:
    said = refusal(403, {"error": "this server answers to its own page only"})
    guard = Guard(app, origins=frozenset({PAGE}))
    assert asked(Guard(app), HOST, (b"Origin", PAGE.encode())) == said
    assert asked(guard, HOST, (b"origin", b"https://good.example.evil")) == said
    own = asked(Guard(app), (b"host", b"LOCALHOST:8000"), (b"origin", b"http://localHost:8000"))
    assert own[0]["headers"] == [JSON, *HEADERS]
    for sharing, origin in ((guard, "HTTPS://Good.example"), (Guard(app, origins=frozenset({"*"})), "null")):
        shared = asked(sharing, HOST, (b"origin", origin.encode()))
        assert shared[0]["status"] == 201
        assert dict(shared[0]["headers"]) == {
            JSON[0]: JSON[1],
            **{name: value for name, value in HEADERS if not name.startswith(b"cross-origin")},
            b"access-control-allow-origin": origin.encode(),
            b"access-control-allow-methods": b"GET, POST",
            b"access-control-allow-headers": b"authorization, content-type",
            b"access-control-max-age": b"600",
            b"vary": b"origin",
        }
        before = asked(sharing, HOST, (b"origin", origin.encode()), method="OPTIONS")
        assert before == [
            {"type": "http.response.start", "status": 200, "headers": shared[0]["headers"][1:]},
            {"type": "http.response.body", "body": b""},
        ]
    assert asked(Guard(app), HOST, method="OPTIONS")[0]["status"] == 201  # the application's own to answer


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ((b"content-length", b"2000"), 201),
        ((b"Content-Length", b"2001"), 413),
        ((b"content-length", b"0000002000"), 413),
        ((b"content-length", b"000000200"), 201),
        ((b"content-length", b"-1"), 413),
        ((b"content-length", b""), 413),
        ((b"transfer-encoding", b"chunked"), 413),
    ],
)
def test_a_request_says_how_long_it_is_and_is_no_longer_than_it_may(header: tuple[bytes, bytes], status: int) -> None:
    answer = asked(Guard(app, largest=2000, told=lambda why: {"message": why}), HOST, header)
    assert answer[0]["status"] == status
    if status == 413:
        assert answer == refusal(413, {"error": {"message": "a request may have at most 2,000 bytes"}})

"""What stands between the server and everybody else's web pages.

A page from anywhere can make the browser ask a server on this machine. It cannot read the answer, unless its own name
is made to point here ("DNS rebinding"), so a request is answered only if it was meant for this server by a name that
nobody else can own, and a change is made only for this server's own page.
"""

import ipaddress
import json
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST = 1 << 20
"""Bytes of the largest request."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The browser itself sees to it that the page asks nobody but this server, and runs nothing but its files."""

HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """Refuses foreign hosts, foreign origins and large bodies, and puts the headers on every answer."""

    def __init__(
        self,
        app: App,
        names: frozenset[str] = frozenset(),
        largest: int = LARGEST,
        origins: frozenset[str] = frozenset(),
        told: Callable[[str], Any] = lambda why: why,
    ) -> None:
        """names: hosts to answer to, besides addresses, localhost and this machine's own name. largest: bytes of a
        request. origins: those of other pages that may ask all the same, such as "https://example.org"; "*": all.
        told: what stands in a refusal for the reason."""
        self._app = app
        self._largest = largest
        self._origins = origins
        self._told = told
        self._names = names | {"localhost", socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request (ASGI)."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        origin = headers.get(b"origin")
        if not self._ours(host):
            await self._refuse(send, 421, "this server answers to localhost and to addresses only")
            return
        shared = origin is not None and bool(self._origins & {"*", origin.lower()})
        if origin is not None and not shared and origin.partition("://")[2].lower() != host.lower():
            await self._refuse(send, 403, "this server answers to its own page only")
            return
        length = headers.get(b"content-length", "0")
        if not re.fullmatch("[0-9]{1,9}", length) or int(length) > self._largest or b"transfer-encoding" in headers:
            await self._refuse(send, 413, f"a request may have at most {self._largest:,} bytes")
            return
        more = _shared(origin) if shared and origin is not None else HEADERS
        if shared and scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 200, "headers": more})
            await send({"type": "http.response.body", "body": b""})
            return

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        await self._app(scope, receive, answer)

    def _ours(self, host: str) -> bool:
        found = re.fullmatch(r"(?:\[([0-9a-f:.]+)\]|([^:/?#@\[\]]+))(?::[0-9]*)?", host, re.I)
        if found is None:
            return False
        name = found[1] or found[2]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self._names
        return True

    async def _refuse(self, send: Send, status: int, why: str) -> None:
        body = json.dumps({"error": self._told(why)}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *HEADERS]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _shared(origin: str) -> list[tuple[bytes, bytes]]:
    """The headers of an answer that another page may read."""
    own = (b"cross-origin-resource-policy", b"cross-origin-opener-policy")
    return [
        *(header for header in HEADERS if header[0] not in own),
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-methods", b"GET, POST"),
        (b"access-control-allow-headers", b"authorization, content-type"),
        (b"access-control-max-age", b"600"),
        (b"vary", b"origin"),
    ]

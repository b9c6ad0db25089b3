"""Starting the server and the browser."""

import errno
import gc
import os
import socket
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from limelight import given
from limelight.errors import RequestError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from limelight.serve.session import PageSession

SECOND = 1.0
"""How long what is computed may go on when the server ends."""


def listen(host: str, port: int | None) -> socket.socket:
    """A socket on `host` at `port`, or at any free one. Raises RequestError if that cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port or 0))
        sock.listen(128)  # from here on the browser may come; it waits until the server is there
    except (OSError, UnicodeError, TypeError) as error:  # the last two for what cannot be a name
        sock.close()
        raise RequestError(f"cannot listen on {given.shown(host)} port {port or 'any'}: {_reason(error)}") from None
    return sock


def _reason(error: OSError | UnicodeError | TypeError) -> str:
    """Why a socket cannot be had, and what to do."""
    if isinstance(error, socket.gaierror | UnicodeError | TypeError) or error.errno == errno.EADDRNOTAVAIL:
        return "--host names an address of this machine, such as 127.0.0.1 for itself alone or 0.0.0.0 for everybody"
    if error.errno == errno.EADDRINUSE:
        return "another program has that port; choose another --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "that port is the system's; choose another --port, from 1024 on"
    return f"{error.strerror}; choose another --port"


def address(sock: socket.socket, text: str | None) -> str:
    """Where the page is; `text` goes behind the #, which no browser sends anywhere."""
    host, port = sock.getsockname()[:2]
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    behind = "" if text is None else "#" + urlencode({"text": text})
    return f"http://{shown}:{port}/{behind}"


def serve(sock: socket.socket, session: "PageSession", text: str | None, open_browser: bool) -> None:
    """Serves the page until interrupted; the model opens while the browser does. Raises what opening it raises."""
    # All that is imported and opened by then stays: to look through it for garbage would take a quarter of a second of
    # the start, and a tenth each time later.
    gc.disable()
    opening = session.worker.submit(lambda: session.open(session.name, lambda done, total, note: None))
    opening.add_done_callback(_collect)
    # The browser takes a while to come and the model to open: both begin before the server's own parts are imported.
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address(sock, text),), daemon=True).start()
    try:
        import uvicorn

        from limelight.serve.app import make

        config = uvicorn.Config(make(session), log_level="critical", access_log=False, timeout_graceful_shutdown=0)
        server = uvicorn.Server(config)

        def ended(opening: "Future[None]") -> None:
            server.should_exit |= opening.cancelled() or opening.exception() is not None

        opening.add_done_callback(ended)
        server.run(sockets=[sock])
    finally:
        if not session.end(SECOND):  # it is where it cannot be reached, as in a library that waits for a network
            sys.stdout.flush()
            os._exit(130)
    if error := opening.exception():
        raise error


def _collect(opening: "Future[None]") -> None:
    """From here on garbage is looked for, in what came later."""
    gc.freeze()
    gc.enable()

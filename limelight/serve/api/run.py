"""Starting the server of the API, and ending it when all is answered."""

import signal
import socket
from collections.abc import Callable, Sequence

from limelight.serve.api.app import make
from limelight.serve.api.shelf import Shelf

DRAIN = 60
"""Seconds that those who were let in are given to be answered when the server is told to end."""


def serve(
    sock: socket.socket,
    shelf: Callable[[], Shelf],
    ready: Callable[[list[str]], None],
    *,
    keep: int = 0,
    page: bool = False,
    keys: Sequence[str] = (),
    names: frozenset[str] = frozenset(),
    origins: frozenset[str] = frozenset(),
) -> None:
    """Serves until interrupted or told to end (SIGTERM); see `make`. ready: called with the models' names once the
    first one is open. Raises what opening it raises."""
    import uvicorn

    failed: list[Exception] = []

    def opened(found: Shelf) -> None:
        ready(found.names)

    before = signal.signal(signal.SIGTERM, lambda number, frame: None)  # uvicorn hands it on when it has ended
    app = make(
        shelf, opened=opened, failed=failed.append, keep=keep, page=page, keys=keys, names=names, origins=origins
    )
    config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=DRAIN)
    try:
        uvicorn.Server(config).run(sockets=[sock])
    except SystemExit:  # the first model could not be opened
        raise failed[0] from None
    finally:
        signal.signal(signal.SIGTERM, before)
        sock.close()

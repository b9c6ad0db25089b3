"""A server of the API around a tiny random model."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from api_server import ROWS, WAITING, Serve, Served

from limelight.serve.api.app import make
from limelight.serve.api.shelf import Shelf
from limelight.serve.run import listen


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """``serving(names, make's options, **Shelf's options)``: a server that runs until the tests end."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(names: list[str], options: dict[str, Any] | None = None, **shelf: Any) -> Served:
        shelves: list[Shelf] = []
        failed: list[Exception] = []
        app = make(
            lambda: Shelf(names, **{"rows": ROWS, "waiting": WAITING, **shelf}),
            opened=shelves.append,
            failed=failed.append,
            **(options or {}),
        )
        sock = listen("127.0.0.1", None)
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([sock])))
        thread.start()
        running.append((server, thread))
        while not server.started:
            assert thread.is_alive(), failed
            time.sleep(0.005)
        return Served(sock.getsockname()[1], shelves[0])

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def api(serving: Serve, tiny: Path) -> Served:
    """A server of the tiny model alone."""
    return serving([str(tiny)])

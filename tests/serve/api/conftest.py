"""A server of the API around a tiny random model."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from api_server import ROWS, WAITING, Serve, Served
from references import saved, write_marked_tokenizer

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
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model that embeds texts."""
    folder = tmp_path_factory.mktemp("models") / "embedder"
    saved("bert-states", folder)
    write_marked_tokenizer(folder)
    steps = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    steps += [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    (folder / "modules.json").write_text(json.dumps(steps))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    return folder


@pytest.fixture(scope="session")
def both(serving: Serve, tiny: Path, embedder: Path) -> Served:
    """A server of the tiny model and of one that embeds."""
    return serving([str(tiny), str(embedder)])


@pytest.fixture(scope="session")
def api(serving: Serve, tiny: Path) -> Served:
    """A server of the tiny model alone."""
    return serving([str(tiny)])

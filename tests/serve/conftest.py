"""A server around a tiny random model."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from cli.tiny_models import random_llama
from tasks.small_languages import language, network

from limelight.checkpoints.save import save_checkpoint
from limelight.serve import desk
from limelight.serve.app import make
from limelight.serve.desk import Desk
from limelight.serve.run import address, listen


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama: 3 layers of 4 heads."""
    return random_llama(tmp_path_factory)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two trainings that translate: a Transformer and a recurrent model."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("transformer-modern-tiny", "lstm-attention"):
        save_checkpoint(network(name), language().target, folder / name / "model")
        (folder / name / "settings.toml").write_text("", "utf-8")
    return folder


@pytest.fixture(scope="session")
def server(tiny: Path, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server whose first model is the tiny one, and that lists the trainings in `runs`."""
    before, desk.RUNS = desk.RUNS, runs
    homes = {name: os.environ.get(name) for name in ("LIMELIGHT_HOME", "HF_HUB_CACHE")}
    for name in homes:
        os.environ[name] = str(tmp_path_factory.mktemp("home"))
    sock = listen("127.0.0.1", None)
    running = uvicorn.Server(uvicorn.Config(make(Desk(str(tiny))), log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [sock]})
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield address(sock, None)
    running.should_exit = True
    thread.join()
    sock.close()
    desk.RUNS = before
    for name, value in homes.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})

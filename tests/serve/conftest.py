"""A server around a tiny random model, and a real browser to look at it."""

import importlib.util
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from cli.tiny_models import llama, saved, trained

from limelight.serve.app import make
from limelight.serve.desk import Desk
from limelight.serve.run import address, listen


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models lose more by waiting for a second thread than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama: 3 layers of 4 heads."""
    torch.manual_seed(0)
    tokenizer = trained()
    network = llama(tokenizer.vocab, context=4096)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, 1.0 if weight.dim() == 1 else 0.0, 0.3)
    return saved(network, tokenizer, tmp_path_factory)


@pytest.fixture(scope="session")
def server(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server whose first model is the tiny one."""
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
    for name, value in homes.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A running Chromium; it is never installed by a test. Playwright keeps an event loop running in this thread, so
    it ends with the module. Where LIMELIGHT_TEST_BROWSER is set, a missing browser is a failure and not a skip."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    missing = None
    if importlib.util.find_spec("playwright") is None:
        missing = "playwright is not installed"
    elif path is None:
        missing = "there is no Chromium on the path"
    if missing and os.environ.get("LIMELIGHT_TEST_BROWSER"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()

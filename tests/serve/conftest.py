"""A server around a tiny random model."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn
from cli.tiny_models import SENTENCE
from serve.asking import ask, lines

from limelight.serve import session
from limelight.serve.app import make
from limelight.serve.run import address, listen
from limelight.serve.session import PageSession


@pytest.fixture(scope="session")
def server(tiny: Path, runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server whose first model is the tiny one, and that lists the trainings in `runs`."""
    before, session.RUNS = session.RUNS, runs
    homes = {name: os.environ.get(name) for name in ("LIMELIGHT_HOME", "HF_HUB_CACHE")}
    for name in homes:
        os.environ[name] = str(tmp_path_factory.mktemp("home"))
    sock = listen("127.0.0.1", None)
    app = make(PageSession(str(tiny)))
    running = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [sock]})
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield address(sock, None)
    running.should_exit = True
    thread.join()
    sock.close()
    session.RUNS = before
    for name, value in homes.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def visit(chromium: Any, server: str, tiny: Path) -> Iterator[Callable[..., Any]]:
    """``visit("#text=…", width=…, dark=…, file=…, motion=…, touch=…)``: a page (about `SENTENCE`, if no text is given)
    that may ask nobody but the server, or nobody at all if it is a file, and that must not complain."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def visit(
        behind: str = "",
        width: int = 1280,
        height: int = 800,
        dark: bool = False,
        file: Path | None = None,
        motion: bool = False,
        touch: bool = False,
    ) -> Any:
        if "text=" not in behind:
            behind = f"#{urlencode({'text': SENTENCE})}&{behind.removeprefix('#')}"
        scheme = "dark" if dark else "light"
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            offline=file is not None,
            has_touch=touch,
            reduced_motion="no-preference" if motion else "reduce",
        )
        contexts.append(context)
        if file is None:  # a test before left another model open
            opened = context.request.post(server + "api/open", data={"name": str(tiny)})
            assert "model" in opened.text()
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if foreign(request.url) else None)
        page.goto(file.as_uri() if file else server + behind)
        page.wait_for_selector(".check")
        return page

    def foreign(url: str) -> bool:
        return not url.startswith((server, "data:", "file:", "blob:"))

    yield visit
    for context in contexts:
        for page in context.pages:  # what a test answers in the server's place must not fail in the next one
            page.unroute_all(behavior="ignoreErrors")
        context.close()
    assert complaints == []


@pytest.fixture
def opened(server: str, tiny: Path) -> str:
    """The server, with its model open."""
    assert "model" in lines(ask(server, "/api/open", {"name": str(tiny)}))[-1]
    return server

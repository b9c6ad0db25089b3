"""Where the server ends: how much waits, how much is kept, what an address is called and why there is none."""

import errno
import io
import socket
import threading
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from limelight.errors import RequestError
from limelight.serve import reply, run, session
from limelight.serve.app import application
from limelight.serve.session import PageSession
from limelight.serve.worker import MOST, Worker


def test_a_hundred_wait_and_no_more() -> None:
    worker, go_on = Worker(), threading.Event()
    waiting = [worker.submit(go_on.wait) for _ in range(100)]
    with pytest.raises(RequestError, match="100 requests are waiting for the model; ask again when some are answered"):
        worker.submit(go_on.wait)
    assert len(waiting) == MOST
    worker.abandon(waiting.pop())
    waiting.append(worker.submit(go_on.wait))
    go_on.set()
    assert all(future.result(9) for future in waiting)
    assert worker.end(9)


def test_long_answers_are_kept_in_a_file() -> None:
    for size, kind in ((1 << 20, io.BytesIO), ((1 << 20) + 1, io.BufferedRandom)):
        data = bytes(size)
        with reply._kept(data) as file:
            assert isinstance(file, kind)
            file.seek(0)
            assert file.read() == data


@pytest.mark.parametrize(
    ("bound", "shown"),
    [
        (("127.0.0.1", 80), "http://127.0.0.1:80/"),
        (("0.0.0.0", 80), "http://127.0.0.1:80/"),
        (("::", 80, 0, 0), "http://[::1]:80/"),
        (("fe80::1", 80, 0, 0), "http://[fe80::1]:80/"),
        (("host", 80), "http://host:80/"),
    ],
)
def test_an_address_is_one_that_a_browser_opens(bound: tuple[str, int], shown: str) -> None:
    class Socket:
        def getsockname(self) -> tuple[str, int]:
            return bound

    assert run.address(Socket(), None) == shown  # type: ignore[arg-type]
    assert run.address(Socket(), "a b&ü") == f"{shown}#text=a+b%26%C3%BC"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.EADDRINUSE, "in use"), "another program has that port; choose another --port"),
        (OSError(errno.EACCES, "no"), "that port is the system's; choose another --port, from 1024 on"),
        (OSError(errno.EPERM, "no"), "that port is the system's"),
        (OSError(errno.EADDRNOTAVAIL, "no"), "--host names an address of this machine, such as 127.0.0.1"),
        (socket.gaierror(1, "no"), "--host names an address of this machine"),
        (OSError(errno.ENETDOWN, "The network is down"), "The network is down; choose another --port"),
    ],
)
def test_why_nobody_can_listen_there(error: OSError, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = []

    def bind(self: socket.socket, place: tuple[str, int]) -> None:
        bound.append(place)
        raise error

    monkeypatch.setattr(socket.socket, "bind", bind)
    for port, called in ((80, "80"), (None, "any")):
        with pytest.raises(RequestError, match=f"cannot listen on 'localhost' port {called}: {why}"):
            run.listen("localhost", port)
    assert bound == [("localhost", 80), ("localhost", 0)]


def test_what_can_be_no_name_is_no_address() -> None:
    for host in ("a" * 300, "\0"):
        with pytest.raises(RequestError, match="--host names an address of this machine"):
            run.listen(host, None)
    with run.listen("127.0.0.1", None) as sock, pytest.raises(RequestError, match="another program has that port"):
        run.listen("127.0.0.1", sock.getsockname()[1])


def test_a_page_opens_models_in_the_type_that_was_asked_for(tiny: Path) -> None:
    for dtype, expected in (("bfloat16", torch.bfloat16), (None, torch.float32)):
        page = PageSession(str(tiny), dtype=dtype)
        page.open(str(tiny), lambda *_: None)
        views = page.views("one")
        assert {weight.dtype for weight in views.seen.session.network.parameters()} == {expected}
        assert page.end(9)


@pytest.mark.parametrize(
    ("error", "status", "why"),
    [(RequestError("no such thing"), 400, "no such thing"), (ValueError("x"), 500, "failed")],
)
def test_what_goes_wrong_before_an_answer_begins_is_said_as_well(
    error: Exception, status: int, why: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(_: PageSession) -> None:
        raise error

    monkeypatch.setattr(PageSession, "listed", listed)
    asked = TestClient(application(PageSession(str(tiny))), raise_server_exceptions=False).get("/api/models")
    assert asked.status_code == status
    assert why in asked.json()["error"]


def test_an_end_waits_no_longer_than_it_may(tiny: Path) -> None:
    page, free = PageSession(str(tiny)), threading.Event()
    page.worker.submit(lambda: free.wait(9))  # which looks nowhere whether anybody waits for it
    assert not page.end(0.05)
    assert not free.is_set()
    free.set()
    assert page.end(9)


def test_the_last_texts_are_remembered(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "REMEMBERED", 2)
    page = PageSession(str(tiny))
    page.open(str(tiny), lambda *_: None)
    one, two = page.views("one"), page.views("two")
    assert page.views("one") is one
    assert page.views("one", tokens=True) is not one
    assert page.views("one") is one
    assert page.views("two") is not two  # which was not asked for since
    assert page.end(9)

"""What is handed to the web server and the browser when a server starts, and what becomes of errors on the way."""

import gc
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from limelight.errors import RequestError
from limelight.serve import run
from limelight.serve.api import run as api_run


class Server:
    """What uvicorn was told; `during`: what happens while it runs."""

    last: "Server"

    def __init__(self, config: uvicorn.Config) -> None:
        self.config, self.should_exit, self.sockets = config, False, None
        Server.last = self

    def run(self, sockets: Any) -> None:
        self.sockets = sockets
        self.during()

    def during(self) -> None:
        pass

    @property
    def told(self) -> tuple[Any, ...]:
        return self.config.log_level, self.config.access_log, self.config.timeout_graceful_shutdown


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(uvicorn, "Server", Server)
    yield
    gc.enable()
    gc.unfreeze()


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with run.listen("127.0.0.1", None) as found:
        yield found


class Session:
    """A page's session whose model is open at once, or never for a reason."""

    name = "tiny"

    def __init__(self, error: Exception | None = None, ends: bool = True) -> None:
        self.error, self.ends, self.calls = error, ends, []
        self.worker: Any = self

    def submit(self, work: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        work()
        if self.error is None:
            done.set_result(None)
        else:
            done.set_exception(self.error)
        return done

    def open(self, name: str, tell: Any) -> None:
        assert tell(1, 2, "note") is None
        self.calls.append(("open", name))

    def end(self, seconds: float) -> bool:
        self.calls.append(("end", seconds))
        return self.ends


def test_the_page_is_served_where_the_browser_is_sent(sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(run.webbrowser, "open", sent.append)
    thread: list[Any] = []
    monkeypatch.setattr(
        run.threading,
        "Thread",
        lambda **how: thread.append(how) or SimpleNamespace(start=lambda: how["target"](*how["args"])),
    )
    session: Any = Session()
    run.serve(sock, session, "a b", open_browser=False)
    assert sent == []
    run.serve(sock, session, "a b", open_browser=True)
    assert sent == [f"http://127.0.0.1:{sock.getsockname()[1]}/#text=a+b"]
    assert thread[-1]["daemon"] is True
    assert session.calls == [("open", "tiny"), ("end", 1.0)] * 2
    assert Server.last.sockets == [sock]
    assert Server.last.told == ("critical", False, 0)
    assert not Server.last.should_exit
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_a_page_whose_model_does_not_open_ends_and_says_why(sock: socket.socket) -> None:
    session: Any = Session(RequestError("it is damaged"))
    with pytest.raises(RequestError, match="it is damaged"):
        run.serve(sock, session, None, open_browser=False)
    assert Server.last.should_exit
    assert session.calls[-1] == ("end", 1.0)


def test_an_end_that_was_asked_for_is_not_taken_back_when_the_model_opens(
    sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    session: Any = Session()
    opening: Future[None] = Future()
    monkeypatch.setattr(session, "submit", lambda work: opening)

    def during(self: Server) -> None:
        self.should_exit = True
        opening.set_result(None)

    monkeypatch.setattr(Server, "during", during)
    run.serve(sock, session, None, open_browser=False)
    assert Server.last.should_exit


def test_what_does_not_end_is_ended(sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(run.os, "_exit", codes.append)
    run.serve(sock, Session(ends=False), None, open_browser=False)  # type: ignore[arg-type]
    assert codes == [130]


def test_a_socket_is_where_it_was_asked_for() -> None:
    with run.listen("127.0.0.1", None) as first:
        assert first.getsockname()[0] == "127.0.0.1"
        assert first.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        with socket.create_connection(first.getsockname(), 5):  # who comes early waits
            pass
    with run.listen("::1", None) as second:
        assert second.family == socket.AF_INET6


def test_the_api_is_served_with_all_that_was_asked(sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    app = object()
    monkeypatch.setattr(api_run, "make", lambda shelf, **how: made.append((shelf, how)) or app)
    names: list[Any] = []
    shelf: Any = object()
    asked: dict[str, Any] = {
        "keep": 3,
        "page": True,
        "keys": ("k",),
        "names": frozenset("n"),
        "origins": frozenset("o"),
    }
    before = signal.getsignal(signal.SIGTERM)

    def during(self: Server) -> None:
        handler: Any = signal.getsignal(signal.SIGTERM)
        assert handler is not before
        assert handler(signal.SIGTERM, None) is None

    monkeypatch.setattr(Server, "during", during)
    api_run.serve(sock, shelf, names.append, **asked)
    ((given, how),) = made
    assert given is shelf
    assert {name: how[name] for name in asked} == asked
    how["opened"](SimpleNamespace(names=["a", "b"]))
    assert names == [["a", "b"]]
    assert Server.last.config.app is app
    assert Server.last.told == ("critical", False, 60)
    assert Server.last.sockets == [sock]
    assert signal.getsignal(signal.SIGTERM) is before
    assert sock.fileno() == -1  # closed
    api_run.serve(socket.socket(), shelf, names.append)
    plain = {"keep": 0, "page": False, "keys": (), "names": frozenset(), "origins": frozenset()}
    assert {name: made[1][1][name] for name in plain} == plain


def test_an_api_whose_first_model_does_not_open_says_why(sock: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(shelf: Any, **how: Any) -> None:
        how["failed"](RequestError("it is damaged"))

    def ended(self: Server) -> None:
        raise SystemExit(3)

    monkeypatch.setattr(api_run, "make", make)
    monkeypatch.setattr(Server, "during", ended)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RequestError, match="it is damaged"):
        api_run.serve(sock, lambda: None, lambda _: None)  # type: ignore[arg-type, return-value]
    assert signal.getsignal(signal.SIGTERM) is before
    assert sock.fileno() == -1

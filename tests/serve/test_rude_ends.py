"""A real server whose clients leave, interrupt it, crowd it or read slowly."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from cli.tiny_models import SENTENCE

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")

LONG = "the cat sat on the mat " * 450
"""A text that every method takes far longer over than these tests."""


class Page:
    """A running ``limelight page``."""

    def __init__(self, process: subprocess.Popen[str], place: str) -> None:
        self.process = process
        self.place = place
        self.connections: list[HTTPConnection] = []

    def ask(self, path: str, body: Any) -> HTTPConnection:
        """Sends a request; the answer is left to be read."""
        connection = HTTPConnection(self.place, timeout=60)
        self.connections.append(connection)
        connection.request("POST", f"/api/{path}", json.dumps(body), {"content-type": "application/json"})
        return connection

    def answer(self, path: str, body: Any) -> bytes:
        connection = self.ask(path, body)
        read = connection.getresponse().read()
        connection.close()
        return read

    def busy(self, seconds: float = 0.4) -> float:
        """The share of a core that it takes."""
        before = self._ticks()
        time.sleep(seconds)
        return (self._ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds

    def _ticks(self) -> int:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def status(self, name: str) -> int:
        """A number in /proc: "Threads", or "VmRSS" in kilobytes."""
        found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text(), re.M)
        assert found
        return int(found[1])

    def works(self) -> bool:
        """Whether it has begun to compute."""
        return any(self.busy() > 0.1 for _ in range(40))


@contextmanager
def started(model: Path, home: Path) -> Iterator[Page]:
    environment = {**os.environ, "LIMELIGHT_HOME": str(home), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "limelight", "page", "-m", str(model), "--no-browser"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=home
    ) as process:
        assert process.stdout is not None
        found = re.search(r"http://(127\.0\.0\.1:\d+)/", process.stdout.readline())
        assert found
        page = Page(process, found[1])
        try:
            assert b'"model"' in page.answer("open", {"name": str(model)})
            yield page
        finally:
            for connection in page.connections:
                connection.close()
            process.kill()


@pytest.fixture(scope="module")
def page(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with started(tiny, tmp_path_factory.mktemp("home")) as page:
        yield page


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("importance", {"method": "leave-one-out"}),
        ("importance", {"method": "integrated-gradients"}),
        ("importance", {}),
        ("what_if", {"text": LONG, "asked": "mat", "method": "leave-one-out"}),
        ("save", {"method": "leave-one-out"}),
        ("continue", {"most": 512, "temperature": 1.0}),
    ],
)
def test_nothing_is_computed_for_a_client_that_left(page: Page, path: str, body: dict[str, Any]) -> None:
    connection = page.ask(path, {} | ({} if "text" in body else {"given": LONG}) | body)
    assert page.works()
    connection.close()
    time.sleep(1)
    assert page.busy() < 0.05
    assert b'"words"' in page.answer("words", {"given": SENTENCE})


def test_an_interrupt_ends_what_is_computed_and_the_server(tiny: Path, tmp_path: Path) -> None:
    with started(tiny, tmp_path) as page:
        page.ask("importance", {"given": LONG, "method": "leave-one-out"})
        assert page.works()
        begun = time.monotonic()
        page.process.send_signal(signal.SIGINT)
        _, complaints = page.process.communicate(timeout=30)
        assert time.monotonic() - begun < 5  # a second, and what Python itself takes to end on a busy machine
        assert page.process.returncode == 130
        assert complaints == ""


def test_those_who_wait_take_no_threads_and_go_when_they_like(page: Page) -> None:
    busy = page.ask("importance", {"given": LONG, "method": "leave-one-out"})
    assert page.works()
    before = page.status("Threads")
    waiting = [page.ask(path, {"given": SENTENCE, "word": 3}) for path in ["importance", "next", "lens"] * 25]
    time.sleep(1)
    assert page.status("Threads") <= before + 2
    files = HTTPConnection(page.place, timeout=10)  # whatever needs no model is not held up
    files.request("GET", "/main.js")
    assert files.getresponse().status == 200
    files.close()
    for connection in waiting[1:]:
        connection.close()
    busy.close()
    assert b'"importance"' in waiting[0].getresponse().read()
    waiting[0].close()


def test_too_many_who_wait_are_sent_away_in_a_sentence(page: Page) -> None:
    busy = page.ask("importance", {"given": LONG, "method": "leave-one-out"})
    assert page.works()
    waiting = [page.ask("next", {"given": SENTENCE}) for _ in range(110)]
    answer = waiting[-1].getresponse()
    assert answer.status == 400
    assert "are waiting" in json.loads(answer.read())["error"]
    for connection in [busy, *waiting]:
        connection.close()


def test_slow_readers_hold_no_memory(page: Page) -> None:
    text = "cat " * 1500  # 36 MB for the four heads of a layer
    page.answer("attention", {"given": text, "layer": 0, "head": 0})
    before = page.status("VmRSS")
    readers = []
    for layer in (0, 1, 2) * 3:
        reader = page.ask("attention", {"given": text, "layer": layer}).sock
        assert reader.recv(100).startswith(b"HTTP/1.1 200")
        readers.append(reader)
    assert page.status("VmRSS") - before < 150_000  # the nine hold 324 MB
    received = 0
    while received < 36_000_000:
        received += len(readers[0].recv(1 << 20))
    for reader in readers:
        reader.close()


def test_another_windows_model_is_noticed_when_its_turn_comes(page: Page) -> None:
    answer = json.loads(page.answer("next?model=elsewhere", {"given": SENTENCE}))
    assert "another window has put" in answer["error"]


def test_a_model_that_cannot_be_opened_ends_the_page(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    command = [sys.executable, "-m", "limelight", "page", "-m", str(tmp_path), "--no-browser"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("limelight: ")
    assert len(ended.stderr.splitlines()) <= 3
    assert "Traceback" not in ended.stderr

"""Work in a process of its own: what comes back, and what becomes of one that never ends."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from limelight.errors import RequestError, TextError
from limelight.text import apart as module
from limelight.text.apart import apart


def double(text: str) -> str:
    print("by the way")
    return text * 2


def refuse(text: str) -> str:
    raise RequestError(f"{text} is refused")


def fail() -> None:
    raise ValueError


def fill() -> int:
    return len(bytearray(1 << 30))


def spin() -> None:
    while True:
        pass


def sleep() -> None:
    __import__("time").sleep(60)


def call(function: Callable[..., Any], *arguments: Any, keep: bool = False) -> Any:
    return apart(f"test_apart.{function.__name__}", *arguments, what="the thing", keep=keep)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list["subprocess.Popen[bytes]"]:
    """The processes that are started from here on."""
    found: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            found.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    return found


def test_arguments_and_results_are_what_they_were() -> None:
    assert call(double, "é\ud800\n😀") == "é\ud800\n😀" * 2


def test_a_refusal_comes_through() -> None:
    with pytest.raises(TextError, match="it is refused"):
        call(refuse, "it")
    with pytest.raises(TextError, match="the thing breaks the process"):
        call(fail)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits both time and memory of a process")
def test_time_and_memory_have_limits() -> None:
    with pytest.raises(TextError, match="the thing takes more than 512 MB of memory"):
        call(fill)
    with pytest.raises(TextError, match="the thing takes more than 1 s of computing"):
        call(spin)


def test_what_takes_no_processor_ends_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    with pytest.raises(TextError, match="the thing takes more than 1 s"):
        call(sleep)


def test_a_process_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(TextError, match="none could be started"):
        call(double, "x")


def test_none_is_left_behind(started: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    with pytest.raises(TextError):
        call(sleep)
    assert [process.poll() is not None for process in started] == [True]


def test_many_that_call_at_once_share_one_process(
    started: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SOON", 60.0)
    monkeypatch.setattr(module, "_kept", {})
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda text: call(double, text, keep=True), "abcdefgh")) == [2 * c for c in "abcdefgh"]
    assert len(started) == 1
    monkeypatch.setattr(module, "SOON", 0.0)
    (place,) = module._kept.values()
    with place.taken:  # one that is busy for long isn't waited for, and what was started instead ends
        assert call(double, "x", keep=True) == "xx"
    assert [process.poll() is None for process in started] == [True, False]
    module._end_kept()
    assert started[0].poll() is not None

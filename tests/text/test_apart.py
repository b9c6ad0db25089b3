"""Work in a process of its own: what comes back, and what becomes of one that never ends."""

import subprocess
import sys
from collections.abc import Callable
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


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    return apart(f"test_apart.{function.__name__}", *arguments, what="the thing")


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


def test_none_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Watched)
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    with pytest.raises(TextError):
        call(sleep)
    assert [process.poll() is not None for process in started] == [True]

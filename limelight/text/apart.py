"""Work in a process of its own, which may die: what strangers wrote can ask for any time and all memory.

A chat template is a program, and a tokenizer a chain of rewriting rules. Neither can be stopped from outside once it
allocates or searches inside of one call; a process can.
"""

import atexit
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from limelight.errors import LimelightError, TextError

MEMORY = 1 << 29  # bytes of address space
SECONDS = 1.0  # of the processor's time
PATIENCE = 60.0  # seconds by the clock, where the processor's time cannot be limited
SOON = 0.2  # seconds for which a process that is kept is waited for; to start another takes about as long
_CHILD = "from limelight.text.apart import _main; _main()"


def apart(function: str, *arguments: Any, what: str, keep: bool = False) -> Any:
    """Calls `function`, given as "module.name", in a process of its own, which the system holds to `MEMORY` and
    `SECONDS` where it can.

    arguments and the result: what JSON can write. keep: whether the process waits for the next call, which is then a
    hundred times sooner done; one that was ended is replaced, and one that is busy for long isn't waited for. Raises
    TextError with the words of the function's LimelightError, or beginning with `what` it is if that takes too much.
    """
    called = json.dumps({"function": function, "arguments": arguments}).encode() + b"\n"
    if not keep:
        return _called(called, _Place(), what, keep=False)
    place = _kept.setdefault(os.getpid(), _Place())
    if not place.taken.acquire(timeout=SOON):
        return _called(called, _Place(), what, keep=False)
    try:
        return _called(called, place, what, keep=True)
    finally:
        place.taken.release()


class _Place:
    """Where a process waits for the next call, and a lock of who calls it."""

    def __init__(self) -> None:
        self.taken = threading.Lock()
        self.child: subprocess.Popen[bytes] | None = None


_kept: dict[int, _Place] = {}
"""By the process that calls: what waits for another one, from which it was forked, is not its own."""


def _called(called: bytes, place: _Place, what: str, *, keep: bool) -> Any:
    """What the process of this place answers; it stays there only if it is kept and is well."""
    try:
        child, place.child = place.child, None
        if child is None or child.poll() is not None:
            child = _started()
        with ThreadPoolExecutor(1) as reading:
            answered = reading.submit(_ask, child, called)
            try:
                line = answered.result(PATIENCE)
            except TimeoutError:
                child.kill()
                _end(child)
                raise TextError(f"{what} takes more than {PATIENCE:.0f} s") from None
    except OSError as problem:
        raise TextError(f"{what} is tried in a process of its own, and none could be started: {problem}") from problem
    if keep and line.endswith(b"\n"):
        place.child = child
    else:
        _end(child)
    if child.returncode == -_out_of_time():
        raise TextError(f"{what} takes more than {SECONDS:.0f} s of computing")
    if not line.endswith(b"\n"):
        raise TextError(f"{what} breaks the process that it runs in, or takes more than {MEMORY >> 20} MB")
    answer = json.loads(line)
    if "error" in answer:
        raise TextError(answer["error"] or f"{what} takes more than {MEMORY >> 20} MB of memory")
    return answer["result"]


def _started() -> subprocess.Popen[bytes]:
    paths = {"PYTHONPATH": os.pathsep.join(map(str, sys.path)), "TOKENIZERS_PARALLELISM": "false"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-P", "-c", _CHILD]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=os.environ | paths)


def _ask(child: subprocess.Popen[bytes], called: bytes) -> bytes:
    """What the process answers; no whole line where it ended over that."""
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(called)
        child.stdin.flush()
    return child.stdout.readline()


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    child.stdout.close()
    child.wait()


@atexit.register
def _end_kept() -> None:
    place = _kept.pop(os.getpid(), None)
    if place is not None and place.child is not None:
        _end(place.child)


def _out_of_time() -> int:
    return getattr(signal, "SIGPROF", signal.SIGTERM)


def _main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed goes nowhere
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no limits, macOS none on memory
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin.buffer:
        called = json.loads(line)
        module, _, name = called["function"].rpartition(".")
        function = getattr(importlib.import_module(module), name)
        _limit(SECONDS)
        try:
            answer = {"result": function(*called["arguments"])}
        except LimelightError as error:
            answer = {"error": str(error)}
        except MemoryError:
            answer = {"error": ""}
        text = json.dumps(answer)
        _limit(0)
        answers.write(f"{text}\n")
        answers.flush()


def _limit(seconds: float) -> None:
    """The processor's time from here on, where the system can count it; 0: any."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        signal.setitimer(signal.ITIMER_PROF, seconds)

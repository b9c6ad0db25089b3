"""Work in a process of its own, which may die: what strangers wrote can ask for any time and all memory.

A chat template is a program, and a tokenizer a chain of rewriting rules. Neither can be stopped from outside once it
allocates or searches inside of one call; a process can.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

from limelight.errors import LimelightError, TextError

MEMORY = 1 << 29  # bytes of address space
SECONDS = 1.0  # of the processor's time
PATIENCE = 60.0  # seconds by the clock, where the processor's time cannot be limited
_CHILD = "from limelight.text.apart import _main; _main()"


def apart(function: str, *arguments: Any, what: str) -> Any:
    """Calls `function`, given as "module.name", in a process of its own, which the system holds to `MEMORY` and
    `SECONDS` where it can.

    arguments and the result: what JSON can write. Raises TextError with the words of the function's LimelightError, or
    beginning with `what` it is if that takes too much.
    """
    called = {"function": function, "arguments": arguments}
    paths = {"PYTHONPATH": os.pathsep.join(map(str, sys.path)), "TOKENIZERS_PARALLELISM": "false"}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD],
            input=json.dumps(called).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | paths,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TextError(f"{what} takes more than {PATIENCE:.0f} s") from None
    except OSError as problem:
        raise TextError(f"{what} is tried in a process of its own, and none could be started: {problem}") from problem
    if done.returncode == -_out_of_time():
        raise TextError(f"{what} takes more than {SECONDS:.0f} s of computing")
    if done.returncode:
        raise TextError(f"{what} breaks the process that it runs in, or takes more than {MEMORY >> 20} MB")
    answer = json.loads(done.stdout.rpartition(b"\n")[2])  # whatever else was printed stands before it
    if "error" in answer:
        raise TextError(answer["error"] or f"{what} takes more than {MEMORY >> 20} MB of memory")
    return answer["result"]


def _out_of_time() -> int:
    return getattr(signal, "SIGPROF", signal.SIGTERM)


def _main() -> None:
    called = json.load(sys.stdin.buffer)
    module, _, name = called["function"].rpartition(".")
    function = getattr(importlib.import_module(module), name)
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no limits, macOS none on memory
        import resource

        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        answer = {"result": function(*called["arguments"])}
    except LimelightError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": ""}
    sys.stdout.write(f"\n{json.dumps(answer)}")

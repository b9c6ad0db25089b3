"""Two servers behind a router, as the recipe has it, of which one is killed while many ask."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from api_server import Served
from cli.tiny_models import SENTENCE

from limelight.serve.run import listen

RECIPE = Path(__file__).resolve().parents[3] / "recipes" / "serve"
ROUTERS = {"nginx": ("nginx.conf", ["-p", ".", "-g", "daemon off;", "-c"]), "haproxy": ("haproxy.cfg", ["-f"])}
BODY: dict[str, Any] = {"prompt": SENTENCE, "max_tokens": 4, "temperature": 0}
PATIENCE = 60


def free() -> int:
    """A port that nobody has."""
    with listen("127.0.0.1", None) as sock:
        port: int = sock.getsockname()[1]
        return port


def answers(served: Served) -> bool:
    try:
        return served.ask("/v1/completions", BODY)[0] == 200
    except OSError:
        return False


def started(command: list[str], port: int, folder: Path) -> tuple["subprocess.Popen[bytes]", Served]:
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL), Served(port, None)  # type: ignore[arg-type]


def ready(process: "subprocess.Popen[bytes]", served: Served) -> None:
    begun = time.monotonic()
    while not answers(served):
        assert process.poll() is None, "it has ended"
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.05)


@pytest.fixture
def mortal(tiny: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Served]]:
    """A server in a process of its own."""
    port = free()
    serve = [sys.executable, "-m", "limelight", "serve", "--model", str(tiny), "--port", str(port)]
    process, served = started(serve, port, Path.cwd())
    try:
        ready(process, served)
        yield process, served
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "router",
    [
        pytest.param(
            each, marks=pytest.mark.skipif(shutil.which(each) is None, reason=f"{each} is not on this machine")
        )
        for each in ROUTERS
    ],
)
def test_when_one_of_two_is_killed_the_other_answers(
    router: str, mortal: tuple["subprocess.Popen[bytes]", Served], api: Served, tmp_path: Path
) -> None:
    name, options = ROUTERS[router]
    ports = {"11220": free(), "11221": mortal[1].port, "11222": api.port}
    text = (RECIPE / name).read_text()
    for there, here in ports.items():
        text = text.replace(f"127.0.0.1:{there}", f"127.0.0.1:{here}")
    (tmp_path / name).write_text(text)
    process, served = started([router, *options, name], ports["11220"], tmp_path)
    try:
        ready(process, served)
        expected = served.ask("/v1/completions", BODY)[1]["choices"]

        def ask(number: int) -> Any:
            if number == 20:
                mortal[0].kill()
            status, answer = served.ask("/v1/completions", BODY, {"x-session": f"s{number % 7}"})
            return status, answer.get("choices")

        with ThreadPoolExecutor(4) as clients:
            found = list(clients.map(ask, range(60)))
        lost = [each for each in found if each != (200, expected)]
        assert len(lost) <= 4  # those that were being answered there; nothing else is lost
        assert found[-20:] == [(200, expected)] * 20
    finally:
        process.terminate()
        process.wait()

"""What an installation takes and gives: the build of torch that fits the machine, and one wheel for every Python 3."""

import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def torch_build() -> ModuleType:
    spec = spec_from_file_location("torch_build", ROOT / "scripts/torch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("system", "nvidia", "told", "answers", "index", "said"),
    [
        ("Linux", False, False, True, True, "for the CPU, about 200 MB"),
        ("Linux", False, False, False, False, "up to 4.7 GB .* does not answer"),
        ("Linux", True, False, None, False, "with CUDA for the NVIDIA GPU"),
        ("Linux", False, True, None, False, "the index that pip is set to"),
        ("Darwin", False, False, None, False, "100 to 250 MB"),
        ("Windows", True, False, None, False, "100 to 250 MB"),
    ],
)
def test_the_build_that_fits(
    torch_build: ModuleType, system: str, nvidia: bool, told: bool, answers: bool | None, index: bool, said: str
) -> None:
    asked = []

    def ask() -> bool:
        asked.append(1)
        return bool(answers)

    options, sentence = torch_build.choose(system, nvidia, told, ask)
    assert options == (["--no-deps", "--index-url", "https://download.pytorch.org/whl/cpu"] if index else [])
    assert len(asked) == (answers is not None)  # a request is made only where it matters, and once
    assert re.search(said, sentence)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("", False),
        ("global.extra-index-url='file:///x'\nglobal.find-links='/y'\n:env:.cert='/z'", False),
        ("global.index-url='https://mirror.example/simple'", True),
        (":env:.no-index='1'", True),
    ],
)
def test_an_index_that_pip_is_set_to(torch_build: ModuleType, settings: str, told: bool) -> None:
    assert torch_build.is_told(settings) == told


def test_an_index_that_answers_late_or_not_at_all(torch_build: ModuleType) -> None:
    class Index(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200 if self.path == "/here/" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        assert torch_build.answers(f"{place}/here/")
        assert not torch_build.answers(f"{place}/gone/")
    finally:
        server.shutdown()
        server.server_close()
    assert not torch_build.answers(f"{place}/here/")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert not torch_build.answers(f"http://127.0.0.1:{silent.getsockname()[1]}/", patience=0.2)
        assert time.monotonic() - began < 5


def test_the_makefile_asks_the_script() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", ".venv/installed"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.endswith(" torch"))
    assert "--constraint constraints.txt $(.venv/bin/python scripts/torch_build.py) torch" in line


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    """One that takes no time: it writes its output and nothing in it."""
    path = tmp_path / "c++"
    path.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n: > "$2"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def wheel(folder: Path, compiler: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    environment = os.environ | {"CXX": str(compiler)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.skipif(sys.platform == "win32", reason="the compiler is a shell script")
def test_one_wheel_for_every_python(tmp_path: Path, compiler: Path) -> None:
    made = wheel(tmp_path / "made", compiler)
    _, _, python, abi, platform = made.stem.split("-")
    assert (python, abi) == ("py3", "none")
    assert platform.startswith(("linux_", "macosx_"))
    with zipfile.ZipFile(made) as file:
        names = set(file.namelist())
        about = next(name for name in names if name.endswith("dist-info/METADATA"))
        assert b"Classifier: Typing :: Typed" in file.read(about)
        tags = file.read(about.replace("METADATA", "WHEEL")).decode()
    assert {"limelight/py.typed", "limelight/quant/_native.so", "limelight/web/index.html"} <= names
    assert f"Root-Is-Purelib: false\nTag: py3-none-{platform}\n" in tags
    assert wheel(tmp_path / "pure", tmp_path / "no-compiler").name.endswith("-py3-none-any.whl")


def test_the_library_says_how_threads_wait() -> None:
    program = """
import sys, limelight
assert "torch" not in sys.modules
import torch
"""
    said = {"OMP_DISPLAY_ENV": "verbose", "PYTHONPATH": str(ROOT), "KMP_BLOCKTIME": "7"}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, "-c", program + "import os; print(os.environ['KMP_BLOCKTIME'])"]
    done = subprocess.run(command, env=clean | said, capture_output=True, text=True, check=True)
    assert done.stdout == "7\n"  # what the environment says stays
    if "GOMP_SPINCOUNT" in done.stderr:  # GNU's OpenMP lists what it has read
        assert re.search(r"GOMP_SPINCOUNT\s*=\s*'10000'", done.stderr)
        assert re.search(r"OMP_WAIT_POLICY\s*=\s*'ACTIVE'", done.stderr)

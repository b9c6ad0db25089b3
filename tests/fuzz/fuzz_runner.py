"""Spoils files, has a child process open and run them, and tells what went wrong.

Every file is a function of seed, format and number alone, so that one that fails can be had again.
"""

import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import fuzz_mutate as mutate
import fuzz_text

HERE = Path(__file__).parent
SECONDS = 10  # of computing, for one file
PATIENCE = 60  # seconds by the clock, of which other processes may take most


@dataclass(frozen=True)
class Format:
    """file: the one that is spoilt, in a copy of every model's folder that has it."""

    file: str
    mutate: mutate.Mutate


FORMATS = {
    "config": Format("config.json", mutate.config),
    "safetensors": Format("model.safetensors", mutate.safetensors),
    "torch": Format("pytorch_model.bin", mutate.torch_zip),
    "gguf": Format("model.gguf", mutate.gguf_file),
    "tokenizer": Format("tokenizer.json", fuzz_text.tokenizer),
    "tokenizer-config": Format("tokenizer_config.json", fuzz_text.tokenizer_config),
    "vocab": Format("vocab.json", mutate.text),
    "merges": Format("merges.txt", fuzz_text.merges),
    "gguf-tokens": Format("model.gguf", fuzz_text.gguf_tokenizer),
    "template": Format("chat_template.jinja", fuzz_text.template),
}


class Child:
    """A process for many files; one that died or had to be ended is replaced."""

    def __init__(self, warm: Path, script: Path = HERE / "fuzz_child.py") -> None:
        self._command = [sys.executable, str(script), str(warm)]
        self._process: subprocess.Popen[str] | None = None
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the child)

    def outcome(self, path: Path) -> str:
        """What is wrong with how `path` was treated; empty if nothing."""
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        line = self._line(process, PATIENCE, SECONDS)
        if line is None:
            self._end()
            return f"no answer within {SECONDS} s of computing, or {PATIENCE} s by the clock"
        if not line:
            code = process.wait()
            self._errors.seek(0)
            said = self._errors.read()[-2000:]
            self._end()
            return f"the process died with {code}: {said}"
        return str(json.loads(line))

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._errors.close()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
        self._errors.seek(0)
        self._errors.truncate()

    def _start(self) -> subprocess.Popen[str]:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1]}"},
        )
        if self._line(self._process, 120) != "ready\n":
            raise RuntimeError("the child process did not begin")
        return self._process

    @staticmethod
    def _line(process: subprocess.Popen[str], patience: float, seconds: float = float("inf")) -> str | None:
        """The next line, None if none comes in time. Only one line is ever under way."""
        assert process.stdout is not None
        until, most = time.monotonic() + patience, _computed(process.pid) + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while time.monotonic() < until and _computed(process.pid) < most:
                if selector.select(0.5):
                    return process.stdout.readline()
        return None


def _computed(pid: int) -> float:
    """Seconds that a process and those of its children that ended have computed; 0 where Linux does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def spoilt(models: list[Path], name: str, seed: int, number: int, place: Path) -> Path:
    """One spoilt model in the new folder `place`: its path."""
    format = FORMATS[name]
    random = Random(f"{seed} {name} {number}")
    model = random.choice([folder for folder in models if (folder / format.file).exists()])
    shutil.copytree(model, place)
    (place / format.file).write_bytes(format.mutate(random, (model / format.file).read_bytes()))
    return place


def faults(child: Child, models: list[Path], name: str, seed: int, files: int, kept: Path) -> Iterator[tuple[int, str]]:
    """The number and the fault of every spoilt file that is not treated well; those models are kept in `kept`."""
    for number in range(files):
        path = spoilt(models, name, seed, number, kept / f"{name}-{seed}-{number}")
        fault = child.outcome(path)
        if fault:
            yield number, fault
        else:
            shutil.rmtree(path)

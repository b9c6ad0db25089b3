"""What looking costs: ``python -m benchmarks.looking``.

A user's whole wait is measured: the picture, from a text to what the model says next and which words made it say so;
the check behind it; and the estimate, which a quick method makes of one reading. Beside them stands a plain forward
that ends in the last position's logits. Seconds are medians of runs in turn; memory is the peak of a process of its
own.
"""

import argparse
import ctypes
import gc
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch

import limelight
from benchmarks import report
from benchmarks.engines import default_file
from benchmarks.everyday import by_hand
from benchmarks.report import Row, machine
from limelight.look.importance import METHODS
from limelight.look.inquiry import Inquiry
from limelight.look.question import GivenWord
from limelight.look.text import read, sink_tokens

LENGTHS = {
    "12 words": ("plain", "picture", "check"),
    "128 words": ("plain", "picture", "check"),
    "512 tokens": ("plain", "estimate", "picture"),
}
"""What is timed at each length."""

REMEMBERED = "512 tokens"
"""The length at which memory is measured."""

ESTIMATE = "alti-logit"
"""The method that proposes words of a long text."""

KINDS = ("plain", "estimate", "picture", "check")

TRIED = 20
"""Texts at most of which one is looked for that has words to check."""

RUNS = 5
"""Rounds of all kinds, behind one that does not count."""

ASKED = "the most that was asked for"

SECONDS = {
    ("12 words", "picture"): 0.6,
    ("12 words", "check"): 2.0,
    ("128 words", "picture"): 3.0,
    ("128 words", "check"): 8.0,
}

FORWARDS = {("512 tokens", "estimate"): 2.0, ("512 tokens", "picture"): 20.0}

MEMORY = 1.2
"""Of a plain forward's."""


def measure(path: str | None = None, runs: int = RUNS) -> dict[str, Any]:
    """All lengths: rows beside what was asked for, and seconds and MB as they are."""
    path = path or default_file()
    seconds = {length: _process("seconds", length, path, runs) for length in LENGTHS}
    peaks = {kind: _process(kind, REMEMBERED, path, 1)["MB"] for kind in KINDS}
    rows = [asdict(row) for row in _rows(seconds, peaks)]
    return {"rows": rows, "seconds": seconds, "MB": peaks, "machine": machine()}


def _rows(seconds: dict[str, dict[str, float]], peaks: dict[str, float]) -> Iterator[Row]:
    for length, found in seconds.items():
        for kind in LENGTHS[length][1:]:
            yield _row(f"{length}, {kind}", found[kind], SECONDS.get((length, kind)), "s")
            forwards = found[kind] / found["plain"]
            yield _row(f"{length}, {kind}", forwards, FORWARDS.get((length, kind)), "forwards")
    for kind in KINDS[1:]:
        name = f"{REMEMBERED}, peak memory of the {kind}"
        yield _row(name, peaks[kind] / peaks["plain"], MEMORY, "of a forward's")


def _row(name: str, ours: float, bar: float | None, unit: str) -> Row:
    return Row(name, ours, bar, ASKED if bar else "–", bar / ours if bar else None, unit)


def _process(kind: str, length: str, path: str, runs: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.looking", "--one", kind, length, "--model", path, "--runs", str(runs)]
    found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    return found


# ---- in a process of its own


class Looking:
    """What is timed, on the first text that is `length` long and of which some words are named."""

    def __init__(self, path: str, length: str) -> None:
        model = limelight.open(path)
        assert isinstance(model, limelight.Model)
        self.model = model
        for start in range(TRIED):
            self.text = cut(model, length, start)
            self.seen = model.look(self.text)
            if length == REMEMBERED or self.seen.importance(check=False).named:  # or there is nothing to check
                break

    def plain(self) -> None:
        network = self.seen.session.network
        with torch.inference_mode():
            network.logits(network.read(torch.tensor([self.seen.ids]))[:, -1])

    def estimate(self) -> None:
        seen = self.model.look(self.text).ahead
        *before, asked = (word.tokens for word in seen.words)
        question = GivenWord(tuple(range(asked.start - 1, asked.stop - 1)), seen.ids[asked.start : asked.stop])
        METHODS[ESTIMATE].values(Inquiry(seen.session, question, tuple(before)))

    def picture(self) -> None:
        self.seen = self.model.look(self.text)
        self.seen.importance(check=False)

    def check(self) -> None:
        """The check alone, where the picture has been made before."""
        self.seen.importance()


def cut(model: limelight.Model, length: str, start: int = 0) -> str:
    """Everyday sentences in a row, from one on, as many words or tokens of them."""
    number, unit = length.split()
    sentences = (f"{item.text} {item.answer or 'this'}." for item in islice(by_hand(), start, None))
    words = read(" ".join(sentences), model.tokenizer, sink_tokens(model.tokenizer))
    fits = [i for i, word in enumerate(words.words, 1) if (i if unit == "words" else word.tokens.stop) <= int(number)]
    return words.text[: words.words[fits[-1] - 1].end]


def one(kind: str, length: str, path: str, runs: int) -> dict[str, float]:
    """Seconds of all kinds, or the process's peak memory in MB when it does one of them."""
    looking = Looking(path, length)
    if kind != "seconds":
        _settle()
        getattr(looking, kind)()
        return {"MB": _peak()}
    run: dict[str, Callable[[], None]] = {each: getattr(looking, each) for each in LENGTHS[length]}
    taken: dict[str, list[float]] = {each: [] for each in run}
    for _ in range(runs + 1):
        for each, call in run.items():
            begin = time.perf_counter()
            call()
            taken[each].append(time.perf_counter() - begin)
    return {each: median(seconds[1:]) for each, seconds in taken.items()}


def _settle() -> None:
    """Gives back what opening left, and counts the peak from here; where Linux's files are missing, from the start."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):
        pass


def _peak() -> float:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


table = report.table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--model", help="another file than the default model's")
    parser.add_argument("--runs", type=int, default=RUNS, help="of which the median is told")
    parser.add_argument("--one", nargs=2, metavar=("KIND", "LENGTH"), help="one kind alone, or all kinds' seconds")
    options = parser.parse_args()
    path = options.model or default_file()
    if options.one:
        kind, length = options.one
        print(json.dumps(one(kind, length, path, options.runs)))
        return
    result = measure(path, options.runs)
    print(json.dumps(result, indent=2) if options.json else table(result))


if __name__ == "__main__":
    main()

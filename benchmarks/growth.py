"""How time and memory grow with the text: ``python -m benchmarks.growth [--json]``.

One sequence of 1k to 8k tokens (the default model sees 8,192), and 1 to 32 sequences of 512. Each line is one run in a
process of its own, so that its memory is that of this line alone: it reads all the prompts at once and then writes 32
tokens behind each.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.engines import Limelight, Remote, default_file, prompts
from benchmarks.report import described, machine, markdown

SIZES = (*((tokens, 1) for tokens in (1024, 2048, 4096, 8000)), *((512, rows) for rows in (1, 2, 4, 8, 16, 32)))
"""Tokens of each sequence, and how many sequences."""

WRITTEN = 32


@dataclass(frozen=True)
class Line:
    """tokens: of each prompt. read, write: tokens a second, of all sequences together. cache_mb: what the keys and
    values of all tokens take. peak_mb: of the process, weights and torch included."""

    tokens: int
    sequences: int
    read_s: float
    read: float
    write: float
    cache_mb: float
    peak_mb: float


class Growing:
    """The engine over there: ours, asked for more than a time."""

    def __init__(self) -> None:
        self.ours = Limelight()

    def open(self, path: str) -> None:
        self.ours.open(path)
        self.ours.decode(32, 4, 1)  # the first does not count

    def run(self, tokens: int, rows: int) -> tuple[float, float, int]:
        """Seconds of reading and of writing, and bytes of the cache."""
        from limelight.decode import generate

        model = self.ours.model
        given = prompts(model.tokenizer.encode("The cat sat on the mat because it was tired, and").ids, tokens, rows)
        steps = generate(model.network, given, max_tokens=WRITTEN + 1, draft=None)
        start = time.perf_counter()
        next(steps)
        begin = time.perf_counter()
        made = sum(len(step) for step in steps)
        end = time.perf_counter()
        assert made == WRITTEN * rows
        return begin - start, end - begin, model.network.start(rows, tokens + WRITTEN + 1).nbytes


def engine(name: str) -> Growing:
    """What `Remote` makes in its process."""
    return Growing()


def measure(path: str) -> dict[str, Any]:
    """A line for each of `SIZES`."""
    lines = []
    for tokens, rows in SIZES:
        remote = Remote("limelight", "benchmarks.growth")
        try:
            remote.ask("open", path)
            read, write, cache = remote.ask("run", tokens, rows)
            lines.append(
                Line(tokens, rows, read, tokens * rows / read, WRITTEN * rows / write, cache / 1e6, remote.peak_mb())
            )
        finally:
            remote.close()
    return {"rows": [asdict(line) for line in lines], "machine": machine()}


def table(result: dict[str, Any]) -> str:
    """A result as a table that a person can read."""
    cells = [
        ("tokens", "sequences", "read, s", "read, tokens/s", "written, tokens/s", "keys and values, MB", "peak, MB")
    ]
    for row in result["rows"]:
        figures = (f"{row[key]:,.0f}" for key in ("read", "write", "cache_mb", "peak_mb"))
        cells.append((f"{row['tokens']:,}", str(row["sequences"]), f"{row['read_s']:.2f}", *figures))
    return "\n".join([*markdown(cells, range(7)), "", described(result["machine"])])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--model", help="another GGUF file than the default model's")
    options = parser.parse_args()
    result = measure(options.model or default_file())
    print(json.dumps(result, indent=2) if options.json else table(result))


if __name__ == "__main__":
    main()

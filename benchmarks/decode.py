"""Opening, reading and writing with the default model: ``python -m benchmarks.decode [--json] [--runs N]``.

Beside llama.cpp, with the file as it is and, in all rows, turned into Q4_0, its fast format, beside ik_llama.cpp and
OpenVINO GenAI with that, and beside transformers.
"""

import argparse
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import perplexity
from benchmarks.engines import MissingError, Remote, default_file
from benchmarks.report import Row, beside, machine, table

OURS = "limelight"
EXACT = "transformers float32"
FAST = "transformers bfloat16"
FASTEST = ("llama.cpp Q4_0",)  # of the two, where each run takes long
LLAMA = ("llama.cpp Q4_1", *FASTEST)
IK = "ik_llama.cpp Q4_0"
SINGLE = (IK, "OpenVINO Q4_0")  # one sequence at a time

TOGETHER = ((16, 32), (16, 512), (8, 1024))  # sequences that are written at once, and behind how many tokens
MADE = 48  # tokens that a measurement of writing takes from each sequence
TEXT = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "wikitext2" / "wiki.valid.raw.gz"
READ = 20_000  # its tokens that perplexity is taken over


class Engines:
    """All engines that are installed, with the file opened in each; they take turns within every measurement."""

    def __init__(self, path: str) -> None:
        self.missing: dict[str, str] = {}
        self.here: dict[str, Remote] = {}
        for name in (OURS, *LLAMA, *SINGLE, FAST, EXACT):
            try:
                self.here[name] = Remote(name)
            except MissingError as reason:
                self.missing[name] = str(reason)
            else:
                self.here[name].ask("open", path)

    def seconds(self, runs: int, names: Sequence[str], what: str, *values: object) -> dict[str, float]:
        """The median time of each engine among `names`, after one run that does not count."""
        engines = [self.here[name] for name in names if name in self.here]
        times = [[engine.ask(what, *values) for engine in engines] for _ in range(runs + 1)]
        medians = map(median, zip(*times[1:], strict=True))
        return dict(zip((engine.name for engine in engines), medians, strict=True))

    def absent(self, names: Sequence[str]) -> dict[str, str]:
        """Those among `names` that are missing, and why."""
        return {name: self.missing[name] for name in names if name in self.missing}

    def close(self) -> None:
        for engine in self.here.values():
            engine.close()


def measure(runs: int, path: str) -> dict[str, Any]:
    """All rows; every figure is a median of `runs`. figures: those of every engine, by row."""
    rows: list[Row] = []
    figures: dict[str, dict[str, float]] = {}
    opening = _opening(runs, path)
    engines = Engines(path)

    def add(name: str, unit: str, found: dict[str, float], peers: Sequence[str]) -> None:
        present = {peer: found[peer] for peer in peers if peer in found}
        rows.append(beside(name, unit, found[OURS], present, engines.absent(peers)))
        figures[name] = {OURS: found[OURS], **present}

    def speeds(tokens: int, names: Sequence[str], what: str, *values: object) -> dict[str, float]:
        return {name: tokens / seconds for name, seconds in engines.seconds(runs, names, what, *values).items()}

    try:
        readers, writers = (*LLAMA, *SINGLE, FAST), (*LLAMA, *SINGLE, EXACT)
        read = {n: speeds(n, (OURS, *readers), "prefill", n) for n in (512, 1500)}
        read[4096] = speeds(4096, (OURS, *FASTEST, *SINGLE), "prefill", 4096)
        early = speeds(MADE, (OURS, *writers), "decode", 32, MADE, 1)
        late = speeds(MADE, (OURS, *LLAMA, *SINGLE), "decode", 1024, MADE, 1)
        first = engines.seconds(runs, (OURS, *readers), "prefill", 32)
        texts = _texts(engines.here[OURS])
        real = speeds(MADE * len(texts), (OURS, *FASTEST, IK), "go_on", texts, MADE) if texts else {}
        with busy():
            beside_loop = speeds(MADE, (OURS, *FASTEST, *SINGLE), "decode", 32, MADE, 1)
        peak = engines.here[OURS].peak_mb()
        together = {
            (rows, after): speeds(rows * MADE, (OURS, *FASTEST), "decode", after, MADE, rows)
            for rows, after in TOGETHER
        }
        peak_together = engines.here[OURS].peak_mb()
    finally:
        engines.close()
    for tokens, found in read.items():
        add(f"prefill {tokens:,} tokens", "tokens/s", found, (*FASTEST, *SINGLE) if tokens == 4096 else readers)
    add("decode after 32 tokens", "tokens/s", early, (*LLAMA, *SINGLE))
    add("decode after 1,024 tokens", "tokens/s", late, (*LLAMA, *SINGLE))
    if real:
        add("go on with WikiText, guesses checked", "tokens/s", real, (*FASTEST, IK))
    add("decode after 32 tokens beside a busy loop", "tokens/s", beside_loop, (*FASTEST, *SINGLE))
    for (rows_together, after), found in together.items():
        add(f"{rows_together} sequences after {after:,} tokens", "tokens/s", found, FASTEST)
    add("first token after a prompt of 32", "ms", {name: 1000 * each for name, each in first.items()}, readers)
    add("prefill 512 tokens, transformers", "tokens/s", read[512], (FAST,))
    add("decode after 32 tokens, transformers", "tokens/s", early, (EXACT,))
    add("open the file, transformers", "s", opening, (EXACT,))
    if not TEXT.exists():
        engines.missing["perplexity"] = f"{TEXT.name} is not there"
    loss = perplexity.measure(TEXT if TEXT.exists() else None, READ, path, peer=True)
    return {
        "rows": [asdict(row) for row in rows],
        "figures": figures,
        "open_s": opening[OURS],
        "peak_rss_mb": round(peak, 1),
        "peak_rss_together_mb": round(peak_together, 1),
        **{key: value for key, value in loss.items() if key != "machine"},
        "missing": engines.missing,
        "machine": machine(),
    }


def _texts(ours: Remote) -> list[list[int]]:
    """Beginnings of real text, of 256 tokens; none without the text."""
    if not TEXT.exists():
        return []
    ids = ours.ask("ids", gzip.decompress(TEXT.read_bytes()).decode()[:50_000])
    return [ids[at : at + 256] for at in range(0, 8000, 2000)]


@contextmanager
def busy() -> Iterator[None]:
    """Another program wants a core, for as long as this lasts."""
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def _opening(runs: int, path: str) -> dict[str, float]:
    """Seconds to open the file in a fresh process, imports not counted, for ours and the peer if it is there."""
    seconds: dict[str, list[float]] = {OURS: [], EXACT: []}
    for _ in range(runs):
        for name in list(seconds):
            try:
                engine = Remote(name)
            except MissingError:
                del seconds[name]
                continue
            seconds[name].append(engine.ask("open", path))
            engine.close()
    return {name: median(times) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=5, help="runs of each figure; for figures to be told, 5 or more")
    parser.add_argument("--model", help="another GGUF file than the default model's")
    options = parser.parse_args()
    result = measure(options.runs, options.model or default_file())
    print(json.dumps(result, indent=2) if options.json else table(result))


if __name__ == "__main__":
    main()

"""Opening, reading and writing with the default model: ``python -m benchmarks.decode [--json] [--runs N]``."""

import argparse
import json
from dataclasses import asdict
from statistics import median

from benchmarks.engines import Remote
from benchmarks.report import Row, machine, table

OURS = "limelight"
EXACT = "transformers float32"
FAST = "transformers bfloat16"


def measure(runs: int, path: str) -> dict[str, object]:
    """All rows; engines take turns within each, and every figure is a median of `runs`."""
    rows = [_opening(runs, path)]
    engines = {name: Remote(name) for name in (OURS, EXACT, FAST)}
    try:
        for engine in engines.values():
            engine.ask("open", path)
        rows.append(_speed("prefill 512 tokens", engines[OURS], engines[FAST], runs, 512, "prefill", 512))
        rows.append(_speed("decode after 32 tokens", engines[OURS], engines[EXACT], runs, 48, "decode", 32, 48))
        peak = engines[OURS].peak_mb()
    finally:
        for engine in engines.values():
            engine.close()
    return {
        "rows": [asdict(row) for row in rows],
        "peak_rss_mb": round(peak, 1),
        "open_s": rows[0].ours,
        "machine": machine(),
    }


def _opening(runs: int, path: str) -> Row:
    """Each opening in a fresh process, imports not counted."""
    seconds: dict[str, list[float]] = {OURS: [], EXACT: []}
    for _ in range(runs):
        for name, times in seconds.items():
            engine = Remote(name)
            times.append(engine.ask("open", path))
            engine.close()
    ours, peer = median(seconds[OURS]), median(seconds[EXACT])
    return Row("open the default GGUF", ours, peer, EXACT, peer / ours, "s")


def _speed(name: str, ours: Remote, peer: Remote, runs: int, tokens: int, what: str, *values: int) -> Row:
    """Tokens a second, after one run each that does not count."""
    pair = (ours, peer)
    for engine in pair:
        engine.ask(what, *values)
    times = [[engine.ask(what, *values) for engine in pair] for _ in range(runs)]
    own, other = (tokens / median(column) for column in zip(*times, strict=True))
    return Row(name, own, other, peer.name, own / other, "tokens/s")


def default_file() -> str:
    """The default model's file, fetched if it is not on this machine."""
    from limelight.checkpoints.named import default
    from limelight.checkpoints.source import fetch, resolve

    return str(fetch(resolve(default())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=7, help="runs of each figure, 5 or more")
    parser.add_argument("--model", help="another GGUF file than the default model's")
    options = parser.parse_args()
    result = measure(max(5, options.runs), options.model or default_file())
    print(json.dumps(result, indent=2) if options.json else table(result))


if __name__ == "__main__":
    main()

"""Seconds of training, judging not counted, that the plain loop and each run took to a loss, and where each ended.

python recipes/tinyshakespeare/seconds.py runs/tinyshakespeare nanogpt modern
"""

import json
import re
import sys
from pathlib import Path

GOAL = 1.88
Curve = list[tuple[float, float]]  # seconds of training, validation loss


def plain(log: Path) -> Curve:
    """What plain.py printed."""
    found = re.findall(r"([\d.]+) s  loss ([\d.]+)", log.read_text(encoding="utf-8"))
    return [(float(seconds), float(loss)) for seconds, loss in found]


def run(folder: Path, step_tokens: int) -> Curve:
    """What a run's log tells: each line how fast the steps since the last one were."""
    curve: Curve = []
    seconds, last = 0.0, 0
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "tokens_per_second" in entry:
            seconds += (entry["step"] - last) * step_tokens / entry["tokens_per_second"]
            last = entry["step"]
        if "valid_loss" in entry:
            curve.append((seconds, entry["valid_loss"]))
    return curve


def main(folder: Path, names: list[str]) -> None:
    """Prints a line for each."""
    curves = {"plain": plain(folder / "plain.log")}
    for name in names:
        settings = (folder / name / "settings.toml").read_text(encoding="utf-8")
        tokens = re.search(r"^batch_tokens = (\d+)", settings, re.MULTILINE)
        assert tokens is not None
        curves[name] = run(folder / name, int(tokens[1]))
    for name, curve in curves.items():
        reached = next((seconds for seconds, loss in curve if loss <= GOAL), None)
        first = "never" if reached is None else f"{reached:.1f} s"
        seconds, loss = curve[-1]
        print(f"{name:10} {GOAL} after {first}; {loss:.4f} in the end, after {seconds:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

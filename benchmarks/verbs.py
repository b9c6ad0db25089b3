"""Verbs over many texts: ``python -m benchmarks.verbs FILE [--rows index answers] [--texts N]``.

FILE holds a text a line, and is read again from its beginning, with a number in front, until there are N.

index      a folder of N files is made searchable by `minilm`: the time; then 1,000 of the texts, cut in half, are asked
           the time of an answer, and how many of the ten that a product with all vectors in float32 finds are found
answers    N rows through ``limelight classify --out``, killed at random and begun again until all are answered: whether
           each row is there once, in order; and the most memory, beside that of a tenth of the rows
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch

import limelight
from limelight.checkpoints.open import open_checkpoint
from limelight.checkpoints.save import save_checkpoint
from limelight.models.config import SequenceClassifier
from limelight.tasks.index import Index
from limelight.tasks.training.labelling import with_head
from limelight.train.data import lines

QUERIES, NEAREST = 1000, 10


def many(file: Path, texts: int) -> list[str]:
    """So many texts, all of them different."""
    there = [line for line in lines(file) if line.strip()]
    again = (f"{turn} {line}" if turn else line for turn in count() for line in there)
    return list(islice(again, texts))


class Keeping:
    """An embedder that keeps the vectors that it made."""

    def __init__(self, model: limelight.Embedder) -> None:
        self.model = model
        self.made: list[torch.Tensor] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def embed(self, texts: Sequence[str], prompt: str | None = None) -> torch.Tensor:
        self.made.append(self.model.embed(texts, prompt))
        return self.made[-1]


def index(texts: list[str]) -> dict[str, Any]:
    """The time to make an index and to answer from it, and its recall."""
    with tempfile.TemporaryDirectory() as folder:
        for number, text in enumerate(texts):
            Path(folder, f"{number:07}.txt").write_text(text, encoding="utf-8")
        model = limelight.open("minilm", kind=limelight.Embedder)
        keeping = Keeping(model)
        made = Index(Path(folder), keeping)  # type: ignore[arg-type]
        began = time.perf_counter()
        made.update()
        took = time.perf_counter() - began
        vectors = torch.nn.functional.normalize(torch.cat(keeping.made), dim=-1)
        asked = [text[: max(1, len(text) // 2)] for text in random.Random(0).sample(texts, min(QUERIES, len(texts)))]
        made.search(asked[0])
        times, found = [], 0
        for query in asked:
            began = time.perf_counter()
            answers = made.search(query, NEAREST)
            times.append(1000 * (time.perf_counter() - began))
            scores = vectors @ torch.nn.functional.normalize(model.embed([query]), dim=-1)[0]
            best = scores.topk(min(NEAREST, len(texts))).indices.tolist()
            found += len({int(each.file[:-4]) for each in answers} & set(best))
        made.close()
    return {
        "texts": len(texts),
        "index s": round(took, 1),
        "answer ms, median": round(statistics.median(times), 1),
        "answer ms, 99 %": round(sorted(times)[int(0.99 * len(times))], 1),
        "recall": found / (len(asked) * min(NEAREST, len(texts))),
    }


def answers(texts: list[str]) -> dict[str, Any]:
    """Whether a classification that is killed again and again loses or repeats a row, and what memory it takes."""
    with tempfile.TemporaryDirectory() as folder:
        place, out = Path(folder, "model"), Path(folder, "out.jsonl")
        base = open_checkpoint("minilm", dtype="float32")
        save_checkpoint(with_head(base, SequenceClassifier, ("0", "1"), 0.0, 1), base.tokenizer, place)
        few = Path(folder, "few.txt")
        few.write_text("\n".join(texts[: len(texts) // 10]), encoding="utf-8")
        began = time.perf_counter()
        small = _answered(place, few, Path(folder, "few.jsonl"), lambda: None)
        tenth = time.perf_counter() - began
        file, kills, most = Path(folder, "all.txt"), 0, 0.0
        file.write_text("\n".join(texts), encoding="utf-8")
        draw = random.Random(0)
        while True:
            memory, done = _answered(place, file, out, lambda: tenth * draw.uniform(0.5, 4))
            most = max(most, memory)
            if done:
                break
            kills += 1
        rows = [json.loads(line) for line in out.read_text("utf-8").split("\n")[:-1]]
    right = [(row["row"], row["text"]) for row in rows] == list(enumerate(texts, 1))
    return {"rows": len(texts), "killed": kills, "each once": right, "MB": round(most), "MB, a tenth": round(small[0])}


def _answered(model: Path, file: Path, out: Path, patience: Callable[[], float | None]) -> tuple[float, bool]:
    """Classifies the file until it is done or patience, in seconds, is at its end; the most memory in MB, and whether
    it was done."""
    command = [sys.executable, "-m", "limelight", "classify", "--model", model, "--file", file, "--out", out]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait = patience()
    end = None if wait is None else time.monotonic() + wait
    while end is None or time.monotonic() < end:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            if status:
                raise SystemExit(f"limelight classify ended with {status}")
            return usage.ru_maxrss / 1024, True
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    return os.wait4(process.pid, 0)[2].ru_maxrss / 1024, False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--rows", nargs="*", default=["index", "answers"], choices=["index", "answers"])
    parser.add_argument("--texts", type=int, help="100,000 for the index and 50,000 for the answers")
    given = parser.parse_args()
    if "index" in given.rows:
        print(json.dumps({"index": index(many(given.file, given.texts or 100_000))}), flush=True)
    if "answers" in given.rows:
        print(json.dumps({"answers": answers(many(given.file, given.texts or 50_000))}), flush=True)


if __name__ == "__main__":
    main()

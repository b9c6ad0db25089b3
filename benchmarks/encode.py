"""Encoders beside sentence-transformers and transformers: ``python -m benchmarks.encode FILE [--json] [--runs N]
[--rows …]``.

FILE holds a text a line; the first 1,000 are read. Embedding is by `minilm` beside the same weights in
sentence-transformers, float32 and bfloat16; classifying by a head over the same layers beside transformers' pipeline;
learning to classify beside the Trainer, in the same batches. They take turns, and each figure is the best of `runs`.
Searching is measured over 100,000 vectors drawn at random, whose order no index can know.
"""

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import limelight
from benchmarks.engines import THREADS
from benchmarks.report import Row, beside, machine, table
from limelight.checkpoints.open import open_checkpoint
from limelight.checkpoints.save import save_checkpoint
from limelight.models.config import SequenceClassifier
from limelight.tasks.training.labelling import with_head
from limelight.train.batches import Batch, padded
from limelight.train.heap import kept
from limelight.train.loss import answering
from limelight.train.parallel import World
from limelight.train.settings import Settings, fastest
from limelight.train.trainee import Trainee

TEXTS, VECTORS, WIDTH = 1000, 100_000, 384
TOGETHER = 32  # texts of a batch: what both peers take where nobody says otherwise
STEPS = 6  # of a training, besides the first, which does not count
LABELS = ("0", "1")


def measure(runs: int, file: Path, rows: tuple[str, ...] = ("embed", "classify", "learn", "search")) -> dict[str, Any]:
    """All rows that are asked for."""
    torch.set_num_threads(THREADS)
    texts = [line for line in file.read_text("utf-8").splitlines() if line.strip()][:TEXTS]
    found: list[Row] = []
    missing: dict[str, str] = {}
    said: dict[str, float] = {}
    for name in rows:
        _ROWS[name](runs, texts, found, missing, said)
    return {"rows": [asdict(row) for row in found], "missing": missing, **said, "machine": machine()}


def _embed(runs: int, texts: list[str], rows: list[Row], missing: dict[str, str], said: dict[str, float]) -> None:
    ours = {dtype: limelight.open("minilm", kind=limelight.Embedder, dtype=dtype) for dtype in _ours()}
    calls: dict[str, Callable[[], Any]] = {dtype: (lambda m=model: m.embed(texts)) for dtype, model in ours.items()}  # type: ignore[misc]
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        missing["sentence-transformers"] = str(error)
    else:
        folder = str(_folder(ours["float32"].path))
        for dtype in ("float32", "bfloat16"):
            peer = SentenceTransformer(folder, device="cpu", model_kwargs={"torch_dtype": getattr(torch, dtype)})
            calls[f"sentence-transformers {dtype}"] = lambda p=peer: p.encode(texts, show_progress_bar=False)  # type: ignore[misc]
    speeds = _best(runs, calls, len(texts))
    peers = {name: speed for name, speed in speeds.items() if name not in ours}
    rows += [beside(f"embed, {dtype}", "texts/s", speeds[dtype], peers, missing) for dtype in ours]
    exact = ours["float32"].embed(texts[:200])
    for dtype, model in ours.items():
        said[f"least cosine, {dtype}"] = float(torch.cosine_similarity(model.embed(texts[:200]), exact).min())


def _classify(runs: int, texts: list[str], rows: list[Row], missing: dict[str, str], said: dict[str, float]) -> None:
    from transformers import pipeline

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        base = open_checkpoint("minilm", dtype="float32")
        save_checkpoint(with_head(base, SequenceClassifier, LABELS, 0.0, 1), base.tokenizer, place)
        ours = {dtype: limelight.open(place, kind=limelight.Classifier, dtype=dtype) for dtype in _ours()}
        calls: dict[str, Callable[[], Any]] = {d: (lambda m=model: m.classify(texts)) for d, model in ours.items()}  # type: ignore[misc]
        for dtype in ("float32", "bfloat16"):
            peer = pipeline("text-classification", str(place), dtype=getattr(torch, dtype), device="cpu")
            calls[f"pipeline {dtype}"] = lambda p=peer: p(texts, batch_size=TOGETHER)  # type: ignore[misc]
        speeds = _best(runs, calls, len(texts))
    peers = {name: speed for name, speed in speeds.items() if name not in ours}
    rows += [beside(f"classify, {dtype}", "texts/s", speeds[dtype], peers, {}) for dtype in ours]


def _learn(runs: int, texts: list[str], rows: list[Row], missing: dict[str, str], said: dict[str, float]) -> None:
    base = open_checkpoint("minilm", dtype="float32")
    coded = [[*base.tokenizer.prefix, *ids, *base.tokenizer.suffix] for ids in base.tokenizer.encode_many(texts)]
    coded.sort(key=len)
    batches = []
    for step in range(STEPS + 1):
        part = coded[step * TOGETHER + 200 :][:TOGETHER]
        lengths = torch.tensor([len(ids) for ids in part])
        batches.append(Batch(padded([tuple(i) for i in part], 0), torch.arange(TOGETHER) % 2, None, lengths))
    calls = [("limelight", _steps, fastest("cpu"))]
    absent = {} if find_spec("accelerate") else {"Trainer": "accelerate is not installed"}
    if not absent:
        calls += [("Trainer float32", _trainer, "float32"), ("Trainer bfloat16", _trainer, "bfloat16")]
    missing |= absent
    times: dict[str, list[float]] = {name: [] for name, *_ in calls}
    for _ in range(runs):
        for name, call, precision in calls:
            times[name].append(call(base, batches, precision))
    speeds = {name: STEPS * TOGETHER / min(found) for name, found in times.items()}
    ours = speeds.pop("limelight")
    rows.append(beside(f"learn to classify, {fastest('cpu')}", "texts/s", ours, speeds, absent))


@kept()  # as the loop does
def _steps(base: Any, batches: list[Batch], precision: Any) -> float:
    """Seconds of STEPS of our steps."""
    network = with_head(base, SequenceClassifier, LABELS, 0.1, 1)
    settings = Settings(task="classify", optimizer="adamw", precision=precision, smoothing=0.0)
    trainee = Trainee(network, settings, World(0, 1, torch.device("cpu")), answering)
    began = 0.0
    for step, batch in enumerate(batches, 1):
        if step == 2:
            began = time.perf_counter()
        trainee.step([batch], len(batch.targets), 1e-4, step)
    return time.perf_counter() - began


def _trainer(base: Any, batches: list[Batch], precision: str) -> float:
    """Seconds of STEPS steps of the Trainer, from the end of its first."""
    from transformers import AutoModelForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

    ends: list[float] = []

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    def inputs(batch: Batch) -> dict[str, Any]:
        assert batch.lengths is not None
        mask = (torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]).long()
        return {"input_ids": batch.tokens, "attention_mask": mask, "labels": batch.targets}

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = TrainingArguments(
            folder,
            use_cpu=True,
            bf16=precision == "bfloat16",
            max_steps=len(batches),
            per_device_train_batch_size=1,  # each item is a batch already
            optim="adamw_torch_fused",
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = Trainer(
            AutoModelForSequenceClassification.from_pretrained(str(_folder(base.path))),
            arguments,
            train_dataset=[inputs(batch) for batch in batches],  # type: ignore[arg-type]
            data_collator=lambda items: items[0],
            callbacks=[Watch()],
        )
        trainer.train()
    return ends[-1] - ends[0]


def _search(runs: int, texts: list[str], rows: list[Row], missing: dict[str, str], said: dict[str, float]) -> None:
    from limelight.tasks.index import Index

    with tempfile.TemporaryDirectory() as folder:
        model = limelight.open("minilm", kind=limelight.Embedder)
        (Path(folder) / "a.txt").write_text("a text\n", encoding="utf-8")
        index = Index(Path(folder), model)
        index.update()
        index._vectors = torch.nn.functional.normalize(torch.randn(VECTORS, WIDTH), dim=-1).numpy()
        index._places = [(1, 0)] * VECTORS
        best = min(_seconds(lambda: index.search("when must I pay?")) for _ in range(5 * runs))
        index.close()
    rows.append(Row(f"an answer out of {VECTORS:,} vectors", 1000 * best, None, "", None, "ms"))


def _folder(path: Path) -> Path:
    return path.parent if path.is_file() else path


def _ours() -> tuple[str, ...]:
    return ("float32", "bfloat16", "q8_0") if fastest("cpu") == "bfloat16" else ("float32", "q8_0")


def _best(runs: int, calls: dict[str, Callable[[], Any]], count: int) -> dict[str, float]:
    """Texts a second of each call, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            times[name].append(_seconds(call))
    return {name: count / min(found) for name, found in times.items()}


def _seconds(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


_ROWS = {"embed": _embed, "classify": _classify, "learn": _learn, "search": _search}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", nargs="*", default=list(_ROWS), choices=list(_ROWS))
    given = parser.parse_args()
    result = measure(given.runs, given.file, tuple(given.rows))
    print(json.dumps(result, indent=2) if given.json else table(result))


if __name__ == "__main__":
    main()

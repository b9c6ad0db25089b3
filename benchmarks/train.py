"""Training a translator and a language model, beside transformers' Trainer on the same batches:
``python -m benchmarks.train [--json] [--runs N]``.

Both get the same batches as they are, padding included, the same number of threads, label smoothing and AdamW; the
Trainer computes in float32, as it does by itself, and in bfloat16. Ours is measured as `limelight.train.loop` runs it,
making of batches included; the Trainer from its second step on. They take turns, and each figure is the best of `runs`:
whatever else the machine does only ever makes a run slower.
"""

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks.report import Row, machine, table
from limelight.models import config as c
from limelight.models.build import build
from limelight.models.gpt import gpt
from limelight.models.init import initialise
from limelight.models.transformer2017 import transformer2017
from limelight.train.batches import IGNORE, Batch, Batches, Corpus, Marks, Pairs, Stream
from limelight.train.disk import seal
from limelight.train.heap import kept
from limelight.train.parallel import World
from limelight.train.settings import Settings, fastest
from limelight.train.tokenfile import TokenFile
from limelight.train.trainee import Trainee

VOCAB, TOKENS, CONTEXT = 10_000, 4096, 256
STEPS = 4  # of a run, besides the first, which does not count
MARKS = Marks(start=1, end=2, pad=0)
PEER = "transformers Trainer"
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Task:
    """A model in both libraries, and what it reads."""

    name: str
    config: c.ModelConfig
    corpus: Corpus
    peer: Callable[[], Any]
    smoothing: float

    def batches(self) -> list[Batch]:
        """As many batches as a run takes."""
        order = Batches(self.corpus, TOKENS, seed=1).epoch()
        return [self.corpus.batch(next(order), 0) for _ in range(STEPS + 1)]


def measure(runs: int) -> dict[str, object]:
    """All rows, and what share of this machine's matrix products our steps reach."""
    with tempfile.TemporaryDirectory() as folder:
        tasks = [_translation(Path(folder)), _language()]
        rows: list[Row] = []
        shares: dict[str, float] = {}
        for task in tasks:
            found = _task(task, runs)
            rows += found[0]
            shares |= found[1]
    return {"rows": [asdict(row) for row in rows], **shares, "machine": machine()}


def _task(task: Task, runs: int) -> tuple[list[Row], dict[str, float]]:
    batches = task.batches()
    tokens = sum(int((batch.targets != IGNORE).sum()) for batch in batches[1:])
    best = fastest("cpu")
    precisions: tuple[Precision, ...] = ("float32",) if best == "float32" else ("float32", best)
    ours: dict[Precision, list[float]] = {precision: [] for precision in precisions}
    theirs: dict[Precision, list[float]] = {precision: [] for precision in precisions}
    products: dict[Precision, list[float]] = {precision: [] for precision in precisions}
    for _ in range(runs):
        for precision in precisions:
            ours[precision].append(_ours(task, precision))
            theirs[precision].append(_trainer(task, batches, precision))
            products[precision].append(_products(getattr(torch, precision)))
    rows: list[Row] = []
    shares: dict[str, float] = {}
    work = _work(task.config, batches[1:])
    for precision in precisions:
        speed = tokens / min(ours[precision])
        for other in dict.fromkeys(("float32", precision)):  # the Trainer's own default, and the same as ours
            peer = tokens / min(theirs[other])
            rows.append(Row(f"{task.name}, {precision}", speed, peer, f"{PEER} {other}", speed / peer, "tokens/s"))
        shares[f"share of {precision} products, {task.name}"] = work / min(ours[precision]) / max(products[precision])
    return rows, shares


@kept()  # as the loop does
def _ours(task: Task, precision: Precision) -> float:
    """Seconds of STEPS steps."""
    torch.manual_seed(0)
    network = build(task.config)
    initialise(network)
    settings = Settings(
        task="translate",
        smoothing=task.smoothing,
        precision=precision,
        batch_tokens=TOKENS,
        optimizer="adamw",  # as the Trainer
    )
    trainee = Trainee(network, settings, World(0, 1, torch.device("cpu")))
    began = 0.0
    for step, indices in zip(range(1, STEPS + 2), Batches(task.corpus, TOKENS, seed=1).epoch(), strict=False):
        if step == 2:
            began = time.perf_counter()
        predicted = int(task.corpus.lengths(indices)[1].sum())
        trainee.step([task.corpus.batch(indices, 0)], predicted, 1e-4, step)
    return time.perf_counter() - began


def _trainer(task: Task, batches: list[Batch], precision: Precision) -> float:
    """Seconds of STEPS steps by the peer, from the end of its first."""
    from torch.utils.data import Dataset
    from transformers import Trainer, TrainerCallback, TrainingArguments

    ends: list[float] = []

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    class Ready(Dataset[Any]):
        def __len__(self) -> int:
            return len(batches)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return _inputs(batches[index])

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = TrainingArguments(
            folder,
            use_cpu=True,
            bf16=precision == "bfloat16",
            max_steps=len(batches),
            per_device_train_batch_size=1,  # each item is a batch already
            label_smoothing_factor=task.smoothing,
            optim="adamw_torch_fused",
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            train_sampling_strategy="sequential",
        )
        trainer = Trainer(
            task.peer(), arguments, train_dataset=Ready(), data_collator=lambda items: items[0], callbacks=[Watch()]
        )
        trainer.train()
    return ends[-1] - ends[0]


def _inputs(batch: Batch) -> dict[str, Any]:
    """A batch as transformers' models take it."""
    if batch.source is None or batch.lengths is None:
        # GPT-2 shifts the labels itself and so predicts one token less a row, which makes no difference to its time.
        return {"input_ids": batch.tokens, "labels": batch.tokens}
    real = torch.arange(batch.source.shape[1]) < batch.lengths[:, None]
    return {
        "input_ids": batch.source,
        "attention_mask": real.long(),
        "decoder_input_ids": batch.tokens,
        "labels": batch.targets,
    }


def _translation(folder: Path) -> Task:
    """Marian's shape on pairs as long as captions: 8 to 24 tokens, the target up to 3 longer or shorter."""
    chance = np.random.default_rng(0)
    source = chance.integers(8, 25, 8 * TOKENS // 8)
    lengths = np.stack((source, np.clip(source + chance.integers(-3, 4, len(source)), 5, None)), 1).ravel()
    chance.integers(4, VOCAB, lengths.sum(), dtype=np.uint16).tofile(folder / "tokens.bin")
    np.concatenate(([0], lengths.cumsum())).astype("<i8").tofile(folder / "offsets.bin")
    (folder / "about.json").write_text(json.dumps({"dtype": "<u2", "vocab": VOCAB, "dropped": 0}))
    seal(folder)
    layers, width, heads, hidden, dropout = 4, 256, 4, 1024, 0.1

    def peer() -> Any:
        from transformers import MarianConfig, MarianMTModel

        config = MarianConfig(
            vocab_size=VOCAB,
            d_model=width,
            encoder_layers=layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=hidden,
            decoder_ffn_dim=hidden,
            activation_function="relu",
            dropout=dropout,
            attention_dropout=0.0,
            activation_dropout=0.0,
            scale_embedding=True,
            max_position_embeddings=512,
            pad_token_id=0,
            eos_token_id=2,
            decoder_start_token_id=1,
            use_cache=False,
        )
        return MarianMTModel(config)

    config = transformer2017(
        vocab=VOCAB,
        source_vocab=None,
        context=512,
        layers=layers,
        width=width,
        heads=heads,
        hidden=hidden,
        dropout=dropout,
    )
    return Task("Marian-shaped", config, Pairs(TokenFile(folder), MARKS), peer, 0.1)


def _language() -> Task:
    """GPT-2's shape on running text."""
    layers, width, heads, dropout = 4, 256, 4, 0.1

    def peer() -> Any:
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(
            vocab_size=VOCAB,
            n_positions=CONTEXT,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=0.0,
            bos_token_id=1,
            eos_token_id=2,
            use_cache=False,
        )
        return GPT2LMHeadModel(config)

    config = gpt(vocab=VOCAB, context=CONTEXT, layers=layers, width=width, heads=heads, dropout=dropout)
    text = np.random.default_rng(0).integers(4, VOCAB, (STEPS + 2) * TOKENS, dtype=np.uint16)
    return Task("GPT-2-shaped", config, Stream(text, CONTEXT), peer, 0.0)


def _work(config: c.ModelConfig, batches: list[Batch]) -> float:
    """Floating-point operations in the matrix products of these steps: 6 a weight and token, padding not counted."""
    network = build(config, "meta")

    def weights(part: torch.nn.Module | None) -> int:
        return 0 if part is None else sum(p.numel() for p in part.parameters() if p.dim() == 2)

    target = sum(int((batch.targets != IGNORE).sum()) for batch in batches)
    source = sum(int(batch.lengths.sum()) for batch in batches if batch.lengths is not None)
    encoder = weights(getattr(network, "encoder", None))
    return 6.0 * (encoder * source + (weights(network.decoder) + weights(network.head)) * target)


def _products(dtype: torch.dtype, size: int = 4096) -> float:
    """Operations a second of one square product."""
    a = torch.ones(size, size, dtype=dtype)
    began = time.perf_counter()
    a @ a
    return 2.0 * size**3 / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--runs", type=int, default=5, help="runs of each figure")
    options = parser.parse_args()
    result = measure(max(1, options.runs))
    print(json.dumps(result, indent=2) if options.json else table(result))


if __name__ == "__main__":
    main()

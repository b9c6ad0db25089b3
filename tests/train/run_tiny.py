"""One small run, also as a process of its own that the tests start, kill and compare."""

import multiprocessing
import os
import resource
import signal
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch
from small_models import gpt, translator

from limelight.errors import LimelightError
from limelight.train.loop import Hooks, Result, train
from limelight.train.parallel import world
from limelight.train.prepare import prepare, save_as

PROCESSES = multiprocessing.get_context("forkserver")  # imports torch once, not once a process
PROCESSES.set_forkserver_preload(
    ["torch._dynamo", "torch.distributed.fsdp", "matplotlib.figure", "limelight.train.prepare"]
)


def start(
    folder: Path,
    data: Path,
    options: dict[str, object],
    limit: int | None = None,
    environment: dict[str, str] | None = None,
) -> ForkServerProcess:
    """A run in a process of its own that can write no file of more than `limit` bytes; its refusal goes to a file."""
    process = PROCESSES.Process(target=child, args=(folder, data, options, limit, environment or {}))
    process.start()
    return process


def run(folder: Path, data: Path, options: dict[str, object]) -> Result:
    """Trains on a TSV as the options say; "model" is "gpt" or a preset, made very small."""
    with world() as processes:
        decoder = options.get("model") == "gpt"
        ready = prepare({"task": "translate", "train": [str(data)]} | options, folder, processes, joined=decoder)
        settings, tokenizer = ready.run.settings, ready.tokenizers[1]
        torch.manual_seed(settings.seed)
        network = gpt(tokenizer.vocab) if decoder else translator(settings.model, tokenizer.vocab, settings.dropout)
        return train(network, ready.training, ready.validation, ready.run, processes, Hooks(save_as(tokenizer)))


def child(folder: Path, data: Path, options: dict[str, object], limit: int | None, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        run(folder, data, options)
    except LimelightError as error:
        folder.with_name("refusal").write_text(f"{type(error).__name__}: {error}")
        sys.exit(1)

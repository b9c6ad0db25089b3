"""Tiny models to run the command line on, small trainings, and the command line itself, run in this process."""

import io
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import Result, Run, llama, saved
from tiny_models import trained as trained_tokenizer

from limelight.cli import main
from limelight.tasks.learn import learn

WORDS = {"red": "rot", "dog": "hund", "cat": "katze", "runs": "rennt", "sleeps": "schläft", "here": "hier"}


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """``run("look", …, input=…)``: one command line in this process, 80 columns wide, with a cache of its own."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LIMELIGHT_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def run(*args: object, input: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input)))
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama with a trained tokenizer and a chat template."""
    torch.manual_seed(0)
    tokenizer = trained_tokenizer()
    network = llama(tokenizer.vocab)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, 1.0 if weight.dim() == 1 else 0.0, 0.3)
    return saved(network, tokenizer, tmp_path_factory)


@pytest.fixture(scope="session")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``parrot("x")``: the folder of a model that says the token x for ever."""

    def parrot(token: str) -> Path:
        tokenizer = trained_tokenizer()
        network = llama(tokenizer.vocab, context=100_000)
        for name, weight in network.named_parameters():
            torch.nn.init.constant_(weight, 1.0 if "embed" in name or "norm" in name else 0.0)
        with torch.no_grad():
            network.head.proj.weight[tokenizer.id(token)] = 1.0  # type: ignore[index, union-attr]
        return saved(network, tokenizer, tmp_path_factory)

    return parrot


def pairs(folder: Path, count: int = 200) -> list[Path]:
    """Sentences of WORDS and their translations word for word, in two files."""
    draw = random.Random(0)
    sides: tuple[list[str], list[str]] = ([], [])
    for _ in range(count):
        sentence = draw.choices(list(WORDS), k=draw.randint(2, 5))
        sides[0].append(" ".join(sentence) + "\n")
        sides[1].append(" ".join(WORDS[word] for word in sentence) + "\n")
    files = [folder / "train.en", folder / "train.de"]
    for file, lines in zip(files, sides, strict=True):
        file.write_text("".join(lines), encoding="utf-8")
    return files


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return pairs(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def trained(data: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``trained("gru-attention")``: the run of a model that learnt WORDS, trained once."""
    found: dict[str, Path] = {}

    def trained(model: str) -> Path:
        if model not in found:
            out = tmp_path_factory.mktemp("runs") / model
            steps = 200 if model == "gru-attention" else 30
            options = {"task": "translate", "train": tuple(map(str, data)), "model": model, "tokenizer": "word"}
            options |= {"threads": 1, "batch_tokens": 128, "dropout": 0.0, "average": 1, "lr": 8e-3, "width": 64}
            options["optimizer"] = "adamw"  # by which the recurrent one learns to listen to each word where it stands
            learn(options | {"steps": steps, "every": steps}, out)
            found[model] = out
        return found[model]

    return trained


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "book.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    return path


@pytest.fixture(scope="session")
def written(book: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``written("lstm")``: the run of a language model."""
    found: dict[str, Path] = {}

    def written(model: str) -> Path:
        if model not in found:
            out = tmp_path_factory.mktemp("runs") / model
            options = {"task": "generate", "train": (str(book),), "model": model, "context": 32, "batch_tokens": 256}
            learn(options | {"steps": 10, "every": 10, "threads": 1, "width": 64}, out)
            found[model] = out
        return found[model]

    return written

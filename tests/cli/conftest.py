"""Tiny models to run the command line on, and the command line itself, run in this process."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import Result, Run, llama, saved, trained

from limelight.cli import main


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
    tokenizer = trained()
    network = llama(tokenizer.vocab)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, 1.0 if weight.dim() == 1 else 0.0, 0.3)
    return saved(network, tokenizer, tmp_path_factory)


@pytest.fixture(scope="session")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``parrot("x")``: the folder of a model that says the token x for ever."""

    def parrot(token: str) -> Path:
        tokenizer = trained()
        network = llama(tokenizer.vocab, context=100_000)
        for name, weight in network.named_parameters():
            torch.nn.init.constant_(weight, 1.0 if "embed" in name or "norm" in name else 0.0)
        with torch.no_grad():
            network.head.proj.weight[tokenizer.id(token)] = 1.0  # type: ignore[index, union-attr]
        return saved(network, tokenizer, tmp_path_factory)

    return parrot

"""Commands that ask a server instead of opening a model."""

import io
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from api_server import Serve
from cli.tiny_models import SENTENCE, Result

import limelight
from limelight.cli import main

KEY = "secret"
Ask = Callable[..., Result]


@pytest.fixture(scope="module")
def url(serving: Serve, tiny: Path, embedder: Path) -> str:
    served = serving([str(tiny), str(embedder)], {"keep": 8, "keys": (KEY,)})
    return served.url.removesuffix("/v1")


@pytest.fixture
def ask(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """``ask("complete", …)``: one command line that asks the server."""
    monkeypatch.setenv("LIMELIGHT_API_KEY", KEY)

    def ask(*args: str, server: str = url, input: str = "") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input.encode())))
        with pytest.raises(SystemExit) as ended:
            main([*args, "--server", server])
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, *capsys.readouterr())

    return ask


def test_texts_are_those_of_a_model_that_is_opened(ask: Ask, tiny: Path) -> None:
    model = limelight.open(tiny, kind=limelight.Model)
    options = ("--max-tokens", "9", "--temperature", "0")
    expected = model.complete(SENTENCE, max_tokens=9).text
    done = ask("complete", SENTENCE, *options)
    assert (done.code, done.out) == (0, expected + "\n")
    told = json.loads(ask("complete", SENTENCE, *options, "--json", "--logprobs").out)
    assert (told["text"], told["model"], told["tokens"]) == (expected, "tiny", len(told["logprobs"]))
    said = "".join(model.chat([{"role": "user", "content": "Hello"}], max_tokens=9))
    assert said.strip() in ask("chat", *options, input="Hello\n").out


def test_vectors_are_too(ask: Ask, embedder: Path) -> None:
    expected = limelight.open(embedder, kind=limelight.Embedder).embed(["w10 w11"])[0].tolist()
    done = ask("embed", "w10 w11", "--model", "embedder", "--json")
    assert json.loads(done.out)["vector"] == pytest.approx(expected, abs=1e-6)


def test_an_answer_is_looked_into(ask: Ask) -> None:
    told = json.loads(ask("complete", "The cat sat. It was tired.", "--seed", "1", "--max-tokens", "8", "--json").out)
    found = ask("look", "--request", told["request"], "--word", "1", "--json")
    assert json.loads(found.out)["answer"] == told["text"].strip()
    shown = ask("look", "The cat sat. It was tired.", "--chat", "--seed", "2", "--tokens", "6")
    assert shown.code == 0
    assert "likely without “" in shown.out


def test_what_goes_wrong_is_one_sentence(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, why in (
        (("complete", "a", "--model", "none"), "no model here is called 'none'"),
        (("complete", "a", "--draft", "lookup"), "--draft is the server's to choose"),
        (("look", "--request", "cmpl-1"), "no request 'cmpl-1' is kept"),
        (("look", "a", "--lens"), "--lens is not known to --server"),
        (("look",), "give a text, or --request"),
    ):
        done = ask(*arguments)
        assert done.code in (1, 2)
        assert why in " ".join(done.err.split())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = ask("complete", "a", server=f"http://127.0.0.1:{free.getsockname()[1]}")
    assert "start one with limelight serve" in " ".join(gone.err.split())
    assert "it must be an address" in ask("complete", "a", server="here").err
    monkeypatch.setenv("LIMELIGHT_API_KEY", "wrong")
    assert "key is missing or wrong" in " ".join(ask("complete", "a").err.split())


def test_a_model_that_cannot_be_opened_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "model.gguf"
    damaged.write_bytes(b"GGUF?")
    for model, why in ((damaged, "model.gguf"), (tmp_path / "none.gguf", "there is no file or folder")):
        with pytest.raises(SystemExit) as ended:
            main(["serve", "--model", str(model), "--port", "0"])
        assert ended.value.code == 1
        told = capsys.readouterr()
        assert not told.out
        assert why in told.err
        assert "Traceback" not in told.err

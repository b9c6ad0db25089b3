"""What the page's server refuses, and in what words; names of models that are hard to say."""

import json
import os
import shutil
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import torch
from cli.tiny_models import SENTENCE
from serve.asking import ask, lines

import limelight
from limelight.checkpoints.save import save_checkpoint
from limelight.errors import RequestError
from limelight.serve.reply import sentence


def test_files_carry_a_policy_that_allows_nobody_else(server: str) -> None:
    status, headers, body = ask(server, "/")
    assert status == 200
    assert b"main.js" in body
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    for name, value in {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }.items():
        assert headers[name] == value
    rest = ["style-src 'self'", "img-src 'self'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'"]
    assert policy.split("; ")[2:] == [*rest, "frame-ancestors 'none'"]
    for file, kind in {"": "html", "index.html": "html", "page.css": "css", "main.js": "javascript"}.items():
        assert ask(server, f"/{file}")[1]["content-type"].startswith(f"text/{kind}")
    assert ask(server, "/icon.svg")[1]["content-type"].startswith("image/svg+xml")


@pytest.mark.parametrize("path", ["/none.js", "/..%2fapp.py", "/%2e%2e/serve/app.py", "/docs", "/openapi.json", "/web"])
def test_only_the_pages_own_files_are_served(server: str, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1@evil.example",
        "",
        "localhost.evil.example",
        "[::1",
        "[evil]",
        "\xb2.0.0.1",
        "a" * 5000,
        "localhost/../evil",
    ],
)
def test_a_name_that_others_can_own_is_refused(server: str, host: str) -> None:
    status, _, body = ask(server, "/api/models", headers={"host": host})
    assert status == 421
    assert "models" not in json.loads(body)


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8000", "127.0.0.1:1", "[::1]:80", "192.168.1.7"])
def test_addresses_and_localhost_are_answered(server: str, host: str) -> None:
    assert ask(server, "/api/models", headers={"host": host})[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://[::1", "//", "", "http://a@127.0.0.1"]
)
def test_another_pages_requests_are_refused(server: str, origin: str) -> None:
    assert ask(server, "/api/words", {"given": "x"}, {"origin": origin})[0] == 403


@pytest.mark.parametrize("length", [str(1 << 40), "9" * 18, "1048577"])
def test_a_large_request_is_refused_unread(server: str, length: str) -> None:
    connection = HTTPConnection(urlsplit(server).netloc, timeout=60)
    connection.putrequest("POST", "/api/words")
    connection.putheader("content-length", length)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.read()) == {"error": "a request may have at most 1,048,576 bytes"}
    assert answer.headers["cache-control"] == "no-store"
    connection.close()


def test_the_largest_request_is_read(server: str) -> None:
    body = b'{"given": "x"}'.ljust(1 << 20)
    connection = HTTPConnection(urlsplit(server).netloc, timeout=60)
    connection.request("POST", "/api/guesses", body, {"content-type": "application/json"})
    assert connection.getresponse().status == 400  # for it is no text that is guessed about
    connection.close()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("words", {"given": "x" * 100_001}),
        ("words", {"given": 3}),
        ("words", {}),
        ("words", {"given": "x", "more": 1}),
        ("importance", {"given": "x y", "word": -1}),
        ("continue", {"given": "x", "most": 100_000}),
        ("next", {"given": "x", "temperature": "hot"}),
        ("attention", {"given": "x y", "layer": 99}),
        ("attention", {"given": "x y", "layer": 0, "head": 4}),
        ("linking", {"given": "x y", "source": 0, "target": 7}),
        ("steps", {"given": "x y", "word": 0, "layer": 0, "head": 77}),
        ("words", {"given": "  "}),
        ("words", {"given": "\ud800 x"}),
        ("words", {"given": "x y", "\ud800": 1}),
        ("next", {"given": "x", "temperature": float("nan")}),
        ("importance", {"given": "x y", "method": "\udcff"}),
    ],
)
def test_a_senseless_request_is_answered_in_a_sentence(opened: str, path: str, body: dict[str, Any]) -> None:
    status, _, answer = ask(opened, f"/api/{path}", body)
    error = json.loads(answer.splitlines()[-1])["error"]
    assert status == 400
    assert len(error) > 10
    assert "Traceback" not in error


def test_what_goes_wrong_in_a_stream_is_its_last_line(opened: str) -> None:
    answer = ask(opened, "/api/importance", {"given": SENTENCE, "word": 0})
    assert "is the first word" in lines(answer)[-1]["error"]
    answer = ask(opened, "/api/translation", {"given": SENTENCE, "added": "x"})
    assert "continues texts; open one that translates" in lines(answer)[-1]["error"]


def test_only_listed_models_are_opened(server: str) -> None:
    answer = lines(ask(server, "/api/open", {"name": "/etc/passwd"}))
    assert "no model here is called" in answer[-1]["error"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("importance", {}),
        ("importance", {"method": "gradient-input"}),
        ("next", {}),
        ("continue", {}),
        ("attention", {"layer": 0}),
        ("linking", {"source": 2, "target": 1}),
        ("lens", {"word": 3}),
        ("steps", {"word": 3, "layer": 0, "head": 0}),
        ("what_if", {"asked": "it"}),
        ("save", {}),
    ],
)
def test_a_model_whose_numbers_are_none_is_refused_by_every_answer(
    broken: str, path: str, body: dict[str, Any]
) -> None:
    given = {"text" if path == "what_if" else "given": SENTENCE}
    answer = ask(broken, f"/api/{path}", given | body)
    said = [json.loads(line, parse_constant=pytest.fail) for line in answer[2].splitlines()]  # NaN is no JSON
    assert "numbers" in said[-1]["error"]


@pytest.fixture
def broken(server: str, tiny: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The server with a model open that computes no numbers for "cat"."""
    folder = runs / "broken"
    if not folder.exists():
        model = limelight.open(tiny)
        network = model.network
        with torch.no_grad():
            network.embed.weight[model.tokenizer.encode(SENTENCE).ids[1]] = torch.nan
        save_checkpoint(network, model.tokenizer, folder / "model")
        (folder / "settings.toml").write_text("", "utf-8")
    monkeypatch.setattr("limelight.checkpoints.open._computes", lambda *_: None)  # which not every model fails at
    assert "model" in lines(ask(server, "/api/open", {"name": str(folder)}))[-1]
    yield server
    ask(server, "/api/open", {"name": str(tiny)})


@pytest.mark.parametrize(
    "name", [b"new\nline", b"q?a=1&b#c%41", b'"><script>', "\u202eeert".encode(), b"x" * 250, b"a:b", b" ~"]
)
def test_a_training_in_an_oddly_named_folder_opens(server: str, runs: Path, tiny: Path, name: bytes) -> None:
    folder = runs / os.fsdecode(name)
    shutil.copytree(tiny, folder / "model")
    (folder / "settings.toml").write_text("", "utf-8")
    listed = json.loads(ask(server, "/api/models")[2])
    (shown,) = [model["name"] for model in listed["models"] if model["name"].endswith(name.decode())]
    opened = lines(ask(server, "/api/open", {"name": shown}))[-1]
    found = ask(server, f"/api/words?model={quote(shown)}", {"given": SENTENCE})
    first = lines(ask(server, "/api/open", {"name": str(tiny)}))[-1]
    shutil.rmtree(folder)
    assert opened["model"]["name"] == shown
    assert found[0] == 200
    assert "model" in first


def test_a_folder_whose_name_is_no_text_is_listed_and_refused_in_a_sentence(server: str, runs: Path) -> None:
    folder = runs / os.fsdecode(b"a\xffb")
    folder.mkdir()
    (folder / "settings.toml").write_text("", "utf-8")
    listed = json.loads(ask(server, "/api/models")[2])["models"]
    answer = lines(ask(server, "/api/open", {"name": str(runs / "a\\xffb")}))[-1]
    shutil.rmtree(folder)
    assert str(runs / "a\\xffb") in [model["name"] for model in listed]
    assert len(answer["error"]) > 10
    assert "no model here" not in answer["error"]


def test_a_defect_is_told_from_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    assert sentence(RequestError("no such word")) == "no such word"
    assert "limelight failed" in sentence(ZeroDivisionError("secret"))
    assert "secret" in caplog.text

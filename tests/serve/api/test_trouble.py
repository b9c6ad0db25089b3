"""What is refused, to whom, and what becomes of the others; faults that other servers are known for."""

import asyncio
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from api_server import ROWS, WAITING, Serve, Served
from cli.tiny_models import SENTENCE

from limelight.decode import Engine
from limelight.errors import RequestError
from limelight.serve.api.shelf import Writer

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
HELLO = [{"role": "user", "content": "The cat sat"}]
LONG: dict[str, Any] = {"prompt": SENTENCE, "max_tokens": 3000, "ignore_eos": True, "seed": 1}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (COMPLETIONS, {"prompt": "a", "foo": 1}, "foo"),
        (COMPLETIONS, {"prompt": "a", "temperature": 3}, "temperature"),
        (COMPLETIONS, {"prompt": "a", "temperature": "hot"}, "temperature"),
        (COMPLETIONS, {"prompt": "a", "n": 0}, "n"),
        (COMPLETIONS, {"prompt": "a", "best_of": 4}, "best_of"),
        (COMPLETIONS, {"prompt": "a", "suffix": "b"}, "suffix"),
        (COMPLETIONS, {"prompt": "a", "logit_bias": {"a": 1}}, "logit_bias"),
        (COMPLETIONS, {"prompt": "a", "logit_bias": {"100000": 1}}, "logit_bias"),
        (COMPLETIONS, {"prompt": "a", "stop": ""}, "stop"),
        (COMPLETIONS, {"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options"),
        (COMPLETIONS, {"prompt": ""}, "prompt"),
        (COMPLETIONS, {"prompt": [5, 100_000]}, "prompt"),
        (COMPLETIONS, {"prompt": [5, -1]}, "prompt.1"),
        (COMPLETIONS, {"prompt": [5, 2**31]}, "prompt.1"),
        (COMPLETIONS, {}, "prompt"),
        (COMPLETIONS, {"prompt": "a", "maxTokens": 1}, "maxTokens"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": "a", "text": "b"}]}, "messages.0.text"),
        (CHAT, {"messages": [{"role": "bear", "content": "a"}]}, "messages.0.role"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages[0].content"),
        (CHAT, {"messages": HELLO, "top_logprobs": 2}, "top_logprobs"),
        (CHAT, {"messages": HELLO, "max_tokens": 2, "max_completion_tokens": 2}, "max_tokens"),
        (CHAT, {"messages": HELLO, "modalities": ["text", "audio"]}, "modalities"),
        (CHAT, {"messages": HELLO, "reasoning_effort": "high"}, "reasoning_effort"),
        (CHAT, {"messages": HELLO, "store": True}, "store"),
        (CHAT, {"messages": HELLO, "audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        (CHAT, {"messages": HELLO, "chat_template_kwargs": {"enable_thinking": False}}, "enable_thinking"),
        (CHAT, {"messages": HELLO, "tool_choice": "required"}, "tool_choice"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(api: Served, path: str, body: Any, param: str) -> None:
    status, answer = api.ask(path, body)
    assert status == 400, answer
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["param"] == param
    assert param.partition(".")[0].partition("[")[0] in answer["error"]["message"]


def test_an_image_is_refused_and_not_left_out(api: Served) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
    status, answer = api.ask(CHAT, {"messages": [{"role": "user", "content": [part]}]})
    assert status == 400
    assert answer["error"]["param"].startswith("messages.0.content.0")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"3", b'{"prompt": "\\ud800"}', b"\xff\xfe"])
def test_what_is_no_request_is_a_400(api: Served, body: bytes) -> None:
    status, answer = api.ask(COMPLETIONS, body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"


def test_a_prompt_that_is_too_long_is_told_both_numbers(api: Served) -> None:
    context = api.writer.model.network.context
    for path, body in (
        (COMPLETIONS, {"prompt": [5] * (context + 9)}),
        (CHAT, {"messages": [{"role": "user", "content": "x " * context}]}),
    ):
        status, answer = api.ask(path, body)
        assert status == 400
        assert answer["error"]["code"] == "context_length_exceeded"
        assert f"{context:,}" in answer["error"]["message"]
    whole = api.ask(COMPLETIONS, {"prompt": [5] * context, "max_tokens": 9, "ignore_eos": True})[1]
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["prompt_tokens"] == context


def test_what_is_not_there_is_a_404(api: Served) -> None:
    status, answer = api.ask(COMPLETIONS, {"model": "tinny", "prompt": "a"})
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (404, "model_not_found", "model")
    assert "did you mean 'tiny'" in answer["error"]["message"]
    assert api.ask("/v1/models/none")[0] == api.ask("/v1/nothing")[0] == 404
    assert api.ask("/v1/completions")[0] == 405
    assert api.ask("/v1/models/tiny")[1]["id"] == "tiny"
    assert [each["id"] for each in api.ask("/v1/models")[1]["data"]] == ["tiny"]
    assert [each["name"] for each in api.ask("/api/tags")[1]["models"]] == ["tiny"]


def left(api: Served, body: Any) -> None:
    """Asks for a stream and leaves in the middle of it."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
    text = json.dumps(body).encode()
    connection.request("POST", COMPLETIONS, text, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read(100)
    assert answer.fp is not None
    answer.close()
    connection.close()


def test_a_request_is_given_up_when_nobody_waits_and_its_neighbour_goes_on(api: Served) -> None:
    body = {"prompt": SENTENCE, "max_tokens": 60, "seed": 4}
    alone = api.ask(COMPLETIONS, body)[1]["choices"]
    counts = api.writer.runner.counts
    before, made = counts.cancelled, counts.generated
    found: list[Any] = []
    neighbour = threading.Thread(target=lambda: found.append(api.ask(COMPLETIONS, body)[1]["choices"]))
    neighbour.start()
    left(api, {**LONG, "stream": True})
    neighbour.join()
    api.idle()
    assert found == [alone]
    assert counts.cancelled == before + 1
    assert counts.generated - made < 60 + 1500


def test_a_full_queue_refuses_and_says_when_to_come_back(api: Served) -> None:
    connections = []
    for _ in range(ROWS + WAITING):
        connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
        connection.request("POST", COMPLETIONS, json.dumps(LONG).encode(), {"content-type": "application/json"})
        connections.append(connection)
    begun = time.monotonic()
    while api.writer.runner.open < ROWS + WAITING:
        assert time.monotonic() - begun < 30
        time.sleep(0.005)
    with api.open(COMPLETIONS, LONG) as answer:
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
    health = api.ask("/health")[1]["models"]["tiny"]
    assert health["running"] + health["waiting"] <= ROWS + WAITING
    for connection in connections:  # in the queue, while its prompt is read, or running: all are given up
        connection.close()
    api.idle()
    assert api.ask(COMPLETIONS, {"prompt": "a", "max_tokens": 1})[0] == 200


def test_an_error_belongs_to_the_request_that_caused_it(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bad:
        def mask(self) -> torch.Tensor:
            raise RequestError("this grammar has come to nothing")

        def accept(self, token: int) -> None:
            pass

    monkeypatch.setattr("limelight.serve.api.completions.constraint", lambda writer, shape: Bad if shape else None)
    body = {"prompt": SENTENCE, "max_tokens": 60, "seed": 4}
    found: list[Any] = []
    neighbour = threading.Thread(target=lambda: found.append(api.ask(COMPLETIONS, body)))
    neighbour.start()
    status, answer = api.ask(COMPLETIONS, {**body, "response_format": {"type": "json_object"}})
    neighbour.join()
    assert (status, answer["error"]["message"]) == (400, "this grammar has come to nothing")
    assert found[0][0] == 200
    monkeypatch.undo()
    assert found[0][1]["choices"] == api.ask(COMPLETIONS, body)[1]["choices"]


def test_health_says_whether_the_engine_steps(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers 200 while nothing is computed any more is a fault of others."""
    stuck, go_on = threading.Event(), threading.Event()
    step = Engine.step

    def hang(self: Engine) -> Any:
        stuck.set()
        assert go_on.wait(30)
        return step(self)

    monkeypatch.setattr(Engine, "step", hang)
    monkeypatch.setattr("limelight.serve.runner.STALLED", 0.0)
    asking = threading.Thread(target=lambda: api.ask(COMPLETIONS, {"prompt": "a", "max_tokens": 1}))
    asking.start()
    assert stuck.wait(30)
    status, answer = api.ask("/health")
    go_on.set()
    asking.join()
    monkeypatch.undo()
    assert (status, answer["status"]) == (503, "error")
    assert api.ask("/health")[0] == 200


def test_health_says_whether_what_runs_between_steps_goes_on(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def pieces() -> Generator[None, None, None]:
        yield
        begun.set()
        assert go_on.wait(30)

    runner = api.writer.runner
    assert api.ask(COMPLETIONS, {"prompt": "a", "max_tokens": 1})[0] == 200
    assert runner._loop is not None
    running = asyncio.run_coroutine_threadsafe(runner.aside(pieces), runner._loop)
    assert begun.wait(30)
    fine = api.ask("/health")[0]
    monkeypatch.setattr("limelight.serve.runner.STALLED", 0.0)
    stalled = api.ask("/health")[0]
    go_on.set()
    running.result(30)
    monkeypatch.undo()
    assert (fine, stalled, api.ask("/health")[0]) == (200, 503, 200)


def test_a_defect_of_the_engine_is_a_500_and_the_next_request_is_answered(
    api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Engine) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(Engine, "step", broken)
    status, answer = api.ask(COMPLETIONS, {"prompt": "a", "max_tokens": 1})
    assert (status, answer["error"]["type"]) == (500, "server_error")
    assert "ZeroDivision" not in answer["error"]["message"]
    monkeypatch.undo()
    assert api.ask(COMPLETIONS, {"prompt": "a", "max_tokens": 1})[0] == 200


def test_only_who_has_the_key_and_only_our_own_pages(serving: Serve, api: Served, tiny: Path) -> None:
    body = {"prompt": "a", "max_tokens": 1}
    for headers, status in (({"host": "evil.example"}, 421), ({"origin": "https://evil.example"}, 403)):
        found, answer = api.ask(COMPLETIONS, body, headers)
        assert found == status
        assert "message" in answer["error"]
    closed = serving([str(tiny)], {"keys": ("secret",), "origins": frozenset({"https://good.example"})})
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "secreT"}):
        status, answer = closed.ask(COMPLETIONS, body, headers)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    key = {"authorization": "Bearer secret"}
    assert closed.ask(COMPLETIONS, body, key)[0] == 200
    assert closed.ask("/health")[0] == 200
    assert closed.ask("/v1/models")[0] == 401
    with closed.open("/v1/models", None, {**key, "origin": "https://good.example"}) as answer:
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://good.example"
    assert closed.ask("/v1/models", None, {**key, "origin": "https://evil.example"})[0] == 403
    for origin, status in (("https://good.example", 200), ("https://evil.example", 403)):  # as browsers ask beforehand
        with closed.open(COMPLETIONS, None, {"origin": origin}, "OPTIONS") as answer:
            assert answer.status == status
            allowed = [answer.headers[f"access-control-allow-{what}"] for what in ("origin", "methods", "headers")]
            expected = [origin, "GET, POST", "authorization, content-type"]
            assert allowed == (expected if status == 200 else [None] * 3)


@pytest.mark.parametrize("more", [200_000, 0])
def test_models_are_opened_when_asked_for_and_closed_by_use(
    serving: Serve, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    """more: bytes that an open model takes beside those that its file has."""
    paths = []
    for name in ("a", "b", "c"):
        paths.append(str(tmp_path / name))
        (tmp_path / name).symlink_to(tiny)
    weights = sum(file.stat().st_size for file in tiny.glob("*.safetensors"))
    takes = weights + more
    grown = itertools.count(0, takes if more else 0)  # of a file that stays mapped nothing is seen
    monkeypatch.setattr("limelight.serve.api.shelf.resident", lambda: next(grown))
    memory = 5 * takes + 3_000_000
    both = serving(paths, memory=memory)
    assert both.ask("/v1/models")[1]["data"][0]["id"] == "a"
    texts = []
    for name in ("b", "a", "c", "b"):
        status, answer = both.ask(COMPLETIONS, {"model": name, "prompt": SENTENCE, "max_tokens": 3, "temperature": 0})
        assert (status, answer["model"]) == (200, name)
        texts.append(answer["choices"][0]["text"])
        assert name in [each.name for each in both.shelf.opened]
        assert sum(both.shelf._takes.values()) <= memory
        caches = sum(each.runner._memory for each in both.shelf.opened)
        assert sum(both.shelf._takes.values()) == caches + len(both.shelf.opened) * takes
    assert len(set(texts)) == 1
    assert all(isinstance(each, Writer) for each in both.shelf.opened)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")
def test_told_to_end_it_answers_those_it_has_let_in(tiny: Path) -> None:
    command = [sys.executable, "-m", "limelight", "serve", "--model", str(tiny), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert "curl" in server.stdout.readline()
        api = Served(int(line.partition("127.0.0.1:")[2].partition("/")[0]), None)  # type: ignore[arg-type]
        found: list[Any] = []
        with api.open(COMPLETIONS, {**LONG, "max_tokens": 200, "stream": True}) as answer:
            answer.read(20)
            server.send_signal(signal.SIGTERM)
            found = answer.read().decode().split("\n\n")
        assert server.wait(30) == 0
    assert found[-2] == "data: [DONE]"
    assert json.loads(found[-3].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"

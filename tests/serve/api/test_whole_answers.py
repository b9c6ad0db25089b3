"""Every name and value of every kind of answer, as clients read them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from api_server import Serve, Served
from test_shapes import HELLO, function, shaped

FILE = Path(__file__).with_name("answers.json")
"""What the server answers to each of `ASKED`, without what is never the same."""

CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome"]}, "n": {"enum": [1]}},
    "required": ["city", "n"],
    "additionalProperties": False,
}
TOOL = function("weather", CITY)
FLAT = {"type": "function", **TOOL["function"]}
ALWAYS = {"logit_bias": {"70": 100}, "temperature": 0, "ignore_eos": True}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
WRITTEN = {"prompt": "The cat sat", "max_tokens": 2, "logprobs": 1, "user": "me", **ALWAYS}
SAID = {"messages": HELLO, "max_tokens": 2, "logprobs": True, "top_logprobs": 1, "metadata": {"a": "b"}, **ALWAYS}
CALLED = {"messages": HELLO, "tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False, "temperature": 0}
RESPOND = {"input": "The cat", "instructions": "Be brief.", "temperature": 0, "user": "me", "metadata": {"a": "b"}}
SHAPE = {"type": "json_schema", "name": "it", "schema": CITY, "strict": True}
CHOSEN = {"tools": [FLAT], "tool_choice": {"type": "function", "name": "weather"}, "parallel_tool_calls": False}
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
VARYING = {"cached_tokens", "cache_write_tokens", "rank"}  # by what was asked before, or by the last bits of sums

ASKED: dict[str, tuple[str, Any]] = {
    "completion": ("/v1/completions", {**WRITTEN, "echo": True, "prompt_logprobs": 1}),
    "completion in pieces": ("/v1/completions", {**WRITTEN, **USAGE}),
    "chat": (CHAT, {**SAID, "prompt_logprobs": 0}),
    "chat in pieces": (CHAT, {**SAID, **USAGE}),
    "call": (CHAT, CALLED),
    "call in pieces": (CHAT, {**CALLED, "stream": True}),
    "schema": (CHAT, {"messages": HELLO, "temperature": 0, "response_format": shaped(CITY)}),
    "response": (RESPONSES, {**RESPOND, "text": {"format": SHAPE}, "top_p": 0.5}),
    "response in pieces": (
        RESPONSES,
        {**RESPOND, "text": {"format": {**SHAPE, "schema": {"enum": [1]}}}, "stream": True},
    ),
    "response that calls": (RESPONSES, {**RESPOND, **CHOSEN}),
    "response that calls in pieces": (RESPONSES, {**RESPOND, **CHOSEN, "stream": True}),
    "vectors": ("/v1/embeddings", {"model": "embedder", "input": ["w5", "w6 w7"]}),
    "order": (
        "/rerank",
        {"model": "embedder", "query": "w5", "documents": ["w6 w7 w8", "w5"], "return_documents": True},
    ),
    "scores": ("/score", {"model": "embedder", "text_1": "w5", "text_2": ["w5", "w6"]}),
    "tokens": (
        "/tokenize",
        {"content": "The cat", "add_special": True, "with_pieces": True, "return_token_strs": True},
    ),
    "text": ("/detokenize", {"tokens": [70, 71]}),
    "models": ("/v1/models", None),
    "model": ("/v1/models/embedder", None),
    "tags": ("/api/tags", None),
    "not there": ("/v1/nothing", None),
    "other method": ("/v1/completions", None),
    "no JSON": ("/v1/completions", b"{"),
    "unknown model": (CHAT, {"model": "other", "messages": HELLO}),
    "unknown field": (CHAT, {"messages": HELLO, "foo": 1}),
    "wrong kind": (CHAT, {"messages": [{"role": "user", "content": 5}]}),
    "too long": ("/v1/completions", {"prompt": [70] * 5000}),
    "not supported": ("/v1/embeddings", {"model": "embedder", "input": "w5", "dimensions": 3}),
    "not kept": ("/v1/requests/none", None),
}


@pytest.fixture(scope="module")
def keeping(serving: Serve, tiny: Path, embedder: Path) -> Served:
    return serving([str(tiny), str(embedder)], {"keep": 1})


def told(value: Any) -> Any:
    """An answer without what is never the same: ids, times, and numbers that are not whole."""
    if isinstance(value, dict):
        return {name: "number" if name in VARYING else told(each) for name, each in value.items()}
    if isinstance(value, list):
        found = [told(each) for each in value]
        return found[:1] if found and found[0] == "number" else found
    if isinstance(value, float):
        return value if value == int(value) else "number"
    if isinstance(value, int):
        return "seconds" if value > 1 << 30 else value
    if isinstance(value, str):
        return re.sub(r"[0-9a-f]{24}", "ID", re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "TIME", value))
    return value


def asked(served: Served, path: str, body: Any) -> Any:
    """(status, headers that matter, the answer, be it in pieces)."""
    with served.open(path, body) as answer:
        names = ("content-type", "link", "x-accel-buffering", "allow")
        headers = {name: told(answer.headers[name]) for name in names if answer.headers[name]}
        text = answer.read().decode()
    if not headers["content-type"].startswith("text/event-stream"):
        return [answer.status, headers, told(json.loads(text))]
    pieces = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, _, data = block.rpartition("data: ")
        pieces.append([name, data if data == "[DONE]" else told(json.loads(data))])
    return [answer.status, headers, pieces]


@pytest.mark.parametrize("name", ASKED)
def test_an_answer_has_these_names_and_no_others(keeping: Served, name: str) -> None:
    assert asked(keeping, *ASKED[name]) == json.loads(FILE.read_text("utf-8"))[name]


def test_a_kept_request_has_these_names_and_no_others(keeping: Served) -> None:
    expected = json.loads(FILE.read_text("utf-8"))
    body = {"messages": HELLO, "max_tokens": 2, "seed": 3, "user": "me", "metadata": {"a": "b"}, **ALWAYS}
    id = keeping.ask(CHAT, body)[1]["id"]
    assert told(keeping.ask("/v1/requests")[1]) == {"object": "list", "data": ["chatcmpl-ID"]}
    assert asked(keeping, f"/v1/requests/{id}", None) == expected["kept"]
    assert asked(keeping, f"/v1/requests/{id}/replay", b"") == expected["written again"]


def test_health_and_figures_have_these_names_and_no_others(keeping: Served) -> None:
    assert keeping.ask("/health")[1]["models"]["embedder"] == {"alive": True, "running": 0}
    with keeping.open("/metrics") as answer:
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    kinds = {"gauge": ["running", "waiting", "alive", "cache_bytes"]}
    kinds["counter"] = [f"{name}_total" for name in ("steps", "prompt_tokens", "cached_tokens", "generated_tokens")]
    kinds["counter"] += ["first_token_seconds_sum", "first_token_seconds_count", "cancelled_total", "failed_total"]
    found = re.findall(r"^# TYPE limelight_(\w+) (\w+)$", text, re.M)
    assert found == [(name, kind) for kind, names in kinds.items() for name in names]
    values = dict(re.findall(r'^limelight_(\w+){model="tiny"} (\S+)$', text, re.M))
    assert list(values) == [name for name, _ in found]
    assert values["alive"] == "1"
    assert int(values["cache_bytes"]) == keeping.writer.runner.nbytes

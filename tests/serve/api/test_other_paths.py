"""Vectors, tokens and responses, and what the server tells of itself."""

import base64
import json
import re
import struct
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from api_server import Serve, Served
from cli.tiny_models import SENTENCE
from references import SIZES, write_marked_tokenizer

import limelight
from limelight.serve.api.chat import Chatting
from limelight.serve.api.metrics import FIGURES, metrics
from limelight.serve.api.responses import Respond
from limelight.serve.api.shelf import Shelf

TEXTS = ["w10 w11", "w12", "w10 w11 w13 w14"]


def test_vectors_are_the_models(both: Served, embedder: Path) -> None:
    expected = limelight.open(embedder, kind=limelight.Embedder).embed(TEXTS)
    status, answer = both.ask("/v1/embeddings", {"model": "embedder", "input": TEXTS})
    assert status == 200
    assert [each["index"] for each in answer["data"]] == [0, 1, 2]
    for each, vector in zip(answer["data"], expected, strict=True):
        assert each["embedding"] == pytest.approx(vector.tolist(), abs=1e-6)
    coded = both.ask("/v1/embeddings", {"model": "embedder", "input": TEXTS[0], "encoding_format": "base64"})[1]
    raw = base64.b64decode(coded["data"][0]["embedding"])
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(expected[0].tolist(), abs=1e-6)
    ids = both.ask("/tokenize", {"model": "embedder", "content": TEXTS[0], "add_special": True})[1]["tokens"]
    again = both.ask("/v1/embeddings", {"model": "embedder", "input": ids})[1]
    assert again["data"][0]["embedding"] == pytest.approx(expected[0].tolist(), abs=1e-6)
    assert again["usage"] == {"prompt_tokens": len(ids), "total_tokens": len(ids)}


def test_no_text_is_cut_in_silence(both: Served, embedder: Path) -> None:
    longest = limelight.open(embedder, kind=limelight.Embedder).longest
    for more, status in ((0, 200), (1, 400)):
        assert both.ask("/v1/embeddings", {"model": "embedder", "input": [[5] * (longest + more)]})[0] == status
    status, answer = both.ask("/v1/embeddings", {"model": "embedder", "input": ["w5", "w5 " * 5000]})
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert "input[1]" in answer["error"]["message"]
    for body in ({"input": ""}, {"input": "w5", "dimensions": 3}, {"input": [70_000]}, {"input": []}):
        assert both.ask("/v1/embeddings", {"model": "embedder", **body})[0] == 400
    assert "makes no vectors" in both.ask("/v1/embeddings", {"model": "tiny", "input": "a"})[1]["error"]["message"]
    assert "writes no text" in both.ask("/v1/completions", {"model": "embedder", "prompt": "a"})[1]["error"]["message"]


def test_documents_are_put_in_order(both: Served) -> None:
    body = {"model": "embedder", "query": "w12", "documents": TEXTS, "return_documents": True, "top_n": 2}
    results = both.ask("/rerank", body)[1]["results"]
    assert results[0]["index"] == 1
    assert results[0]["document"]["text"] == "w12"
    assert results[0]["relevance_score"] == pytest.approx(1, abs=1e-5)
    assert results[0]["relevance_score"] >= results[1]["relevance_score"]
    scored = both.ask("/score", {"model": "embedder", "text_1": "w12", "text_2": TEXTS})[1]["data"]
    assert scored[results[1]["index"]]["score"] == pytest.approx(results[1]["relevance_score"], abs=1e-6)
    assert both.ask("/score", {"model": "embedder", "text_1": ["a", "b"], "text_2": TEXTS})[0] == 400


def test_a_cross_encoder_scores_pairs(serving: Serve, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(**SIZES, num_labels=1)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    write_marked_tokenizer(tmp_path)
    expected = limelight.open(tmp_path, kind=limelight.Classifier).score([("w12", text) for text in TEXTS])
    assert len(set(expected)) == len(TEXTS)
    served = serving([str(tmp_path)])
    data = served.ask("/score", {"text_1": "w12", "text_2": TEXTS})[1]["data"]
    assert [each["score"] for each in data] == pytest.approx(expected, abs=1e-6)
    results = served.ask("/rerank", {"query": "w12", "documents": TEXTS})[1]["results"]
    assert [each["relevance_score"] for each in results] == pytest.approx(sorted(expected, reverse=True), abs=1e-6)
    assert expected[results[0]["index"]] == max(expected)
    status, answer = served.ask("/rerank", {"query": "w12", "documents": ["w5", "w5 " * 5000]})
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert "documents[1]" in answer["error"]["message"]
    assert served.ask("/v1/embeddings", {"input": "w12"})[0] == 400


def test_tokens_and_back(api: Served) -> None:
    tokenizer = api.writer.model.tokenizer
    ids = tokenizer.encode(SENTENCE).ids
    for body in ({"content": SENTENCE}, {"prompt": SENTENCE}):
        assert api.ask("/tokenize", body)[1]["tokens"] == ids
    told = api.ask("/tokenize", {"content": SENTENCE, "with_pieces": True})[1]["tokens"]
    assert "".join(each["piece"] for each in told) == SENTENCE
    assert api.ask("/detokenize", {"tokens": ids})[1]["content"] == SENTENCE
    messages = [{"role": "user", "content": "<|im_end|>"}]
    chat = api.ask("/tokenize", {"messages": messages})[1]["tokens"]
    assert chat == tokenizer.encode(tokenizer.chat(messages), special=True).ids
    assert api.ask("/tokenize", {})[0] == api.ask("/detokenize", {"tokens": [10**6]})[0] == 400


def test_a_response_is_what_a_chat_says(api: Served) -> None:
    body = {"input": "The cat sat", "max_output_tokens": 8, "temperature": 0, "instructions": "Be brief."}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The cat sat"}]
    chat = api.ask("/v1/chat/completions", {"messages": messages, "max_tokens": 8, "temperature": 0})[1]
    answer = api.ask("/v1/responses", body)[1]
    text = chat["choices"][0]["message"]["content"]
    (item,) = answer["output"]
    assert item.pop("id").startswith("msg_")
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    assert item == {"type": "message", "role": "assistant", "status": "incomplete", "content": content}
    assert answer["usage"]["output_tokens"] == chat["usage"]["completion_tokens"] == 8
    assert answer["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert answer["usage"]["total_tokens"] == chat["usage"]["total_tokens"]
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert answer["previous_response_id"] is None
    assert "user" not in answer
    assert api.ask("/v1/responses", {**body, "user": "me"})[1]["user"] == "me"
    for wrong in ({"previous_response_id": "resp_1"}, {"store": True}, {"truncation": "auto"}, {"background": True}):
        status, refused = api.ask("/v1/responses", {**body, **wrong})
        assert (status, refused["error"]["param"]) == (400, next(iter(wrong)))


TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}


def test_calls_that_follow_one_another_are_of_one_turn() -> None:
    calls = [{"type": "function_call", "call_id": f"call_{n}", "name": "look", "arguments": "{}"} for n in range(3)]
    told = [{"type": "function_call_output", "call_id": call["call_id"], "output": "warm"} for call in calls]
    body = Respond.model_validate({"input": [{"role": "user", "content": "Look."}, *calls, *told]})
    said, made, *outputs = body.chat.messages
    assert (said.role, made.role) == ("user", "assistant")
    assert [call.id for call in made.tool_calls or ()] == ["call_0", "call_1", "call_2"]
    assert [(each.role, each.tool_call_id) for each in outputs] == [("tool", f"call_{n}") for n in range(3)]


BOTH = [{**TOOL, "name": "hear"}, TOOL]


OF_MESSAGES = (
    *("output_item.added", "content_part.added", "output_text.delta"),
    *("output_text.done", "content_part.done", "output_item.done"),
)
OF_CALLS = (
    *("output_item.added", "function_call_arguments.delta"),
    *("function_call_arguments.done", "output_item.done"),
)
"""What is sent of each, in order; of pieces there may be many."""


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"tools": [TOOL], "tool_choice": "required"},
        {"tools": BOTH, "tool_choice": {"type": "function", "name": "look"}},
    ],
)
def test_pieces_of_a_response_say_where_they_belong(api: Served, more: dict[str, Any]) -> None:
    body = {"input": "The cat sat", "max_output_tokens": 60, "temperature": 0, "stream": True, **more}
    with api.open("/v1/responses", body) as answer:
        blocks = [block.partition("\ndata: ") for block in answer.read().decode().split("\n\n")[:-1]]
    events = [json.loads(data) for _, _, data in blocks]
    assert [name for name, _, _ in blocks] == [f"event: {event['type']}" for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert (kinds[:2], kinds[-1]) == (["created", "in_progress"], events[-1]["response"]["status"])
    output = events[-1]["response"]["output"]
    assert {item["name"] for item in output if item["type"] == "function_call"} == ({"look"} if more else set())
    pieces = [event for event in events if event["type"].endswith(".delta")]
    for item, made in enumerate(output):
        mine = [piece for piece in pieces if piece["output_index"] == item]
        message = made["type"] == "message"
        whole = made["content"][mine[0]["content_index"]]["text"] if message else made["arguments"]
        sent = [kind for kind, event in zip(kinds, events, strict=True) if event.get("output_index") == item]
        assert tuple(dict.fromkeys(sent)) == (OF_MESSAGES if message else OF_CALLS)
        assert "".join(piece["delta"] for piece in mine) == whole
        assert {piece["item_id"] for piece in mine} == {made["id"]}
    assert {piece["output_index"] for piece in pieces} == set(range(len(output)))


def test_text_behind_a_call_is_a_message_of_its_own(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    deltas = [{"content": "Well."}, {"tool_calls": [call]}, {"content": "So "}, {"content": "it is."}]

    async def pieces(self: Chatting) -> AsyncGenerator[tuple[Any, ...], None]:
        async for _ in self.writing.steps():
            pass
        for delta, finish in [*((delta, None) for delta in deltas), ({}, "stop")]:
            yield 0, delta, finish, []

    monkeypatch.setattr(Chatting, "pieces", pieces)
    body = {"input": "The cat sat", "max_output_tokens": 2}
    whole = api.ask("/v1/responses", body)[1]["output"]
    with api.open("/v1/responses", {**body, "stream": True}) as answer:
        events = [json.loads(block.partition("data: ")[2]) for block in answer.read().decode().split("\n\n")[:-1]]
    streamed = events[-1]["response"]["output"]
    for output in (whole, streamed):
        assert [item["type"] for item in output] == ["message", "function_call", "message"]
        assert [item["content"][0]["text"] for item in (output[0], output[2])] == ["Well.", "So it is."]
    added = [event for event in events if event["type"] == "response.output_item.added"]
    assert [(event["output_index"], event["item"]["id"]) for event in added] == [
        (at, item["id"]) for at, item in enumerate(streamed)
    ]


def test_paths_are_there_without_their_version(both: Served) -> None:
    for path, body in (
        ("/completions", {"prompt": "a", "max_tokens": 1}),
        ("/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1}),
        ("/embeddings", {"model": "embedder", "input": "w5"}),
        ("/responses", {"input": "a", "max_output_tokens": 1}),
        ("/models", None),
    ):
        assert both.ask(path, body)[0] == both.ask(f"/v1{path}", body)[0] == 200


def test_figures_have_names_before_a_model_is_open(tiny: Path) -> None:
    lines = metrics(Shelf([str(tiny)])).splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["#", what, f"limelight_{name}"] for name, _, _ in FIGURES for what in ("HELP", "TYPE")
    ]


def test_metrics_are_as_prometheus_reads_them(api: Served) -> None:
    def figures() -> dict[str, float]:
        with api.open("/metrics") as answer:
            text = answer.read().decode()
        assert all(re.fullmatch(r'#.*|\w+\{model="tiny"\} [0-9.e+-]+|', line) for line in text.split("\n"))
        found = {name: float(n) for name, n in re.findall(r'^limelight_(\w+){model="tiny"} (\S+)$', text, re.M)}
        assert dict(re.findall(r"^# TYPE limelight_(\w+) (\w+)$", text, re.M)) == {
            name: "counter" if name.endswith(("_total", "_sum", "_count")) else "gauge" for name in found
        }
        return found

    before = figures()
    body = {"prompt": f"Counted: {SENTENCE}", "max_tokens": 3, "ignore_eos": True}
    usages = [api.ask("/v1/completions", body)[1]["usage"] for _ in range(2)]
    after = figures()
    grown = {name: after[name] - before[name] for name in after}
    assert grown["generated_tokens_total"] == 2 * 3
    assert grown["prompt_tokens_total"] == sum(each["prompt_tokens"] for each in usages)
    cached = sum(each["prompt_tokens_details"]["cached_tokens"] for each in usages)
    assert 0 < grown["cached_tokens_total"] == cached < grown["prompt_tokens_total"]
    assert grown["first_token_seconds_count"] == 2
    assert grown["first_token_seconds_sum"] > 0
    assert grown["steps_total"] >= 2 * 3
    assert grown["cancelled_total"] == grown["failed_total"] == after["running"] == after["waiting"] == 0
    health = api.ask("/health")[1]["models"]["tiny"]
    assert health == {"alive": True, "running": 0, "waiting": 0, "steps": after["steps_total"]}

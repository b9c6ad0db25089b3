"""Answers held against OpenAI's own description of its API, where that is at hand."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
from api_server import Served
from test_shapes import HELLO, PERSON, TOOLS, shaped

FILE = Path(__file__).resolve().parents[4] / "shared" / "data" / "openai_openapi" / "openapi.yaml.xz"

yaml = pytest.importorskip("yaml")
jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def described() -> Any:
    if not FILE.exists() or not hasattr(yaml, "CSafeLoader"):
        pytest.skip("OpenAI's description is not at hand")
    return nullable(yaml.load(lzma.decompress(FILE.read_bytes()), yaml.CSafeLoader)["components"])


def nullable(schema: Any) -> Any:
    """A schema in which what may be null says so as JSON Schema has it; OpenAI mostly does, but not everywhere."""
    if isinstance(schema, list):
        return [nullable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: nullable(value) for name, value in schema.items()}
    return {"anyOf": [found, {"type": "null"}]} if schema.get("nullable") is True else found


def test_answers_are_as_openai_describes_them(described: Any, both: Served) -> None:
    def check(name: str, answer: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": described}
        faults = [fault.message[:200] for fault in jsonschema.Draft202012Validator(schema).iter_errors(answer)]
        assert not faults, name

    chat = {"model": "tiny", "messages": HELLO, "max_tokens": 60, "seed": 1}
    bodies: list[dict[str, Any]] = [
        {"n": 2, "logprobs": True, "top_logprobs": 2},
        {"tools": TOOLS, "tool_choice": "required"},
        {"response_format": shaped(PERSON)},
    ]
    for body in bodies:
        check("CreateChatCompletionResponse", both.ask("/v1/chat/completions", {**chat, **body})[1])
        for chunk in both.events("/v1/chat/completions", {**chat, **body, "stream_options": {"include_usage": True}}):
            chunk = {name: value for name, value in chunk.items() if name != "usage" or value is not None}
            check("CreateChatCompletionStreamResponse", chunk)
    said = {"model": "tiny", "prompt": ["a", "b"], "max_tokens": 4, "logprobs": 2}
    check("CreateCompletionResponse", both.ask("/v1/completions", said)[1])
    vectors = {"model": "embedder", "input": ["w5", "w6"], "encoding_format": "float"}
    check("CreateEmbeddingResponse", both.ask("/v1/embeddings", vectors)[1])
    check("ListModelsResponse", both.ask("/v1/models")[1])
    check("Model", both.ask("/v1/models/tiny")[1])
    check("ErrorResponse", both.ask("/v1/completions", {})[1])
    respond = {"model": "tiny", "input": "Hello", "max_output_tokens": 60, "tools": []}
    check("Response", both.ask("/v1/responses", respond)[1])
    tools = [{"type": "function", **tool["function"]} for tool in TOOLS]
    check("Response", both.ask("/v1/responses", {**respond, "tools": tools, "tool_choice": "required"})[1])
    with both.open("/v1/responses", {**respond, "stream": True}) as answer:
        blocks = answer.read().decode().split("\n\n")[:-1]
    events = [json.loads(block.partition("data: ")[2]) for block in blocks]
    kinds = {"created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"}
    assert kinds < {event["type"].removeprefix("response.") for event in events}
    for event in events:
        words = event["type"].replace("output_text", "text").replace(".", "_").split("_")
        check("".join(word.capitalize() for word in words) + "Event", event)

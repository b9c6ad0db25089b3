"""Requests that schemathesis makes up of what the server takes, and answers held against OpenAI's own types.

These are the types of the openai package, which are made of OpenAI's description and come by pip.
"""

from typing import Any

import pytest
from api_server import Served
from hypothesis import HealthCheck, given, settings
from pydantic import BaseModel, TypeAdapter

from limelight.serve.api import bodies as b
from limelight.serve.api.responses import Respond

types = pytest.importorskip("openai.types")
schemathesis = pytest.importorskip("schemathesis")

PATHS: dict[str, tuple[type[BaseModel], Any]] = {
    "/v1/completions": (b.Complete, types.Completion),
    "/v1/chat/completions": (b.Chat, types.chat.ChatCompletion),
    "/v1/embeddings": (b.Embed, types.CreateEmbeddingResponse),
    "/v1/responses": (Respond, types.responses.Response),
}
TURN: dict[str, Any] = {"type": "object", "required": ["role", "content"], "additionalProperties": False}
TURN["properties"] = {"role": {"enum": ["system", "user", "assistant"]}, "content": {"type": "string"}}
PLAIN = {"type": "array", "minItems": 1, "items": TURN}
FEW = {"type": "integer", "minimum": 1, "maximum": 4}
LENGTHS = {"max_tokens", "max_completion_tokens", "max_output_tokens"}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "object", "required": ["message", "type", "param", "code"]}},
}


def document() -> dict[str, Any]:
    """These paths in OpenAPI; answers are asked to be short, and whole."""
    shared: dict[str, Any] = {}

    def schema(kind: Any) -> dict[str, Any]:
        name = kind.__name__
        found = TypeAdapter(kind).json_schema(ref_template=f"#/components/schemas/{name}.{{model}}")
        shared.update({f"{name}.{part}": each for part, each in found.pop("$defs", {}).items()})
        return found

    def told(schema: dict[str, Any]) -> dict[str, Any]:
        return {"description": "", "content": {"application/json": {"schema": schema}}}

    paths = {}
    for path, (asked, answered) in PATHS.items():
        body = schema(asked)
        lengths = sorted(LENGTHS & body["properties"].keys())
        model = {"const": "embedder" if asked is b.Embed else "tiny"}
        whole = {"stream": {"const": False}, "encoding_format": {"const": "float"}}
        short = {"model": model, **whole, "n": FEW, **dict.fromkeys(lengths, FEW)}
        body["properties"] |= {name: each for name, each in short.items() if name in body["properties"]}
        if asked is b.Chat:  # or few conversations would make sense
            body["properties"]["messages"] = {"anyOf": [PLAIN, body["properties"]["messages"]]}
        body["required"] = [*body.get("required", ()), "model", *lengths[:1]]
        answers = {"200": told(schema(answered)), **{status: told(ERROR) for status in ("400", "404")}}
        paths[path] = {"post": {"requestBody": {"required": True, **told(body)}, "responses": answers}}
    about = {"title": "limelight", "version": "1"}
    return {"openapi": "3.1.0", "info": about, "paths": paths, "components": {"schemas": shared}}


def statuses(operation: Any, port: int) -> set[int]:
    """Of the answers to requests that are made up for an operation; all are as they are described."""
    found = set()

    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    kept = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]

    @settings(max_examples=30, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy())
    def ask(case: Any) -> None:
        answer = case.call(base_url=f"http://127.0.0.1:{port}")
        case.validate_response(answer, checks=[not_a_server_error, *kept])
        found.add(answer.status_code)

    ask()
    return found


def test_whatever_is_asked_is_answered_as_openai_describes(both: Served) -> None:
    operations = [found.ok() for found in schemathesis.openapi.from_dict(document()).get_all_operations()]
    found = {operation.path: statuses(operation, both.port) for operation in operations}
    assert found == {path: {200, 400} for path in PATHS}

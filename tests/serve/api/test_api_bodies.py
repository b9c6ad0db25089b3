"""What may be asked of the API: which values, and what is meant where nothing is said."""

from typing import Any

import pytest
from pydantic import ValidationError

from limelight.decode import Sampling
from limelight.errors import RequestError
from limelight.serve.api import bodies, kept, responses
from limelight.serve.api.errors import ApiError, api_error, unsupported
from limelight.serve.runner import BusyError

NEEDED: dict[str, dict[str, Any]] = {
    "Chat": {"messages": [{"role": "user", "content": "a"}]},
    "Complete": {"prompt": "a"},
    "Embed": {"input": "a"},
    "Rerank": {"query": "a", "documents": ["b"]},
    "Score": {"text_1": "a", "text_2": "b"},
    "Tokenize": {},
    "Detokenize": {"tokens": [1]},
    "Drawing": {},
    "Function": {"name": "f"},
    "JsonSchema": {},
    "Message": {"role": "user"},
    "Called": {"name": "f", "arguments": "{}"},
}
NUMBERS = [
    *(("Drawing", name, 0, 1) for name in ("top_p", "min_p")),
    *(("Drawing", name, -2, 2) for name in ("frequency_penalty", "presence_penalty")),
    *(("Chat", name, 0, 20) for name in ("top_logprobs", "prompt_logprobs")),
    *(("Chat", name, 1, None) for name in ("max_tokens", "max_completion_tokens")),
    ("Drawing", "temperature", 0, 2),
    ("Drawing", "top_k", -1, None),
    ("Drawing", "repetition_penalty", 1e-9, 100),
    ("Drawing", "seed", -(2**63), 2**63 - 1),
    ("Drawing", "n", 1, 128),
    ("Complete", "max_tokens", 0, None),
    ("Complete", "logprobs", 0, 20),
    ("Complete", "best_of", 0, 20),
    ("Embed", "dimensions", 1, None),
    ("Rerank", "top_n", 1, None),
]
SIZES = [  # of lists: at least and at most
    ("Complete", "prompt", ["a"], 1, None),
    ("Complete", "prompt", [1], 1, None),
    ("Complete", "prompt", [[1]], 1, None),
    ("Embed", "input", ["a"], 1, 2048),
    ("Embed", "input", [[1]], 1, 2048),
    ("Embed", "input", [1], 1, None),
    ("Rerank", "documents", ["a"], 1, 2048),
    ("Score", "text_1", ["a"], 1, 2048),
    ("Score", "text_2", ["a"], 1, 2048),
    ("Drawing", "stop", ["a"], 0, 16),
    ("Chat", "messages", [{"role": "user"}], 1, None),
    ("Chat", "modalities", ["text"], 1, 1),
    ("Message", "content", [{"type": "text", "text": "a"}], 1, None),
    ("Message", "annotations", [1], 0, 0),
    ("Tokenize", "messages", [{"role": "user"}], 1, None),
]
TEXTS = [
    ("Chat", "model", 0, 1000),
    ("Chat", "user", 0, 1000),
    ("Chat", "reasoning_effort", 0, 1000),
    ("Message", "name", 0, 1000),
    ("Called", "name", 0, 1000),
    ("Function", "name", 1, 64),
    ("JsonSchema", "name", 1, 64),
]


def said(kind: str, **fields: Any) -> Any:
    return getattr(bodies, kind).model_validate({**NEEDED[kind], **fields})


def refused(kind: str, **fields: Any) -> None:
    with pytest.raises(ValidationError):
        said(kind, **fields)


@pytest.mark.parametrize(("kind", "field", "least", "most"), NUMBERS)
def test_numbers_reach_from_the_least_to_the_most(kind: str, field: str, least: float, most: float | None) -> None:
    for allowed in (least, most or 1_000_000):
        assert getattr(said(kind, **{field: allowed}), field) == allowed
    for beyond in (least - 1, "much", *([] if most is None else [most + 1])):
        refused(kind, **{field: beyond})


@pytest.mark.parametrize(("kind", "field", "one", "least", "most"), SIZES)
def test_lists_are_so_long(kind: str, field: str, one: list[Any], least: int, most: int | None) -> None:
    for allowed in (least, 3000 if most is None else most):
        said(kind, **{field: one * allowed})
    for beyond in ([least - 1] if least else []) + ([] if most is None else [most + 1]):
        refused(kind, **{field: one * beyond})


@pytest.mark.parametrize(("kind", "field", "least", "most"), TEXTS)
def test_names_are_so_long(kind: str, field: str, least: int, most: int) -> None:
    for allowed in (least, most):
        said(kind, **{field: "x" * allowed})
    for beyond in ([least - 1] if least else []) + [most + 1]:
        refused(kind, **{field: "x" * beyond})


def test_long_texts_and_odd_names_are_refused() -> None:
    assert bodies.LONGEST == 10_000_000
    refused("Complete", prompt="x" * (bodies.LONGEST + 1))
    for kind, odd in (("Function", "a b"), ("Function", "a\n"), ("JsonSchema", "a.b"), ("JsonSchema", "a b")):
        refused(kind, name=odd)
    assert said("Function", name="a.b-C_9").name == "a.b-C_9"
    assert said("JsonSchema", name="b-C_9").name == "b-C_9"
    for bias in ({"1": 100}, {"1": -100}):
        assert said("Drawing", logit_bias=bias).logit_bias == bias
    for wrong in (-1, 2**31, "1", 1.0, True):
        refused("Detokenize", tokens=[wrong])
        refused("Drawing", stop_token_ids=[wrong])
    assert said("Detokenize", tokens=[0, 2**31 - 1]).tokens == [0, 2**31 - 1]
    for bias in ({"1": 101}, {"1": -101}):
        refused("Drawing", logit_bias=bias)


@pytest.mark.parametrize(
    ("kind", "field", "allowed"),
    [
        ("Message", "role", ["system", "developer", "user", "assistant", "tool"]),
        ("Chat", "tool_choice", ["none", "auto", "required"]),
        ("Chat", "service_tier", ["auto", "default"]),
        ("Chat", "store", [False]),
        ("Embed", "encoding_format", ["float", "base64"]),
    ],
)
def test_names_that_are_honoured(kind: str, field: str, allowed: list[Any]) -> None:
    for each in allowed:
        assert getattr(said(kind, **{field: each}), field) == each
        refused(kind, **{field: "any" if each is False else str(each).upper()})
    for nothing in ("audio", "function_call"):
        refused("Message", **{nothing: {}})
    refused("Complete", suffix="a")


def test_what_nobody_says_is_none() -> None:
    named = {("Schema", "name"): "answer", ("ToolCall", "type"): "function", ("Item", "type"): "message"}
    kinds = [value for module in (bodies, responses) for value in vars(module).values() if isinstance(value, type)]
    found = [each for each in dict.fromkeys(kinds) if issubclass(each, bodies.Body)]
    assert len(found) > 30
    for kind in found:
        for name, field in kind.model_fields.items():
            if not field.is_required():
                assert field.default == named.get((kind.__name__.removeprefix("Json"), name)), (kind, name)
    assert kept.Look().model_dump() == {"choice": 0, "word": None, "sentence": None, "by": "word", "check": True}


def test_a_request_is_drawn_as_it_says() -> None:
    assert said("Drawing").sampling == Sampling(temperature=1.0)
    assert said("Drawing", temperature=0).sampling == Sampling(temperature=0.0)
    assert said("Drawing", temperature=1e-9, top_p=0).sampling == Sampling(temperature=1e-5, top_p=1e-9)
    every = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1}
    penalties = {"repetition_penalty": 1.2, "frequency_penalty": 0.3, "presence_penalty": -0.4}
    assert said("Drawing", **every, **penalties).sampling == Sampling(
        **every, repetition=1.2, frequency=0.3, presence=-0.4
    )
    assert [said("Drawing", top_k=k).sampling.top_k for k in (-1, 0, 1)] == [None, None, 1]
    assert [said("Drawing", stop=stop).stops for stop in (None, "a", ["a", "b"])] == [[], ["a"], ["a", "b"]]


def test_only_a_stream_ends_with_what_it_took() -> None:
    for options, usage in (({"include_usage": True}, True), ({"include_usage": False}, False), ({}, False)):
        assert said("Drawing", stream=True, stream_options=options).usage is usage
        with pytest.raises(ApiError, match="stream_options says how an answer is streamed"):
            _ = said("Drawing", stream_options=options).usage
    assert said("Drawing", stream=True).usage is said("Drawing").usage is False


def test_a_response_is_asked_for_as_a_chat() -> None:
    function = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": True}
    asked = {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}]},
            {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "warm"},
        ],
        "tools": [{"type": "function", **function}],
        "tool_choice": {"type": "function", "name": "look"},
        "text": {"format": {"type": "json_schema", "name": "it", "schema": {"enum": [1]}, "strict": True}},
        "max_output_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.6,
        "parallel_tool_calls": False,
        "model": "tiny",
        "user": "me",
    }
    chat = responses.Respond.model_validate(asked).chat
    assert chat.model_dump(exclude_none=True, by_alias=True) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "ab"},
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
            },
            {"role": "tool", "content": "warm", "tool_call_id": "c"},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "it", "schema": {"enum": [1]}, "strict": True},
        },
        "max_completion_tokens": 5,
        "temperature": 0.5,
        "top_p": 0.6,
        "parallel_tool_calls": False,
        "model": "tiny",
        "user": "me",
    }
    plain = responses.Respond.model_validate({"input": "a", "parallel_tool_calls": True, "text": {}}).chat
    assert plain.model_dump(exclude_none=True) == {"messages": [{"role": "user", "content": "a"}]}
    for wrong in (
        {"max_output_tokens": 0},
        {"temperature": 2.1},
        {"top_p": 1.1},
        {"input": []},
        {"include": ["x"]},
        {"background": True},
        {"service_tier": "flex"},
        {"text": {"verbosity": "low"}},
    ):
        with pytest.raises(ValidationError):
            responses.Respond.model_validate({"input": "a", **wrong})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((400, "invalid_request_error"), (401, "authentication_error"), (404, "not_found_error")),
        *((429, "rate_limit_error"), (413, "invalid_request_error"), (500, "server_error"), (503, "server_error")),
    ],
)
def test_errors_are_of_the_kinds_that_clients_know(status: int, kind: str) -> None:
    error = ApiError("why", status=status, param="n", code="wrong")
    assert error.body == {"error": {"message": "why", "type": kind, "param": "n", "code": "wrong"}}
    assert error.headers == {}


def test_any_error_is_one_of_the_api(caplog: pytest.LogCaptureFixture) -> None:
    busy = api_error(BusyError("full", 7))
    assert (busy.status, busy.code, busy.headers, str(busy)) == (503, "server_overloaded", {"retry-after": "7"}, "full")
    refused, broken = api_error(RequestError("no")), api_error(ValueError("secret"))
    assert (refused.status, refused.message, refused.code) == (400, "no", None)
    assert broken.status == 500
    assert "secret" not in broken.message
    assert "a request failed" in caplog.text
    assert api_error(busy) is busy
    plain = ApiError("why")
    assert (plain.status, plain.param, plain.code, plain.retry) == (400, None, None, None)
    never = unsupported("n", "is not known")
    assert (never.message, never.param, never.code) == ("n is not known", "n", "unsupported_parameter")

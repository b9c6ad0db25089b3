"""Schemas, grammars and functions: what a random model writes has the shape that was asked for, or it is refused."""

import json
import re
from typing import Any

import pytest
from api_server import Served
from cli.tiny_models import trained

from limelight.serve.api.bodies import Chat
from limelight.serve.api.chat import Chatting
from limelight.serve.api.tools import Calls, Plain, Style, style

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
HELLO = [{"role": "user", "content": "The cat sat"}]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}


def function(name: str, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "Says it.", "parameters": parameters}}


TOOLS = [function("weather", CITY), function("person", PERSON)]


def shaped(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema, "strict": True}}


@pytest.mark.parametrize("seed", [1, 2])
def test_a_schema_is_kept_to(api: Served, seed: int) -> None:
    body = {"messages": HELLO, "max_tokens": 200, "seed": seed, "temperature": 1.5, "response_format": shaped(PERSON)}
    choice = api.ask(CHAT, body)[1]["choices"][0]
    person = json.loads(choice["message"]["content"])
    assert list(person) == ["name", "age"]
    assert 0 <= person["age"] <= 99
    assert choice["finish_reason"] == "stop"
    streamed = "".join(each["choices"][0]["delta"].get("content", "") for each in api.events(CHAT, body))
    assert json.loads(streamed) == person


def test_an_object_a_regex_and_a_grammar_are_kept_to(api: Served) -> None:
    body = {"prompt": "a", "max_tokens": 100, "seed": 1, "ignore_eos": True}
    shapes = [
        ({"type": "regex", "grammar": "[ab]{3}-[0-9]{2}"}, "[ab]{3}-[0-9]{2}"),
        ({"type": "grammar", "grammar": 'start: "x" ("y" | "z")'}, "x[yz]"),
    ]
    for format, pattern in shapes:
        choice = api.ask(COMPLETIONS, {**body, "response_format": format})[1]["choices"][0]
        assert re.fullmatch(pattern, choice["text"])
        assert choice["finish_reason"] == "stop"
    object = {**body, "response_format": {"type": "json_object", "schema": CITY}}
    assert json.loads(api.ask(COMPLETIONS, object)[1]["choices"][0]["text"])["city"] in ("Paris", "Rome")
    anything = {**body, "response_format": {"type": "json_object"}, "logit_bias": {}}
    assert api.ask(COMPLETIONS, anything)[1]["choices"][0]["text"].startswith("{")


@pytest.mark.parametrize(
    "format",
    [
        shaped({"type": "nothing"}),
        shaped({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}),
        shaped({"type": "string", "pattern": "(?<=a)b"}),
        shaped({"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}}),
        {"type": "json_object", "schema": {"type": 123}},
        {"type": "grammar", "grammar": "start: nowhere"},
        {"type": "regex", "grammar": "(("},
    ],
)
def test_a_shape_that_cannot_be_enforced_is_a_400(api: Served, format: Any) -> None:
    """Free text, and a 200, would be a fault of others."""
    status, answer = api.ask(CHAT, {"messages": HELLO, "max_tokens": 5, "response_format": format})
    assert status == 400, answer
    assert answer["error"]["code"] == "invalid_schema"
    assert answer["error"]["param"] == "response_format"
    tools = [function("it", format["json_schema"]["schema"])] if "json_schema" in format else None
    if tools:
        status, answer = api.ask(CHAT, {"messages": HELLO, "max_tokens": 5, "tools": tools})
        assert (status, answer["error"]["param"]) == (400, "tools[0].function.parameters")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_call_that_must_be_is_one(api: Served, choice: Any) -> None:
    body = {"messages": HELLO, "max_tokens": 200, "seed": 4, "tools": TOOLS, "tool_choice": choice}
    body["parallel_tool_calls"] = False
    found = api.ask(CHAT, body)[1]["choices"][0]
    (call,) = found["message"]["tool_calls"]
    assert found["finish_reason"] == "tool_calls"
    assert found["message"]["content"] is None
    arguments = json.loads(call["function"]["arguments"])
    if call["function"]["name"] == "weather":
        assert arguments["city"] in ("Paris", "Rome")
    else:
        assert choice == "required"
        assert set(arguments) == {"name", "age"}
    chunks = [each["choices"][0] for each in api.events(CHAT, body)]
    (streamed,) = [call for each in chunks for call in each["delta"].get("tool_calls", ())]
    assert streamed["index"] == 0
    assert streamed["function"] == call["function"]
    assert chunks[-1]["finish_reason"] == "tool_calls"


def test_a_template_that_knows_no_functions_has_a_system_message_of_them(api: Served) -> None:
    for before in ([], [{"role": "system", "content": "Be brief."}]):
        body = Chat.model_validate({"messages": [*before, *HELLO], "tools": TOOLS})
        first, *others = Chatting("chatcmpl-1", api.writer, body).shown
        assert first["role"] == "system"
        assert first["content"].startswith("Be brief." if before else "You may call")
        assert all(tool["function"]["name"] in first["content"] for tool in TOOLS)
        assert [message["role"] for message in others] == ["user"]


def test_calls_may_be_made_within_text(api: Served) -> None:
    """A model that begins a call, and one that does not."""
    body = {"messages": HELLO, "max_tokens": 60, "seed": 4, "tools": TOOLS}
    free = api.ask(CHAT, body)[1]["choices"][0]
    assert "tool_calls" not in free["message"]
    assert free["message"]["content"]
    begin = api.writer.model.tokenizer.encode("<").ids
    led = api.ask(CHAT, {**body, "logit_bias": {str(begin[0]): 12}, "max_tokens": 5})[1]["choices"][0]
    assert led["finish_reason"] == "length"
    none = api.ask(CHAT, {**body, "tool_choice": "none"})[1]
    assert none["usage"]["prompt_tokens"] < api.ask(CHAT, body)[1]["usage"]["prompt_tokens"]


def test_the_end_of_a_call_that_is_cut_off_is_no_text() -> None:
    call = '<tool_call>\n{"name": "a", "arguments": {}}'
    for length in range(len("\n</tool_call>") + 1):
        (delta,) = Calls(Style()).push(call + "\n</tool_call>"[:length], True)
        assert delta["tool_calls"][0]["function"] == {"name": "a", "arguments": "{}"}


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_are_read_in_pieces_of_any_size(size: int) -> None:
    text = 'Well.\n<tool_call>\n{"name": "a", "arguments": {"x": "<tool_call>"}}\n</tool_call>\n'
    text += '<tool_call>\n{"name": "b", "arguments": {}}\n</tool_call>'
    reader, deltas = Calls(Style()), []
    for start in range(0, len(text), size):
        deltas += reader.push(text[start : start + size], start + size >= len(text))
    assert "".join(each.get("content", "") for each in deltas) == "Well."
    calls = [call for each in deltas for call in each.get("tool_calls", ())]
    assert [(call["index"], call["function"]["name"]) for call in calls] == [(0, "a"), (1, "b")]
    assert json.loads(calls[0]["function"]["arguments"]) == {"x": "<tool_call>"}
    assert calls[0]["id"] != calls[1]["id"]
    assert reader.finish("stop") == "tool_calls"
    assert reader.finish("length") == "length"


def test_where_nothing_is_new_nothing_is_told() -> None:
    for reader in (Plain(), Calls(Style())):
        told = [reader.push(piece, last) for piece, last in (("", False), ("a", False), ("", False), ("", True))]
        assert told == [[], [{"content": "a"}], [], []]


def test_a_call_that_is_cut_off_is_told_as_far_as_it_goes() -> None:
    reader = Calls(Style())
    (call,) = reader.push('<tool_call>\n{"name": "a", "arguments": {"x": "lo', True)
    assert call["tool_calls"][0]["function"] == {"name": "a", "arguments": '{"x": "lo'}
    assert Calls(Style()).push("<tool_call>\n{", True) == [{"content": "<tool_call>\n{"}]
    assert Calls(Style()).push("a < b", True) == [{"content": "a < b"}]


HERMES = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    '{% for c in m.tool_calls %}\n<call>{"name": "{{ c.function.name }}", "args": {{ c.function.arguments | tojson }}}'
    "</call>{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BARE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    '{% if m.tool_calls %}{"name": "{{ m.tool_calls[0].function.name }}", '
    '"parameters": {{ m.tool_calls[0].function.arguments | tojson }}}{% else %}{{ m.content }}{% endif %}<|im_end|>'
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

LISTED = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls %}{% if loop.first %}[CALLS] [{% endif %}"
    '{{ (c.function | tojson)[:-1] }}, "id": "{{ c.id }}"}'
    "{% if loop.last %}]{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_how_a_template_writes_a_call_is_read_off_it() -> None:
    assert style(trained(HERMES)) == Style("<call>", "</call>", "args", told=True)
    assert style(trained(BARE)) == Style("", "", "parameters", told=True)
    listed = style(trained(LISTED))
    assert listed == Style("[CALLS] [", "]", "arguments", told=True)
    text = '[CALLS] [{"name": "a", "arguments": {}, "id": "1"}, {"name": "b", "arguments": {}}]'
    deltas = Calls(listed).push(text, True)
    assert [each["tool_calls"][0]["function"]["name"] for each in deltas] == ["a", "b"]
    assert style(trained()) == Style()
    assert style(trained(None)) == Style()
    reader = Calls(Style("", "", "parameters", told=True))
    assert reader.push('{"name": "a", "parameters": {"b": 1}}', True)[0]["tool_calls"][0]["function"]["name"] == "a"
    assert Calls(Style("", "", "parameters")).push("Well {", True) == [{"content": "Well {"}]
    later = Calls(Style("", "", "parameters"))  # what opens behind a word is no call either
    assert later.push("Well", False) + later.push(' {"name": "a"}', True) == [
        {"content": "Well"},
        {"content": ' {"name": "a"}'},
    ]

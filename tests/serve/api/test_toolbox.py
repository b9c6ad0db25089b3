"""The functions of a request without a server: what a template is told, what an answer may hold, and how it is read."""

from types import SimpleNamespace
from typing import Any

import pytest
from cli.tiny_models import trained

from limelight.serve.api import tools
from limelight.serve.api.bodies import Chat, Message
from limelight.serve.api.chat import Chatting, _add, flat, variables
from limelight.serve.api.errors import ApiError
from limelight.serve.api.tools import Calls, Plain, Style, Toolbox

NONE = {"type": "object", "properties": {}, "additionalProperties": False}
HELLO = [{"role": "user", "content": "a"}]


def function(name: str, parameters: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name} | ({"parameters": parameters} if parameters else {})}


TWO = [function("f", NONE), function("g")]


def writer(style: Style | None = None, template: str | None = "{{ depth }}{{ messages }}") -> Any:
    tokenizer = trained(template)
    if style is not None:
        tools._styles[tokenizer] = style
    specials = {tokenizer.token(id): id for id in tokenizer.controls}
    network = SimpleNamespace(vocab=tokenizer.vocab)
    return SimpleNamespace(model=SimpleNamespace(tokenizer=tokenizer, network=network), specials=specials)


def toolbox(style: Style | None = None, **fields: Any) -> Toolbox:
    found = Toolbox.of(writer(style), Chat.model_validate({"messages": HELLO, "tools": TWO, **fields}))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"tool_choice": "required"}, "tool_choice", "tool_choice needs tools to choose from; give some, or leave"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice", "tool_choice needs tools"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", "parallel_tool_calls needs tools to choose from"),
        ({"parallel_tool_calls": True, "tool_choice": "required"}, "parallel_tool_calls", "parallel_tool_calls needs"),
        ({"tools": [*TWO, function("g")]}, "tools", "two tools are called 'g'"),
        (
            {"tools": TWO, "response_format": {"type": "json_object"}},
            "response_format",
            "response_format and tools shape the same text; give one of them",
        ),
        (
            {"tools": TWO, "tool_choice": {"type": "function", "function": {"name": "h"}}},
            "tool_choice",
            "tool_choice names 'h', which is not among the tools",
        ),
    ],
)
def test_functions_that_make_no_sense_are_refused(fields: dict[str, Any], param: str, said: str) -> None:
    body = Chat.model_validate({"messages": HELLO, **fields})
    with pytest.raises(ApiError) as error:
        Toolbox.of(writer(), body)
    assert str(error.value).startswith(said)
    assert error.value.param == param


def test_there_are_no_functions_where_none_may_be_called() -> None:
    for fields in ({}, {"tool_choice": "auto"}, {"tool_choice": "none"}, {"tools": TWO, "tool_choice": "none"}):
        assert Toolbox.of(writer(), Chat.model_validate({"messages": HELLO, **fields})) is None
    assert toolbox(response_format={"type": "text"}, parallel_tool_calls=True).shown is None


def rules(style: Style, **fields: Any) -> list[str]:
    found = toolbox(style, **fields)
    specials = {"<|im_start|>": 1}
    return found._grammar(specials).splitlines()


F = r'("{\"name\": \"f\", \"%s\": " %%json %s "}")'


def test_the_grammar_of_an_answer_lets_it_call_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "written", lambda schema: "NONE" if schema == NONE else str(schema))
    monkeypatch.setattr(tools, "of_grammar", lambda *_: None)
    f = F % ("arguments", "NONE")
    g = f.replace('\\"f\\"', '\\"g\\"').replace("NONE", "{'type': 'object'}")
    begin, end = r'"<tool_call>\n"', r'"\n</tool_call>"'
    one, call, text = f"one: {f} | {g}", f"call: one  {end}", "TEXT: /(?s:.*)/"
    plain, weather = Style(), {"type": "function", "function": {"name": "f"}}
    lazy = [one, call, text, f"marked[lazy]: TEXT {begin}"]
    assert rules(plain) == ["start: (marked call)* TEXT", *lazy]
    assert rules(plain, parallel_tool_calls=False) == ["start: (marked call)? TEXT", *lazy]
    assert rules(plain, tool_choice="required") == [f'start: {begin} call ("\\n" {begin} call)*', one, call]
    for fields in ({"tool_choice": weather}, {"tool_choice": weather, "parallel_tool_calls": True}):
        assert rules(plain, **fields) == [f"start: {begin} call", f"one: {f}", call]  # that one, once
    once = {"tool_choice": "required", "parallel_tool_calls": False}
    assert rules(plain, **once) == [f"start: {begin} call", one, call]

    bare = Style("", "", "args")
    one = one.replace("arguments", "args")
    assert rules(bare) == ["start: call | /[^{]/ TEXT |", one, "call: one  ", text]
    assert rules(bare, tool_choice="required") == ["start:  call", one, "call: one  "]

    listed = Style("<|im_start|>[", "]", "args")
    many = ['start: <[1]> "[" call', one, 'call: one (", " one)* "]"']
    assert rules(listed, tool_choice="required") == many
    assert rules(listed, **once) == [many[0], one, 'call: one  "]"']
    assert rules(listed) == ["start: (marked call)* TEXT", *many[1:], text, 'marked: TEXT <[1]> "["']


@pytest.mark.parametrize("style", [Style(), Style("", "", "args", True), Style("<|im_start|>[", "]", "args", True)])
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_every_grammar_is_one_that_can_be_enforced(style: Style, choice: str) -> None:
    found = toolbox(style, tool_choice=choice)
    assert callable(found.constraint)
    assert found.special is style.begin.startswith("<|im_start|>")
    assert isinstance(found.reader(), Calls)


def test_a_template_that_knows_functions_is_given_them() -> None:
    knows = writer(Style("<call>", "</call>", "args", told=True), "{{ tools }}{{ messages[0].content }}<|im_end|>")
    knows.longest, knows.check = 100, lambda prompt, name: None
    body = Chat.model_validate({"messages": HELLO, "tools": TWO, "max_tokens": 4})
    (prompt,) = Chatting("chatcmpl-1", knows, body).writing.prompts
    tokenizer = knows.model.tokenizer
    assert prompt == tokenizer.encode(tokenizer.chat(HELLO, tools=TWO), special=True).ids
    assert prompt != tokenizer.encode(tokenizer.chat(HELLO), special=True).ids


def test_a_template_is_told_of_functions_or_the_model_is() -> None:
    messages = flat(
        [
            Message.model_validate(each)
            for each in (
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "a"},
                {
                    "role": "assistant",
                    "content": "Hm.",
                    "tool_calls": [
                        {"id": "c", "function": {"name": name, "arguments": '{"n": 1}'}} for name in ("f", "g")
                    ],
                },
                {"role": "tool", "content": "warm", "tool_call_id": "c"},
            )
        ]
    )
    knows = toolbox(Style("<call>", "</call>", "args", told=True))
    assert knows.messages(messages) is messages
    assert knows.shown == TWO
    told = (
        "You may call these functions:\n"
        '{"name": "f", "parameters": {"type": "object", "properties": {}, "additionalProperties": false}}\n'
        '{"name": "g"}\n'
        "To call one, answer with\n"
        '<tool_call>\n{"name": <name>, "arguments": <arguments>}\n</tool_call>'
    )
    calls = [f'<tool_call>\n{{"name": "{name}", "arguments": {{"n": 1}}}}\n</tool_call>' for name in "fg"]
    rest = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": f"Hm.{calls[0]}\n{calls[1]}"},
        {"role": "user", "content": "<tool_response>\nwarm\n</tool_response>"},
    ]
    assert toolbox().messages(messages) == [{"role": "system", "content": f"Be brief.\n\n{told}"}, *rest]
    assert toolbox().messages(messages[1:]) == [{"role": "system", "content": told}, *rest]


def read(reader: Plain, *pieces: str) -> list[Any]:
    """What comes of an answer in pieces: its texts and (name, arguments) of its calls."""
    found: list[Any] = []
    for number, piece in enumerate(pieces, 1):
        for delta in reader.push(piece, number == len(pieces)):
            found.append(delta.get("content"))
            for call in delta.get("tool_calls", ()):
                assert call["type"] == "function"
                assert call["id"].startswith("call_")
                assert len(call["id"]) == 29
                found[-1] = (call["index"], call["function"]["name"], call["function"]["arguments"])
    return found


CALL = '{"name": "f", "arguments": {"é": 1}}'


@pytest.mark.parametrize(
    ("pieces", "found"),
    [
        (["a <tool", "bar> b"], ["a", " <toolbar> b"]),  # what may begin a call waits, with the space before it
        (["a\n", "b"], ["a", "\nb"]),
        (["\n", " a"], ["\n a"]),
        (["\n", ""], []),  # space alone is no text
        (["a", "\n"], ["a", "\n"]),
        ([f"<tool_call>{CALL}</tool_call>", "\n", ""], [(0, "f", '{"é": 1}')]),
        ([f"<tool_call>{CALL}</tool_call>", "\n", " b"], [(0, "f", '{"é": 1}'), "\n b"]),
        ([f"a<tool_call>{CALL}</tool_call>", "\n", ""], ["a", (0, "f", '{"é": 1}')]),
        ([f"a<tool_call>\n{CALL}\n</tool_call>b"], ["a", (0, "f", '{"é": 1}'), "b"]),
        ([f"<tool_call>{CALL} b"], [(0, "f", '{"é": 1}'), "b"]),  # whose end was left out
        ([f"<tool_call>{CALL}</tool", "_call>", ""], [(0, "f", '{"é": 1}')]),
        (['<tool_call>{"name": "f"}</tool_call>'], [(0, "f", "null")]),
        (['<tool_call>{"name": "f\\"", "argu'], [(0, 'f"', "")]),
        (["<tool_call>nothing"], ["<tool_call>nothing"]),
    ],
)
def test_text_and_calls_are_told_apart(pieces: list[str], found: list[Any]) -> None:
    assert read(Calls(Style()), *pieces) == found


def test_an_answer_that_calls_ends_in_calls() -> None:
    reader, plain = Calls(Style()), Plain()
    assert [reader.finish("stop"), plain.finish("stop"), plain.finish("length")] == ["stop", "stop", "length"]
    read(reader, f"<tool_call>{CALL}</tool_call>")
    assert [reader.finish("stop"), reader.finish("length")] == ["tool_calls", "length"]


def test_calls_in_a_list_are_read_one_by_one() -> None:
    first, second = ('{"name": "f", "args": [1]}', '{"name": "g", "args": {}}')
    expected = [(0, "f", "[1]"), (1, "g", "{}")]
    for pieces in (
        [f"<c>[{first}, {second}]"],
        [f"<c>[{first}", " ,", f"{second}]"],
        [f"<c>[{first},{second}"],
    ):
        assert read(Calls(Style("<c>[", "]", "args")), *pieces) == expected


def test_a_bare_call_is_all_of_an_answer() -> None:
    bare = Style("", "", "arguments")
    assert read(Calls(bare), " ", CALL) == [(0, "f", '{"é": 1}')]
    assert read(Calls(bare), "a", CALL) == ["a", CALL]


def test_pieces_of_a_message_come_together() -> None:
    message: dict[str, Any] = {"content": None}

    def call(index: int, **function: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, "id": f"call_{index}", "function": function}]}

    for delta in (
        {},
        {"content": "a"},
        {"content": "b"},
        call(0, name="f", arguments="{"),
        call(0, arguments="}"),
        call(1, name="g"),
    ):
        _add(message, delta)
    assert message == {
        "content": "ab",
        "tool_calls": [
            {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "call_1", "type": "function", "function": {"name": "g", "arguments": ""}},
        ],
    }


def test_a_template_is_told_what_it_asks_for_by_name() -> None:
    def named(template: str | None, **fields: Any) -> dict[str, Any]:
        return variables(writer(template=template), Chat.model_validate({"messages": HELLO, **fields}))

    template = "{{ depth }}{{ reasoning_effort }}{{ messages }}{{ tools }}{{ documents }}{{ add_generation_prompt }}"
    assert named(template) == {}
    asked = {"chat_template_kwargs": {"depth": 2}, "reasoning_effort": "low"}
    assert named(template, **asked) == {"depth": 2, "reasoning_effort": "low"}
    assert asked["chat_template_kwargs"] == {"depth": 2}
    for name in ("messages", "tools", "documents", "add_generation_prompt", "width"):
        with pytest.raises(
            ApiError, match=f"{name} means nothing to this model's chat template; leave it out"
        ) as error:
            named(template, chat_template_kwargs={name: 1})
        assert (error.value.param, error.value.code) == (name, "unsupported_parameter")
    with pytest.raises(ApiError, match="depth means nothing"):
        named(None, chat_template_kwargs={"depth": 2})

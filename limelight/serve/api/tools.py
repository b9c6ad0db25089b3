"""Functions that a model may call: how its template writes a call, what a call may hold, and calls read from text."""

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from limelight.decode.grammar import written
from limelight.errors import LimelightError
from limelight.serve.api.answers import Object
from limelight.serve.api.bodies import Chat, Tool, ToolChoice
from limelight.serve.api.errors import ApiError
from limelight.serve.api.grammar import of_grammar, of_schema

if TYPE_CHECKING:
    from limelight.decode import Constraint
    from limelight.serve.api.shelf import Writer
    from limelight.text.tokenizer import Tokenizer

PROBE = "probe_7f3a"
"""A name that no template writes of itself."""


@dataclass(frozen=True)
class Style:
    """How a model writes a call: `begin`, an object with the function's name and its arguments under `key`, `end`.

    A list of them stands between the two where `begin` opens one. told: whether the template tells the model of its
    functions.
    """

    begin: str = "<tool_call>\n"
    end: str = "\n</tool_call>"
    key: str = "arguments"
    told: bool = False

    @property
    def listed(self) -> bool:
        """Whether several calls share one `begin` and `end`."""
        return self.begin.endswith("[")


_styles: "WeakKeyDictionary[Tokenizer, Style]" = WeakKeyDictionary()


def style(tokenizer: "Tokenizer") -> Style:
    """The style of a model's chat template, found by letting it write a call; Hermes' where it knows none."""
    if tokenizer not in _styles:
        _styles[tokenizer] = _probed(tokenizer)
    return _styles[tokenizer]


def _probed(tokenizer: "Tokenizer") -> Style:
    asked = {"role": "user", "content": "?"}
    function = {"name": PROBE, "description": "", "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": function}]
    called = {"id": "call00000", "type": "function", "function": {"name": PROBE, "arguments": {"a": 1}}}
    call = {"role": "assistant", "content": "", "tool_calls": [called]}
    try:
        opened = tokenizer.chat([asked], tools=tools)
        told = PROBE in opened
        written = tokenizer.chat([asked, call], reply=False, tools=tools)[
            len(tokenizer.chat([asked], reply=False, tools=tools)) :
        ]
    except LimelightError:
        return Style()
    pattern = rf'\{{\s*"name":\s*"{PROBE}",\s*"(\w+)":\s*\{{\s*"a":\s*1\s*\}}(?:,\s*"id":\s*"\w+")?\s*\}}'
    found = re.search(pattern, written)
    if not told or found is None:
        return Style()
    front = tokenizer.chat([asked], tools=tools)[len(tokenizer.chat([asked], reply=False, tools=tools)) :]
    begin, behind = written[: found.start()].removeprefix(front), written[found.end() :]
    ends = [behind.find(each) for each in _marks(tokenizer) if each in behind]
    return Style(begin.lstrip("\n"), behind[: min(ends, default=len(behind))].rstrip("\n"), found[1], told=True)


def _marks(tokenizer: "Tokenizer") -> list[str]:
    """How the ends of a turn are spelled."""
    return [tokenizer.token(id) for id in tokenizer.eos]


class Plain:
    """Reads an answer in which nothing is called."""

    def push(self, piece: str, last: bool) -> list[Object]:
        """What is new, as the changes of a message."""
        return [{"content": piece}] if piece else []

    def finish(self, finish: str) -> str:
        """Why the answer ended."""
        return finish


class Toolbox:
    """The functions of one request."""

    def __init__(self, writer: "Writer", tools: Sequence[Tool], choice: str | ToolChoice, many: bool) -> None:
        """Raises ApiError for a function that there is not, and for schemas that cannot be enforced."""
        self._style = style(writer.model.tokenizer)
        names = [tool.function.name for tool in tools]
        if isinstance(choice, ToolChoice):
            if choice.function.name not in names:
                raise ApiError(
                    f"tool_choice names {choice.function.name!r}, which is not among the tools", param="tool_choice"
                )
            self._may = [tool for tool in tools if tool.function.name == choice.function.name]
        else:
            self._may = list(tools)
        self._tools = tools
        self._must = choice != "auto"
        self._many = many and not isinstance(choice, ToolChoice)
        for number, tool in enumerate(tools):
            if tool.function.parameters is not None:
                of_schema(writer, tool.function.parameters, f"tools[{number}].function.parameters")
        self.constraint: Callable[[], Constraint] = of_grammar(writer, self._grammar(writer.specials), "tools")
        begin = self._style.begin.strip()
        self.special = any(name in begin for name in writer.specials)

    @staticmethod
    def of(writer: "Writer", body: Chat) -> "Toolbox | None":
        """The functions that a request gives; None without any. Raises ApiError."""
        if not body.tools:
            if body.tool_choice not in (None, "none", "auto") or body.parallel_tool_calls is not None:
                param = "parallel_tool_calls" if body.parallel_tool_calls is not None else "tool_choice"
                raise ApiError(f"{param} needs tools to choose from; give some, or leave it out", param=param)
            return None
        names = [tool.function.name for tool in body.tools]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ApiError(f"two tools are called {twice!r}", param="tools")
        if body.tool_choice == "none":
            return None
        if body.response_format is not None and body.response_format.type != "text":
            raise ApiError("response_format and tools shape the same text; give one of them", param="response_format")
        many = body.parallel_tool_calls is not False
        return Toolbox(writer, body.tools, body.tool_choice or "auto", many)

    @property
    def shown(self) -> list[dict[str, Any]] | None:
        """What the template is given."""
        return [tool.model_dump(exclude_none=True) for tool in self._tools] if self._style.told else None

    def messages(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The conversation; where the template tells nothing of functions, a system message does."""
        if self._style.told:
            return messages
        functions = "\n".join(json.dumps(tool.function.model_dump(exclude_none=True)) for tool in self._tools)
        call = '{"name": <name>, "arguments": <arguments>}'
        told = (
            f"You may call these functions:\n{functions}\n"
            f"To call one, answer with\n{self._style.begin}{call}{self._style.end}"
        )
        turned = [_spelled(message, self._style) for message in messages]
        if turned[0]["role"] == "system":
            return [{**turned[0], "content": f"{turned[0]['content']}\n\n{told}"}, *turned[1:]]
        return [{"role": "system", "content": told}, *turned]

    def reader(self) -> "Plain":
        """What reads an answer."""
        return Calls(self._style)

    def _grammar(self, specials: Mapping[str, int]) -> str:
        """The Lark grammar of an answer: text in which each call holds what its function's schema says."""
        calls = []
        for tool in self._may:
            head = f'{{"name": {json.dumps(tool.function.name)}, "{self._style.key}": '
            calls.append(f'{json.dumps(head)} %json {written(tool.function.parameters or {"type": "object"})} "}}"')
        begin, end = _lark(self._style.begin, specials), _lark(self._style.end, specials)
        several = '(", " one)*' if self._many and self._style.listed else ""
        rules = f"one: {' | '.join(f'({call})' for call in calls)}\ncall: one {several} {end}\n"
        if self._must:
            more = f' ("\\n" {begin} call)*' if self._many and begin and not self._style.listed else ""
            return f"start: {begin} call{more}\n{rules}"
        rules += "TEXT: /(?s:.*)/\n"
        if not begin:  # a call is all of an answer, or no part of it
            return f"start: call | /[^{{]/ TEXT |\n{rules}"
        if "<[" in begin:
            rules += f"marked: TEXT {begin}\n"
        else:
            rules += f"marked[lazy]: TEXT {begin}\n"
        return f"start: (marked call){'*' if self._many else '?'} TEXT\n{rules}"


def _lark(text: str, specials: Mapping[str, int]) -> str:
    """A text in a Lark grammar, control tokens by their ids."""
    if not text:
        return ""
    names = "|".join(re.escape(name) for name in specials) or "(?!)"
    parts = re.split(f"({names})", text)
    return " ".join(f"<[{specials[part]}]>" if part in specials else json.dumps(part) for part in parts if part)


def _spelled(message: dict[str, Any], style: Style) -> dict[str, Any]:
    """A message as text alone, for a template that knows nothing of calls."""
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}
    if "tool_calls" not in message:
        return message
    calls = "\n".join(f"{style.begin}{json.dumps(call['function'])}{style.end}" for call in message["tool_calls"])
    return {"role": "assistant", "content": f"{message['content']}{calls}"}


class Calls(Plain):
    """Reads an answer in which functions may be called: text goes on as it comes, a call when it is whole."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._begin, self._end = style.begin.strip(), style.end.strip()
        self._held = ""
        self._calling = self._closing = False
        self._said = ""
        self._count = 0

    def push(self, piece: str, last: bool) -> list[Object]:
        """See `Plain`."""
        self._held += piece
        found: list[Object] = []
        while self._once(found):
            pass
        if last and self._held:
            if self._calling:
                found += self._cut()
            elif not self._closing:  # else it is the beginning of a call's end
                found += self._text(self._held)
            self._held = ""
        return found

    def finish(self, finish: str) -> str:
        """See `Plain`."""
        return "tool_calls" if self._count and finish == "stop" else finish

    def _once(self, found: list[Object]) -> bool:
        """Reads on by one part; whether there was one."""
        if self._closing:
            held = self._held.lstrip()
            if self._end.startswith(held) and held != self._end:
                return False
            if self._style.listed and held.startswith(","):
                self._held, self._closing, self._calling = held[1:], False, True
                return True
            self._held, self._closing = held.removeprefix(self._end), False
        if self._calling:
            try:
                call, end = json.JSONDecoder().raw_decode(self._held.lstrip())
            except ValueError:
                return False
            self._held = self._held.lstrip()[end:]
            self._calling, self._closing = False, bool(self._end)
            found.append(self._called(str(call.get("name")), json.dumps(call.get(self._style.key), ensure_ascii=False)))
            return True
        if not self._begin:  # a call is all of an answer
            self._calling = not self._said.strip() and self._held.lstrip().startswith("{")
            if not self._calling:
                found += self._text(self._held)
                self._held = ""
            return self._calling
        at = self._held.find(self._begin)
        if at >= 0:
            found += self._text(self._held[:at].rstrip())
            self._held, self._calling = self._held[at + len(self._begin) :], True
            return True
        open = next(
            (at for at in range(len(self._held)) if (self._begin).startswith(self._held[at:].lstrip())), len(self._held)
        )
        found += self._text(self._held[:open])
        self._held = self._held[open:]
        return False

    def _text(self, text: str) -> list[Object]:
        """Text of the answer, unless there is none, or nothing but space in it so far, or behind a call."""
        if not text or (not text.strip() and (self._count or not self._said)):
            return []
        self._said += text
        return [{"content": text}]

    def _called(self, name: str, arguments: str) -> Object:
        call = {"id": _id(), "type": "function", "function": {"name": name, "arguments": arguments}}
        self._count += 1
        return {"tool_calls": [{"index": self._count - 1, **call}]}

    def _cut(self) -> list[Object]:
        """A call that was cut off, as far as it goes."""
        name = re.search(r'"name":\s*("(?:[^"\\]|\\.)*")', self._held)
        if name is None:
            return self._text(self._begin + self._held)
        _, _, arguments = self._held[name.end() :].partition(f'"{self._style.key}":')
        return [self._called(json.loads(name[1]), arguments.lstrip())]


def _id() -> str:
    return f"call_{secrets.token_hex(12)}"

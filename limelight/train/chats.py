"""Conversations to learn from: read in the forms that are common, checked, and made tokens by a chat template."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limelight.errors import FileError, RequestError, TextError
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import Marks
from limelight.train.data import kind, lines, local
from limelight.train.examples import Row, rows

KINDS = (".jsonl", ".json")
SPEAKERS = {name: name for name in ("system", "user", "assistant", "tool")} | {
    "developer": "system",
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function": "tool",
    "observation": "tool",
}
"""What speakers are called, and the role that templates know them by."""

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The template of a model that knows its marks and has none of its own."""

PLAIN = (
    "FRONT{% for m in messages %}### {{ m.role }}\n{{ m.content }}{% if m.role == 'assistant' %}{{ END }}{% endif %}"
    "{{ '\\n\\n' }}{% endfor %}{% if add_generation_prompt %}### assistant\n{% endif %}"
)
"""The template of any other. FRONT: what stands in front of every text of the model's; END: its end of a text."""

Message = dict[str, Any]


@dataclass(frozen=True)
class Chat:
    """A conversation. form: how it was written. tools: functions that may be called, as templates take them."""

    form: str
    messages: tuple[Message, ...]
    tools: Sequence[Mapping[str, Any]] | None = None

    @property
    def fault(self) -> str | None:
        """Why nothing can be learned from it, said of several; None if it can."""
        messages = self.messages
        if not any(m["role"] == "assistant" for m in messages):
            return "without an answer"
        if any(not str(m["content"] or "").strip() and not m.get("tool_calls") for m in messages):
            return "with an empty turn"
        before = "system"
        for at, message in enumerate(messages):
            if before not in _BEHIND[message["role"]] or (message["role"] == "system" and at):
                return "with turns out of order"
            before = message["role"]
        return None


_BEHIND = {
    "system": {"system"},
    "user": {"system", "assistant"},
    "assistant": {"user", "tool"},
    "tool": {"assistant", "tool"},
}
"""Behind whom each may speak."""


@dataclass(frozen=True)
class Preference:
    """A conversation that ends in a question, and two answers to it, of which the first is liked better."""

    form: str
    messages: tuple[Message, ...]
    chosen: Message
    rejected: Message

    @property
    def both(self) -> tuple[Chat, Chat]:
        """The conversation with the one answer, and with the other."""
        one, other = (Chat(self.form, (*self.messages, answer)) for answer in (self.chosen, self.rejected))
        return one, other

    @property
    def fault(self) -> str | None:
        """As a `Chat` has it."""
        if self.chosen == self.rejected:
            return "whose two answers are one"
        return next((chat.fault for chat in self.both if chat.fault), None)


def chats(files: Sequence[str | Path]) -> Iterator[Chat]:
    """Conversations from .jsonl files, or .json files that hold a list (also .gz or .xz), in their order.

    Each is an object with "messages" (role and content, as OpenAI has them), "conversations" (from and value, as
    ShareGPT has them), "instruction", "input" and "output" (Alpaca's), or "prompt" and "completion". What follows the
    last answer is left out. Raises FileError, naming the row, for anything else.
    """
    for where, row in _objects(files):
        form, messages = _conversation(where, row)
        while messages and messages[-1]["role"] != "assistant" and any(m["role"] == "assistant" for m in messages):
            messages.pop()
        yield Chat(form, tuple(messages), row.get("tools") or None)


def preferences(files: Sequence[str | Path]) -> Iterator[Preference]:
    """Pairs of answers from files as `chats` reads them: objects with "chosen" and "rejected", each an answer or a
    whole conversation, and "prompt", "messages" or "instruction" and "input" for what was asked.

    Raises FileError, naming the row, for anything else.
    """
    for where, row in _objects(files):
        if "chosen" not in row or "rejected" not in row:
            raise FileError(f'{where}: no "chosen" and "rejected" answer')
        sides = [_turns(where, row[name], "assistant") for name in ("chosen", "rejected")]
        asked = {name: value for name, value in row.items() if name not in {"output", "completion"}}
        if any(name in asked for name in ("messages", "conversations", "instruction", "prompt")):
            form, messages = _conversation(where, asked)
        else:
            form, messages = "messages with role and content", sides[0][:-1]
        (*first, chosen), (*second, rejected) = ((*side,) or ({"role": "assistant", "content": ""},) for side in sides)
        if [*first] != [*second] or first not in ([], messages):
            raise FileError(f"{where}: the two conversations differ before their last turn")
        yield Preference(form, tuple(messages), chosen, rejected)


def conversing(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with a chat template: its own, or a plain one. Raises RequestError if it has no end of a text."""
    if tokenizer.template is not None:
        return tokenizer
    marks = Marks.of(tokenizer)
    known = {tokenizer.token(id) for id in tokenizer.controls}
    if {"<|im_start|>", "<|im_end|>"} <= known:
        return tokenizer.with_template(CHATML)
    front, end = "".join(map(tokenizer.token, tokenizer.prefix)), json.dumps(tokenizer.token(marks.end))
    return tokenizer.with_template(PLAIN.replace("FRONT", front).replace("END", end))


def encoded(tokenizer: Tokenizer, chat: Chat, last: bool = False) -> Iterator[tuple[list[int], list[int]]]:
    """A conversation as rows of tokens, each with the places of its answers: a start and an end in turn, the mark that
    ends an answer counted in.

    One row, but for templates that show an answer otherwise once the conversation goes on; there each answer has a row
    of its own. last: only the last answer. Raises TextError for a template by which answers have no place or no end.
    """
    text, places = "", list[tuple[int, int]]()
    answers = [at for at, message in enumerate(chat.messages) if message["role"] == "assistant"]
    for at in answers[-1:] if last else answers:
        opened = tokenizer.chat(chat.messages[:at], tools=chat.tools)
        closed = tokenizer.chat(chat.messages[: at + 1], reply=False, tools=chat.tools)
        if not closed.startswith(opened):
            raise TextError(
                "the model's chat template shows an answer otherwise than it opens one, so it can't be learned"
            )
        if not opened.startswith(text):
            yield _placed(tokenizer, text, places)
            places = []
        text = closed
        places.append((len(opened), len(closed)))
    yield _placed(tokenizer, text, places)


def _placed(tokenizer: Tokenizer, text: str, places: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    coded = tokenizer.encode(text, special=True)
    found: list[int] = []
    for start, end in places:
        inside = [at for at, (first, last) in enumerate(coded.offsets) if start <= first and last <= end]
        ends = [at for at in inside if coded.ids[at] in tokenizer.eos]
        if not ends:
            raise TextError(
                "the model's chat template puts no mark that ends a text behind an answer, so where to stop can't be"
                " learned"
            )
        found += [max(inside[0], 1), ends[-1] + 1]
    return coded.ids[: found[-1]], found


def _objects(files: Sequence[str | Path]) -> Iterator[tuple[str, Row]]:
    for path in local(files, KINDS):
        match kind(path):
            case ".jsonl":
                yield from ((f"{path}, line {number}", row) for number, row in rows(path))
            case ".json":
                yield from _listed(path)
            case _:
                raise RequestError(f"{path}: conversations are read from {' and '.join(KINDS)} (also .gz, .xz)")


def _listed(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        values = json.loads("\n".join(lines(path)))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(values, list) or not all(isinstance(row, dict) for row in values):
        raise FileError(f"{path}: holds no list of JSON objects")
    yield from ((f"{path}, row {number}", row) for number, row in enumerate(values, 1))


def _conversation(where: str, row: Row) -> tuple[str, list[Message]]:
    front = (
        [{"role": "system", "content": row["system"]}] if isinstance(row.get("system"), str) and row["system"] else []
    )
    if "messages" in row:
        return "messages with role and content", front + _turns(where, row["messages"], "user")
    if "conversations" in row:
        return "ShareGPT's from and value", front + _turns(where, row["conversations"], "user")
    if "instruction" in row:
        parts = [_text(where, row.get(name)) for name in ("instruction", "input")]
        asked = "\n\n".join(part for part in parts if part.strip())
        answer = [{"role": "assistant", "content": _text(where, row["output"])}] if "output" in row else []
        return "Alpaca's instruction, input and output", [*front, {"role": "user", "content": asked}, *answer]
    if "prompt" in row:
        said = _turns(where, row["completion"], "assistant") if "completion" in row else []
        return "prompt and completion", front + _turns(where, row["prompt"], "user") + said
    raise FileError(
        f'{where}: no conversation; it takes "messages", "conversations", "instruction" and "output", or "prompt" and'
        ' "completion"'
    )


def _turns(where: str, value: Any, role: str) -> list[Message]:
    """Messages, each as templates take it; a plain text is one of `role`."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise FileError(f'{where}: a conversation is a list of objects such as {{"role": "user", "content": "Hello"}}')
    turns = []
    for each in value:
        speaker = each.get("role", each.get("from"))
        if not isinstance(speaker, str) or speaker not in SPEAKERS:
            raise FileError(f"{where}: the role {speaker!r} is none of {', '.join(SPEAKERS)}")
        others = {name: part for name, part in each.items() if name not in {"role", "from", "value", "content"}}
        content = _text(where, each.get("content", each.get("value")))
        turns.append({"role": SPEAKERS[speaker], "content": content, **others})
    return turns


def _text(where: str, value: Any) -> str:
    if isinstance(value, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in value):
        value = "".join(str(part.get("text", "")) for part in value)
    if value is None or isinstance(value, str):
        return value or ""
    raise FileError(f"{where}: a turn holds something that is no text")

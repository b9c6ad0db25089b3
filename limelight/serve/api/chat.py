"""/v1/chat/completions: conversations answered by the model's own chat template."""

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from limelight.serve.api.answers import Object, Pattern, event
from limelight.serve.api.bodies import Chat, Message
from limelight.serve.api.errors import ApiError, unsupported
from limelight.serve.api.grammar import constraint
from limelight.serve.api.logprobs import modern, prompt_told
from limelight.serve.api.shelf import Writer
from limelight.serve.api.tools import Plain, Toolbox
from limelight.serve.api.writing import Writing, plan, scored
from limelight.serve.choice import Told


def flat(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as chat templates read them: contents as strings, arguments as objects. Raises ApiError."""
    found = []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        content = message.content
        said = content or message.refusal or content  # "" is a text, too
        text = "".join(part.text for part in said) if isinstance(said, list) else said
        if text is None and not message.tool_calls:
            raise ApiError(f"{where}.content is missing; give a text", param=f"{where}.content")
        role = "system" if message.role == "developer" else message.role
        turn: dict[str, Any] = {"role": role, "content": text or ""}
        if message.name is not None:
            turn["name"] = message.name
        if message.reasoning_content is not None:
            turn["reasoning_content"] = message.reasoning_content
        if message.tool_call_id is not None:
            turn["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            turn["tool_calls"] = [
                {"id": call.id, "type": "function", "function": _called(call.function.name, call.function.arguments)}
                for call in message.tool_calls
            ]
        found.append(turn)
    return found


def _called(name: str, arguments: str) -> dict[str, Any]:
    try:
        return {"name": name, "arguments": json.loads(arguments or "{}")}
    except ValueError:
        return {"name": name, "arguments": arguments}


def variables(writer: Writer, body: Chat) -> dict[str, Any]:
    """What the template is told by name. Raises ApiError for what it does not ask for."""
    named = dict(body.chat_template_kwargs or {})
    if body.reasoning_effort is not None:
        named["reasoning_effort"] = body.reasoning_effort
    template = writer.model.tokenizer.template or ""
    for name in named:
        if name not in template or name in ("messages", "tools", "documents", "add_generation_prompt"):
            raise unsupported(name, "means nothing to this model's chat template; leave it out")
    return named


class Chatting:
    """One request. shown: the messages as the template is given them."""

    def __init__(self, id: str, writer: Writer, body: Chat) -> None:
        """Makes the prompt, which may take a while. Raises ApiError or LimelightError for what cannot be done."""
        if body.max_tokens is not None and body.max_completion_tokens is not None:
            raise ApiError("max_tokens and max_completion_tokens say the same; give one of them", param="max_tokens")
        if body.top_logprobs is not None and not body.logprobs:
            raise ApiError("top_logprobs needs logprobs to be true", param="top_logprobs")
        if body.stream and body.prompt_logprobs is not None:
            raise unsupported("prompt_logprobs", "is not offered in a stream; leave one of them out")
        self.usage = body.usage
        self._writer = writer
        self._body = body
        messages = flat(body.messages)
        self._raw = writer.model.tokenizer.raw
        self._tools = Toolbox.of(writer, body)
        self.shown = messages if self._tools is None else self._tools.messages(messages)
        self.writing = self._plan(id)

    def _plan(self, id: str) -> Writing:
        writer, body, tools = self._writer, self._body, self._tools
        tokenizer = writer.model.tokenizer
        text = tokenizer.chat(
            self.shown,
            tools=None if tools is None else tools.shown,
            variables=variables(writer, body),
        )
        prompt = tokenizer.encode(text, special=True).ids
        writer.check(prompt, "messages")
        most = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
        return plan(
            id,
            writer,
            body,
            [prompt],
            max_tokens=most,
            logprobs=(body.top_logprobs or 0) if body.logprobs else None,
            constraint=constraint(writer, body.response_format) if tools is None else tools.constraint,
            special=tools is not None and tools.special,
        )

    async def pieces(self) -> AsyncGenerator[tuple[int, Object, str | None, list[Told]], None]:
        """(which choice, what is new of its message, why it ended, tokens), whenever something became certain.

        A choice ends with a piece of its own, in which nothing is new.
        """
        writing = self.writing
        readers = [Plain() if self._tools is None else self._tools.reader() for _ in writing.made]
        async for index, piece, tokens in writing.steps():
            finish = writing.made[index].finish
            for delta in readers[index].push(piece, finish is not None) or ([{}] if tokens else []):
                yield index, delta, None, tokens
                tokens = []
            if finish is not None:
                yield index, {}, readers[index].finish(finish), []

    async def whole(self) -> Object:
        """The answer."""
        writing, body = self.writing, self._body
        await writing.begin()
        told: list[list[Told]] = [[] for _ in writing.made]
        messages: list[Object] = [{"role": "assistant", "content": None, "refusal": None} for _ in writing.made]
        ends: list[str | None] = [None for _ in writing.made]
        async for index, delta, finish, tokens in self.pieces():
            told[index] += tokens
            _add(messages[index], delta)
            ends[index] = finish
        choices = []
        for index, (message, end) in enumerate(zip(messages, ends, strict=True)):
            if message["content"] is None and "tool_calls" not in message:
                message["content"] = ""
            choice: Object = {"index": index, "message": message, "logprobs": None, "finish_reason": end}
            if body.logprobs:
                choice["logprobs"] = modern(told[index], self._raw)
            choices.append(choice)
        answer = {**self._head("chat.completion"), "choices": choices, "usage": writing.usage}
        if body.prompt_logprobs is not None:
            prompt = await scored(self._writer, writing.prompts[0], body.prompt_logprobs)
            answer["prompt_logprobs"] = prompt_told(prompt)
        return answer

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The answer in pieces, as events."""
        writing, body = self.writing, self._body
        head = self._head("chat.completion.chunk")
        usage: dict[str, Any] = {"usage": None} if self.usage else {}

        def chunk(index: int, delta: Object, finish: str | None = None, told: Sequence[Told] = ()) -> Object:
            logprobs = modern(told, self._raw) if body.logprobs and told else None
            choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            return {**head, "choices": [choice], **usage}

        def plain(index: int) -> Pattern:
            return Pattern(lambda text: chunk(index, {"content": text}))

        patterns = [plain(index) for index in range(len(writing.made))]
        for index in range(len(writing.made)):
            yield event(chunk(index, {"role": "assistant", "content": "", "refusal": None}))
        async for index, delta, finish, tokens in self.pieces():
            if not tokens and delta.keys() == {"content"}:
                yield patterns[index].event(delta["content"])
            else:
                yield event(chunk(index, delta, finish, tokens))
        if self.usage:
            yield event({**head, "choices": [], "usage": writing.usage})

    def _head(self, what: str) -> Object:
        writing = self.writing
        return {"id": writing.id, "object": what, "created": writing.created, "model": self._writer.name}


def _add(message: Object, delta: Object) -> None:
    """Puts a piece of an answer behind what there is of it."""
    if "content" in delta:
        message["content"] = (message["content"] or "") + delta["content"]
    for call in delta.get("tool_calls", ()):
        calls = message.setdefault("tool_calls", [])
        if call["index"] == len(calls):
            calls.append({"id": call["id"], "type": "function", "function": {"name": "", "arguments": ""}})
        function = calls[call["index"]]["function"]
        function["name"] += call["function"].get("name", "")
        function["arguments"] += call["function"].get("arguments", "")

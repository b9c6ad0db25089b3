"""/v1/responses: the plain part of OpenAI's newer API, texts and functions, by what answers chats."""

import secrets
import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from pydantic import Field

from limelight.serve.api import bodies as b
from limelight.serve.api.answers import Object, event
from limelight.serve.api.chat import Chatting
from limelight.serve.api.shelf import Writer


class Item(b.Body):
    """A message of a conversation."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: b.Text | Annotated[list["Part"], Field(min_length=1)]
    id: b.Name | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None
    phase: None = None


class Part(b.Body):
    """A part of a message."""

    type: Literal["input_text", "output_text"]
    text: b.Text
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    logprobs: list[Any] | None = None


class Call(b.Body):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: b.Name
    name: b.Name
    arguments: b.Text
    id: b.Name | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class CallOutput(b.Body):
    """What a call came to."""

    type: Literal["function_call_output"]
    call_id: b.Name
    output: b.Text
    id: b.Name | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class Tool(b.Function):
    """A function."""

    type: Literal["function"]


class ToolName(b.FunctionName):
    """The function that must be called."""

    type: Literal["function"]


class Schema(b.JsonSchema):
    """What a schema describes."""

    type: Literal["json_schema"]


class TextShape(b.Body):
    """What shape a text has."""

    format: Annotated[b.TextFormat | b.JsonObjectFormat | Schema, Field(discriminator="type")] | None = None
    verbosity: Literal["medium"] | None = None


class Respond(b.Labels):
    """What is to be answered."""

    input: b.Text | Annotated[list[Item | Call | CallOutput], Field(min_length=1)]
    instructions: b.Text | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: b.Unit | None = None
    text: TextShape | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolName | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    stream_options: b.StreamOptions | None = None
    store: Literal[False] | None = None
    background: Literal[False] | None = None
    truncation: Literal["disabled"] | None = None
    service_tier: Literal["auto", "default"] | None = None
    include: Annotated[list[Any], Field(max_length=0)] | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: b.Name | None = None
    prompt_cache_key: b.Name | None = None

    @property
    def chat(self) -> b.Chat:
        """The same, as a conversation."""
        shape = None if self.text is None else self.text.format
        choice = self.tool_choice
        return b.Chat(
            model=self.model,
            user=self.user,
            messages=self._messages(),
            max_completion_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            response_format=b.JsonSchemaFormat(
                type="json_schema",
                json_schema=b.JsonSchema.model_validate(
                    {"name": shape.name, "schema": shape.schema_, "strict": shape.strict}
                ),
            )
            if isinstance(shape, Schema)
            else shape,
            tools=[
                b.Tool(type="function", function=b.Function(**tool.model_dump(exclude={"type"})))
                for tool in self.tools or ()
            ]
            or None,
            tool_choice=b.ToolChoice(type="function", function=b.FunctionName(name=choice.name))
            if isinstance(choice, ToolName)
            else choice,
            parallel_tool_calls=self.parallel_tool_calls if self.tools else None,
        )

    def _messages(self) -> list[b.Message]:
        found = [] if self.instructions is None else [b.Message(role="system", content=self.instructions)]
        if isinstance(self.input, str):
            return [*found, b.Message(role="user", content=self.input)]
        for item in self.input:
            if isinstance(item, CallOutput):
                found.append(b.Message(role="tool", tool_call_id=item.call_id, content=item.output))
            elif isinstance(item, Item):
                parts = [item.content] if isinstance(item.content, str) else [part.text for part in item.content]
                found.append(b.Message(role=item.role, content="".join(parts)))
            else:
                call = b.ToolCall(id=item.call_id, function=b.Called(name=item.name, arguments=item.arguments))
                if found and found[-1].tool_calls:
                    found[-1].tool_calls.append(call)
                else:
                    found.append(b.Message(role="assistant", tool_calls=[call]))
        return found


class Responding:
    """One request."""

    def __init__(self, id: str, writer: Writer, body: Respond) -> None:
        """See `Chatting`."""
        self.chatting = Chatting(id, writer, body.chat)
        self._id = id
        self._writer = writer
        self._body = body
        self._created = int(time.time())

    async def whole(self) -> Object:
        """The answer: what its pieces come to."""
        await self.chatting.writing.begin()
        response: Object = {}
        async for piece in self._pieces():
            response = piece.get("response", response)
        return response

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The answer in pieces, as events."""
        async for piece in self._pieces():
            yield event(piece, piece["type"])

    async def _pieces(self) -> AsyncGenerator[Object, None]:
        number = -1

        def piece(kind: str, **what: Any) -> Object:
            nonlocal number
            number += 1
            return {"type": kind, "sequence_number": number, **what}

        begun = self._response([], None, None)
        yield piece("response.created", response=begun)
        yield piece("response.in_progress", response=begun)
        items: list[Object] = []
        text: str | None = None
        place: Object = {}
        finish = "stop"
        async for _, delta, end, _ in self.chatting.pieces():
            new, calls = delta.get("content"), delta.get("tool_calls", ())
            last = end is not None
            finish = end or finish
            if new or (last and text is None and not items):  # an answer of nothing is a message, too
                if text is None:
                    text, place = "", {"item_id": _id("msg"), "output_index": len(items), "content_index": 0}
                    item = {**_message(place["item_id"], "", "stop"), "status": "in_progress", "content": []}
                    yield piece("response.output_item.added", output_index=len(items), item=item)
                    yield piece("response.content_part.added", **place, part=_part(""))
                if new:
                    text += new
                    yield piece("response.output_text.delta", **place, delta=new, logprobs=[])
            if text is not None and (last or calls):
                items.append(_message(place["item_id"], text, finish))
                yield piece("response.output_text.done", **place, text=text, logprobs=[])
                yield piece("response.content_part.done", **place, part=_part(text))
                yield piece("response.output_item.done", output_index=place["output_index"], item=items[-1])
                text = None
            for call in calls:
                where = {"output_index": len(items)}
                item = _call(_id("fc"), call, "")
                arguments = call["function"]["arguments"]
                yield piece("response.output_item.added", **where, item={**item, "status": "in_progress"})
                which = {**where, "item_id": item["id"]}
                yield piece("response.function_call_arguments.delta", **which, delta=arguments)
                yield piece("response.function_call_arguments.done", **which, name=item["name"], arguments=arguments)
                items.append({**item, "arguments": arguments})
                yield piece("response.output_item.done", **where, item=items[-1])
        response = self._response(items, finish, self.chatting.writing.usage)
        yield piece(f"response.{response['status']}", response=response)

    def _response(self, items: list[Object], finish: str | None, usage: Object | None) -> Object:
        body = self._body
        status = "in_progress" if finish is None else "incomplete" if finish == "length" else "completed"
        shape = None if body.text is None or body.text.format is None else body.text.format
        choice = body.tool_choice or "auto"
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "model": self._writer.name,
            "output": items,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": False,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "text": {
                "format": {"type": "text"} if shape is None else shape.model_dump(by_alias=True, exclude_none=True)
            },
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
            "tools": [tool.model_dump() for tool in body.tools or ()],
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": "disabled",
            "metadata": body.metadata or {},
            **({} if body.user is None else {"user": body.user}),
            **({} if usage is None else {"usage": _usage(usage)}),
        }


def _part(text: str) -> Object:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(id: str, text: str, finish: str) -> Object:
    status = "incomplete" if finish == "length" else "completed"
    return {"id": id, "type": "message", "role": "assistant", "status": status, "content": [_part(text)]}


def _call(id: str, call: Object, arguments: str) -> Object:
    name = call["function"]["name"]
    made = {"id": id, "type": "function_call", "call_id": call["id"], "name": name, "arguments": arguments}
    return {**made, "status": "completed"}


def _id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(12)}"


def _usage(usage: Object) -> Object:
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": usage["prompt_tokens"] - cached},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }

"""Requests that are kept for a while, so that their answers can be looked into and had again."""

import json
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import Field

from limelight.serve.api.answers import Object
from limelight.serve.api.bodies import Body
from limelight.serve.api.errors import ApiError
from limelight.serve.worker import Worker, heed

if TYPE_CHECKING:
    from limelight import Model
    from limelight.look import SeenAnswer
    from limelight.serve.api.writing import Writing
    from limelight.serve.choice import Choice
    from limelight.serve.runner import Ask

AGE = 3600.0
"""Seconds after which what is kept is thrown away."""

Level = Literal["message", "sentence", "word"]


class Look(Body):
    """What is asked about an answer: all of it, or one of its words or sentences, by its number from 1 or its text.

    by: what of the prompt is judged. check: whether the words that are named are held against others.
    """

    choice: Annotated[int, Field(ge=0)] = 0
    word: Annotated[str, Field(max_length=1000)] | None = None
    sentence: Annotated[str, Field(max_length=10_000)] | None = None
    by: Level = "word"
    check: bool = True


@dataclass(frozen=True)
class Kept:
    """A request: what was asked of the engine, and what came of it. messages: of a conversation, as its template was
    given them."""

    writing: "Writing"
    messages: Sequence[Mapping[str, Any]] | None
    labels: Mapping[str, Any]
    since: float

    def choice(self, index: int) -> "tuple[Ask, Choice]":
        """What was asked and what came of it. Raises ApiError if there is no such choice."""
        if not index < len(self.writing.made):
            raise ApiError(f"there is no choice {index}: this request has {len(self.writing.made)}", param="choice")
        return self.writing.asks[index], self.writing.made[index]

    def about(self) -> Object:
        """The request as an object."""
        writing = self.writing
        choices = [
            {
                "index": index,
                "prompt_tokens": list(ask.prompt),
                "seed": ask.seed,
                "tokens": made.ids,
                "text": made.text,
                "finish_reason": made.finish,
            }
            for index, (ask, made) in enumerate(zip(writing.asks, writing.made, strict=True))
        ]
        head = {"id": writing.id, "object": "request", "created": writing.created, "model": writing.writer.name}
        return {**head, **self.labels, "messages": self.messages, "choices": choices}


@dataclass
class Keep:
    """The last `most` requests, for `AGE` seconds; in memory alone."""

    most: int
    _kept: "OrderedDict[str, Kept]" = field(default_factory=OrderedDict)

    def put(self, writing: "Writing", messages: Sequence[Mapping[str, Any]] | None = None, **labels: Any) -> None:
        """Keeps a request from now on."""
        if self.most:
            told = {name: value for name, value in labels.items() if value is not None}
            self._kept[writing.id] = Kept(writing, messages, told, time.monotonic())
            self._forget()

    def get(self, id: str) -> Kept:
        """A request. Raises ApiError for one that is not kept, or not any longer."""
        self._forget()
        if id not in self._kept:
            why = (
                "it is too old, or was never here" if self.most else "start the server with --keep N to have them kept"
            )
            raise ApiError(f"no request {id!r} is kept: {why}", status=404, code="request_not_found")
        return self._kept[id]

    @property
    def ids(self) -> list[str]:
        """All of them, the latest first."""
        self._forget()
        return list(reversed(self._kept))

    def _forget(self) -> None:
        now = time.monotonic()
        while self._kept and (len(self._kept) > self.most or next(iter(self._kept.values())).since + AGE < now):
            self._kept.popitem(last=False)


async def again(kept: Kept) -> Object:
    """Writes a request's texts once more; whether they are the same tokens."""
    from limelight.serve.api.writing import Writing
    from limelight.serve.choice import Choice

    before = kept.writing
    made = [Choice(each.tokenizer, each.stops, each.after, each.special) for each in before.made]
    writing = Writing(before.id, before.writer, before.prompts, before.asks, made, before.created)
    await writing.begin()
    async for _ in writing.steps():
        pass
    same = [new.ids[: len(old.ids)] == old.ids for new, old in zip(made, before.made, strict=True)]
    return {"id": before.id, "object": "request.replay", "same": all(same), "tokens": [each.ids for each in made]}


async def look(kept: Kept, asked: Look, worker: Worker) -> Object:
    """What in the prompt made the model give an answer, found out in this worker's thread."""
    if asked.word is not None and asked.sentence is not None:
        raise ApiError("word and sentence ask about two things; give one of them", param="word")
    ask, made = kept.choice(asked.choice)
    writer = kept.writing.writer
    answer = _answer(made)
    if not answer:
        raise ApiError("this answer has no tokens to look at", param="choice")

    def work() -> Object:
        seen = _watched(writer.model).look_generated(ask.prompt, answer, kept.messages)
        return {**_about(kept, asked), **_told(seen, asked), "page": _page(kept, seen)}

    writer.looking += 1
    try:
        return await worker.do(work)
    finally:
        writer.looking -= 1


def _answer(made: "Choice") -> list[int]:
    """An answer's tokens, without what ended it and what stands behind its text."""
    ids = list(made.ids)
    if ids and ids[-1] in made.tokenizer.eos:
        ids.pop()
    return ids


def _watched(model: "Model") -> "Model":
    """A twin that can be given up whenever it reads."""
    from limelight.look.record import heedful, twin

    return replace(model, network=heedful(twin(model.network), heed, deep=False))


def _about(kept: Kept, asked: Look) -> Object:
    head = {"id": kept.writing.id, "object": "request.look", "model": kept.writing.writer.name}
    return {**head, "choice": asked.choice, "by": asked.by}


def _page(kept: Kept, seen: "SeenAnswer") -> str | None:
    """What shows the same on the page, behind its address; None for a conversation that it does not know to show."""
    if kept.messages is None:
        return f"#{urlencode({'text': seen.text})}"
    if any(message["role"] not in ("user", "assistant") for message in kept.messages):
        return None
    turns = [(message["role"][0], message["content"]) for message in kept.messages]
    return f"#{urlencode({'mode': 'ask', 'talk': json.dumps([*turns, ('a', seen.answer)])})}"


def _told(seen: "SeenAnswer", asked: Look) -> Object:
    from limelight.look.plain import plain

    part = asked.sentence if asked.word is None else asked.word
    of: Level = "sentence" if asked.word is None else "word"
    which = int(part) if part is not None and part.isascii() and part.isdecimal() else part
    found = seen.importance(which, of=of, by=asked.by, check=asked.check)
    told: Object = {"answer": seen.answer, "importance": found.to_json()}
    if part is None:
        matrix = seen.matrix("sentence", "message" if asked.by == "message" else "sentence")
        sides = {"rows": plain(matrix.rows), "columns": plain(matrix.columns)}
        told["matrix"] = {**sides, "losses": matrix.values.tolist()}
    return told

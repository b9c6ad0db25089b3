"""/v1/completions: texts continued, as OpenAI's first API has it."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

from limelight.serve.api.answers import Object, Pattern, event
from limelight.serve.api.bodies import Complete
from limelight.serve.api.errors import ApiError, unsupported
from limelight.serve.api.grammar import constraint
from limelight.serve.api.logprobs import legacy, prompt_told
from limelight.serve.api.shelf import Writer
from limelight.serve.api.writing import plan, scored
from limelight.serve.choice import Told

LENGTH = 16
"""Tokens that are written where nobody says how many, as OpenAI has it."""


class Completing:
    """One request."""

    def __init__(self, id: str, writer: Writer, body: Complete) -> None:
        """Makes the prompts, which may take a while. Raises ApiError or LimelightError for what cannot be done."""
        if body.best_of not in (None, body.n or 1):
            raise unsupported("best_of", "is not offered beyond n; leave it out")
        if body.stream and body.prompt_logprobs is not None:
            raise unsupported("prompt_logprobs", "is not offered in a stream; leave one of them out")
        self._body = body
        self._writer = writer
        self._given, prompts = _prompts(writer, body)
        for prompt in prompts:
            writer.check(prompt, "prompt")
        self.usage = body.usage
        self.writing = plan(
            id,
            writer,
            body,
            prompts,
            max_tokens=LENGTH if body.max_tokens is None else body.max_tokens,
            logprobs=body.logprobs,
            constraint=constraint(writer, body.response_format),
        )

    @property
    def texts(self) -> list[str]:
        """The prompts."""
        return self._given

    async def whole(self) -> Object:
        """The answer."""
        writing, body = self.writing, self._body
        await writing.begin()
        told: list[list[Told]] = [[] for _ in writing.made]
        async for index, _, tokens in writing.steps():
            told[index] += tokens
        n, choices = body.n or 1, []
        for number, prompt in enumerate(writing.prompts):
            before = await self._before(prompt)
            for copy in range(n):
                made = writing.made[number * n + copy] if writing.made else None
                found = told[number * n + copy] if made else []
                choices.append(self._choice(number * n + copy, number, made.text if made else "", before, found))
                choices[-1]["finish_reason"] = made.finish if made else "length"
        return {**self._head, "choices": choices, "usage": writing.usage}

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The answer in pieces, as events."""
        writing, body = self.writing, self._body
        n = body.n or 1
        usage: dict[str, Any] = {"usage": None} if self.usage else {}

        def chunk(choice: Object, finish: str | None) -> Object:
            return {**self._head, "choices": [{**choice, "finish_reason": finish}], **usage}

        def plain(index: int) -> Pattern:
            return Pattern(lambda text: chunk(self._choice(index, index // n, text, None, []), None))

        patterns = [plain(index) for index in range(len(writing.made))] if body.logprobs is None else []
        for number, prompt in enumerate(writing.prompts if body.echo else ()):
            before = await self._before(prompt)
            for copy in range(n):
                choice = self._choice(number * n + copy, number, "", before, [])
                yield event(chunk(choice, None if writing.made else "length"))
        async for index, piece, tokens in writing.steps():
            finish = writing.made[index].finish
            if patterns and finish is None:
                yield patterns[index].event(piece)
            else:
                yield event(chunk(self._choice(index, index // n, piece, None, tokens), finish))
        if self.usage:
            yield event({**self._head, "choices": [], "usage": writing.usage})

    @property
    def _head(self) -> Object:
        writing = self.writing
        name = self._writer.name
        return {"id": writing.id, "object": "text_completion", "created": writing.created, "model": name}

    async def _before(self, prompt: Sequence[int]) -> list[Told] | None:
        """The prompt's tokens, where they are asked for."""
        body = self._body
        if body.prompt_logprobs is None and not (body.echo and body.logprobs is not None):
            return [] if body.echo else None
        return await scored(self._writer, prompt, max(body.prompt_logprobs or 0, body.logprobs or 0))

    def _choice(self, index: int, number: int, text: str, before: list[Told] | None, told: list[Told]) -> Object:
        body = self._body
        echoed = body.echo and before is not None
        front = self._given[number] if echoed else ""
        choice: Object = {"index": index, "text": front + text, "logprobs": None}
        if body.logprobs is not None:
            whole = legacy(told, len(self._given[number]) if body.echo else 0)
            if echoed:
                whole = {name: [*value, *whole[name]] for name, value in legacy(before or []).items()}
            choice["logprobs"] = whole
        if body.prompt_logprobs is not None and before is not None:
            choice["prompt_logprobs"] = prompt_told(before)
        return choice


def _prompts(writer: Writer, body: Complete) -> tuple[list[str], list[list[int]]]:
    """The prompts as texts and as tokens."""
    tokenizer = writer.model.tokenizer
    given = body.prompt if isinstance(body.prompt, list) else [body.prompt]
    if given and isinstance(given[0], int):
        given = [given]
    texts, prompts = [], []
    for each in given:
        if isinstance(each, str):
            if not each and not tokenizer.prefix:
                raise ApiError("the prompt is empty; give at least one character to continue", param="prompt")
            texts.append(each)
            prompts.append([*tokenizer.prefix, *tokenizer.encode(each).ids])
        else:
            assert isinstance(each, list)
            writer.check(each, "prompt")
            texts.append(tokenizer.decode(each))
            prompts.append(list(each))
    return texts, prompts

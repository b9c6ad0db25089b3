"""From a request to the texts that answer it: what is asked of the engine, and what came of it."""

import secrets
import time
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from limelight.decode import Rules
from limelight.decode.processors import Bias
from limelight.serve.api.bodies import Drawing
from limelight.serve.api.errors import ApiError
from limelight.serve.choice import FLOOR, Choice, Told
from limelight.serve.runner import Ask, Job
from limelight.text.stream import TextStream

if TYPE_CHECKING:
    from limelight.decode import Constraint
    from limelight.models.api import Decoder
    from limelight.serve.api.shelf import Writer

PIECE = 128
"""Tokens of a prompt that are scored at once, so that those who run are not held up."""


@dataclass
class Writing:
    """Texts that are being written: `n` for each prompt, one prompt's behind the other's.

    made: what becomes of each. seeds: by which each is drawn. created: seconds since 1970.
    """

    id: str
    writer: "Writer"
    prompts: Sequence[Sequence[int]]
    asks: list[Ask]
    made: list[Choice]
    created: int
    job: Job | None = None

    async def begin(self) -> None:
        """Lines the texts up. Raises ApiError if too many wait."""
        if self.asks:
            self.job = await self.writer.runner.submit(self.asks)

    async def steps(self) -> AsyncIterator[tuple[int, str, list[Told]]]:
        """(which, piece, tokens), whenever something became certain, and when a text ends."""
        if self.job is None:
            return
        try:
            async for index, token in self.job:
                made = self.made[index]
                if made.finish is not None:
                    continue
                piece = made.push(token)
                if made.finish is not None:
                    self.job.ended(index)
                told = made.take()
                if piece or told or made.finish is not None:
                    yield index, piece, told
        finally:
            self.job.close()

    @property
    def _cached(self) -> int:
        """How many tokens of the prompts were known from before."""
        copies = len(self.made) // len(self.prompts)
        return sum(request.cached for request in self.job.requests[:: copies or 1]) if self.job else 0

    @property
    def usage(self) -> dict[str, Any]:
        """How many tokens it took."""
        prompt, made = sum(map(len, self.prompts)), sum(choice.tokens for choice in self.made)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": made,
            "total_tokens": prompt + made,
            "prompt_tokens_details": {"cached_tokens": self._cached},
        }


def plan(
    id: str,
    writer: "Writer",
    body: Drawing,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int | None,
    logprobs: int | None,
    constraint: "Callable[[], Constraint] | None" = None,
    special: bool = False,
    stops: Sequence[str] = (),
) -> Writing:
    """What is to be written behind each prompt.

    max_tokens: None, as many as there is room for; 0, nothing. logprobs: see `Engine.submit`. special: whether the
    text shows special tokens. stops: strings that end it besides those of the body. Raises ApiError, RequestError.
    """
    tokenizer, vocab = writer.model.tokenizer, writer.model.network.vocab
    # A shape has an end, behind which nothing else may come.
    stop = set() if body.ignore_eos and constraint is None else set(tokenizer.eos)
    stop.update(body.stop_token_ids or ())
    strings = [*body.stops, *stops]
    stop.update(writer.specials[each] for each in strings if each in writer.specials)
    if not all(strings):
        raise ApiError("stop holds an empty string; give at least one character, or leave it out", param="stop")
    rules = Rules((Bias(*bias),)) if (bias := _bias(body, vocab)) else Rules()
    asks, made = [], []
    first = secrets.randbits(31) if body.seed is None else body.seed % 2**63
    for prompt in prompts:
        most = writer.longest - len(prompt) + 1 if max_tokens is None else max_tokens
        if most < 1:
            continue
        for number in range(body.n or 1):
            ask = Ask(
                prompt,
                most,
                (first + number) % 2**63,
                body.sampling,
                frozenset(stop),
                logprobs,
                rules,
                constraint,
            )
            asks.append(ask)
            made.append(Choice(tokenizer, strings, after=prompt, special=special))
    return Writing(id, writer, prompts, asks, made, int(time.time()))


def _bias(body: Drawing, vocab: int) -> tuple[tuple[int, ...], tuple[float, ...]] | None:
    if not body.logit_bias:
        return None
    ids = []
    for name in body.logit_bias:
        if not name.isascii() or not name.isdecimal() or int(name) >= vocab:
            raise ApiError(
                f"logit_bias names the token {name!r}; a token is a whole number from 0 to {vocab - 1}",
                param="logit_bias",
            )
        ids.append(int(name))
    return tuple(ids), tuple(body.logit_bias.values())


async def scored(writer: "Writer", prompt: Sequence[int], best: int) -> list[Told]:
    """The tokens of a prompt, each with its log-probability behind those before it, and the `best` likeliest there."""
    found = await writer.runner.aside(lambda: _scores(writer.model.network, prompt, best))
    tokenizer = writer.model.tokenizer
    spell, stream, offset = tokenizer.spell, TextStream(tokenizer), 0
    told = []
    for id, (value, rank, likeliest) in zip(prompt, [(None, None, ()), *found], strict=True):
        told.append(Told(id, spell(id), value, tuple((i, spell(i), v) for i, v in likeliest), offset, rank))
        offset += len(stream.push(id))
    return told


Scores = list[tuple[float, int, list[tuple[int, float]]]]


def _scores(network: "Decoder", prompt: Sequence[int], best: int) -> Generator[None, None, Scores]:
    """(log-probability, rank, likeliest) of each token but the first; gives way between pieces."""
    import torch

    state = network.start(1, len(prompt))
    state.give(torch.tensor([len(prompt)]))
    found: Scores = []
    for start in range(0, len(prompt) - 1, PIECE):
        piece = list(prompt[start : min(start + PIECE, len(prompt) - 1)])
        logits = network.step(torch.tensor([piece], device=network.device), state)[0]  # [T, V]
        scores = logits.log_softmax(-1).clamp(min=FLOOR)
        next = torch.tensor(prompt[start + 1 : start + 1 + len(piece)], device=scores.device)
        chosen = scores.gather(1, next[:, None])  # [T, 1]
        ranks = (scores > chosen).sum(-1) + 1
        values, ids = scores.topk(best)
        for row in range(len(piece)):
            likeliest = list(zip(ids[row].tolist(), values[row].tolist(), strict=True))
            found.append((float(chosen[row]), int(ranks[row]), likeliest))
        yield
    return found

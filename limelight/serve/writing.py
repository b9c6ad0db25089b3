"""Text on the page while it is written: each token of it beside what else was likely in its place."""

import math
import secrets
from collections.abc import AsyncGenerator, Sequence

from limelight.decode import Rules, Sampling
from limelight.serve.choice import Choice
from limelight.serve.runner import Ask, Runner
from limelight.serve.worker import Line
from limelight.text.tokenizer import Tokenizer
from limelight.views.parts import spelled

SHOWN = 5
"""Likely tokens that are told of each place."""


async def written(
    runner: Runner,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    most: int,
    sampling: Sampling,
    stop: Sequence[str] = (),
) -> AsyncGenerator[Line, None]:
    """What is written behind a prompt (token ids), token by token. Raises what `Runner.submit` raises.

    piece: the text that became certain. finish: why it ended, "stop" or "length"; None while it goes on. likely: the
    `SHOWN` likeliest tokens in this place, each a text and its probability by the model itself, before any setting;
    chosen: the place among them of the one that was written, None if it is not among them. most, sampling, stop: see
    `limelight.Model.stream`.
    """
    seed = secrets.randbits(31) if sampling.seed is None else sampling.seed
    job = await runner.submit([Ask(prompt, most, seed, sampling, tokenizer.eos, SHOWN, Rules(), None)])
    made = Choice(tokenizer, stop, after=prompt)
    try:
        async for _, token in job:
            piece = made.push(token)
            ids = [id for id, _ in token.best]
            yield {
                "piece": piece,
                "likely": [[spelled(id, tokenizer), math.exp(logprob)] for id, logprob in token.best],
                "chosen": ids.index(token.id) if token.id in ids else None,
                "finish": made.finish,
            }
            if made.finish is not None:
                return
    finally:
        job.close()

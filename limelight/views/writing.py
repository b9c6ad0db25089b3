"""Text while it is written: each piece of it beside what else was likely in its place."""

import math
from collections.abc import Iterator, Sequence

from limelight.decode import Engine, Sampling, StopStrings
from limelight.models.api import Decoder
from limelight.text.stream import TextStream
from limelight.text.tokenizer import Tokenizer
from limelight.views.numbers import Numbers
from limelight.views.parts import spelled

SHOWN = 5
"""Likely tokens that are told of each place."""


def written(
    network: Decoder,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    most: int,
    sampling: Sampling,
    stop: Sequence[str] = (),
) -> Iterator[Numbers]:
    """What the network writes behind a prompt (token ids), token by token.

    piece: the text that became certain. finish: why it ended, "stop", "length" or "context"; None while it goes on.
    likely: the `SHOWN` likeliest tokens in this place, each a text and its probability by the model itself, before any
    setting; chosen: the place among them of the one that was written, None if it is not among them. most, sampling,
    stop: see `limelight.Model.stream`, which raises the same.
    """
    engine = Engine(network, rows=1)
    request = engine.submit(prompt, max_tokens=most, sampling=sampling, stop=tokenizer.eos, logprobs=SHOWN)
    stream, stops = TextStream(tokenizer, after=prompt), StopStrings(stop)
    for step in engine.run():
        for token in step:
            piece = "" if token.finish == "stop" else stops.push(stream.push(token.id))
            if token.finish is not None and not stops.stopped:
                piece += stops.push(stream.close()) + stops.flush()
            ids = [id for id, _ in token.best]
            yield {
                "piece": piece,
                "likely": [[spelled(id, tokenizer), math.exp(logprob)] for id, logprob in token.best],
                "chosen": ids.index(token.id) if token.id in ids else None,
                "finish": "stop" if stops.stopped else token.finish,
            }
            if stops.stopped:
                engine.cancel(request)

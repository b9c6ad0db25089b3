"""How good a model is that fills gaps."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from limelight.errors import RequestError
from limelight.tasks.evaluation.measures import Measure, Progress, accuracy, perplexity
from limelight.train.gaps import LONGEST, chosen, windowed

if TYPE_CHECKING:
    from limelight import MaskedModel

TOGETHER = 8  # windows that are read at once


@dataclass(frozen=True)
class JudgedFills:
    """Of the tokens that were masked, some in each window of a text: perplexity, to so many equally likely ones what
    the model is unsure between comes; accuracy: how often the likeliest is right."""

    windows: int
    gaps: int
    perplexity: Measure
    accuracy: Measure


def judge_fills(model: "MaskedModel", texts: Iterable[str], progress: Progress | None = None) -> JudgedFills:
    """A model that fills gaps, on texts of which 15 % of the tokens are masked, always the same ones, in windows of at
    most 128. Raises RequestError for no text."""
    tokenizer, network = model.tokenizer, model.network
    longest, rows = min(LONGEST, network.context), list[list[int]]()
    for text in texts:
        rows += [window for window, words in windowed(tokenizer, text, longest) if words]
    if not rows:
        raise RequestError("there is no text to judge by")
    assert tokenizer.mask is not None
    losses, hits = list[list[float]](), list[bool]()
    with torch.inference_mode():
        for at in range(0, len(rows), TOGETHER):
            read, places = [torch.tensor(row) for row in rows[at : at + TOGETHER]], list[tuple[int, int]]()
            for row, tokens in enumerate(read):
                draw = np.random.default_rng((0, at + row))
                places += [(row, int(place)) for place in chosen(tokens.numpy(), tokenizer, draw)]
            of, where = torch.tensor(places).T
            tokens = pad_sequence(read, batch_first=True)
            right = tokens[of, where]
            tokens[of, where] = tokenizer.mask
            states = network.read(tokens.to(network.device), torch.tensor([len(row) for row in read]))
            scores = network.head(states[of, where]).float().log_softmax(-1).cpu()
            hits += (scores.argmax(-1) == right).tolist()
            lost = (-scores.gather(1, right[:, None])[:, 0]).tolist()
            losses += [
                [loss for loss, (row, _) in zip(lost, places, strict=True) if row == r] for r in range(len(read))
            ]
            if progress is not None:
                progress(min(at + TOGETHER, len(rows)), len(rows))
    unsure = perplexity([sum(each) for each in losses], [len(each) for each in losses])
    return JudgedFills(len(rows), len(hits), unsure, accuracy(hits, [True] * len(hits)))

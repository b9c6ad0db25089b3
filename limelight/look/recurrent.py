"""Which words made a recurrent model say a word.

It has no attention that could be blocked, so each word is left out and what follows moves up (Li et al., 2016).
"""

import random
import statistics
from collections.abc import Callable, Collection, Sequence

import torch

from limelight.look.check import CHECKED, DRAWS, Check
from limelight.look.importance import Measured
from limelight.look.target import Question
from limelight.look.text import Reading
from limelight.look.variants import BATCH, ROWS, Progress
from limelight.models.api import Decoder

METHOD = "leave-one-out"


def measure(network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None) -> Measured:
    """The fall in log-odds when a word is left out, for each word before word number `target`, and the check of it."""
    words = [word.tokens for word in reading.words[:target]]

    def falls(sets: Sequence[Sequence[int]]) -> list[float]:
        without = [{place for i in each for place in words[i]} for each in sets]
        whole, *changed = _odds(network, reading.tokens, question, [set(), *without], progress)
        return [whole - value for value in changed]

    values = falls([(i,) for i in range(target)])
    return Measured(METHOD, tuple(values), checked(values[:-1], falls))


def checked(values: Sequence[float], falls: Callable[[Sequence[Sequence[int]]], list[float]]) -> Check | None:
    """What is lost without the words ranked highest together, and without as many random ones.

    falls: for sets of words, given by their places, by how much the log-odds fall without each set. None where there
    are too few words to compare.
    """
    k = min(CHECKED, len(values) // 2)
    if k == 0:
        return None
    top = tuple(sorted(range(len(values)), key=lambda i: -values[i])[:k])
    generator = random.Random(0)
    draws = [generator.sample(range(len(values)), k) for _ in range(DRAWS)]
    top_drop, *drops = falls([top, *draws])
    return Check(
        k=k,
        top=top,
        top_drop=top_drop,
        random_drop=statistics.fmean(drops),
        random_sd=statistics.stdev(drops),
        best=top,
        best_drop=top_drop,
    )


@torch.inference_mode()
def _odds(
    network: Decoder,
    tokens: Sequence[int],
    question: Question,
    without: Sequence[Collection[int]],
    progress: Progress | None,
) -> list[float]:
    """The log-odds of the word in question, each time without the tokens at some places in front of it."""
    tokens = tokens[: question.at[-1] + 1]
    rows = max(1, min(ROWS, BATCH // len(tokens)))
    found: list[float] = []
    while len(found) < len(without):
        batch = without[len(found) : len(found) + rows]
        read = torch.zeros(len(batch), len(tokens), dtype=torch.int64)
        for row, gone in enumerate(batch):
            kept = [token for place, token in enumerate(tokens) if place not in gone]
            read[row, : len(kept)] = torch.tensor(kept)
        moved = torch.tensor([len(gone) for gone in batch])
        state = network.start(len(batch), len(tokens))
        hidden = network.read(read.to(network.device), state, len(tokens) - moved)  # [B, T, W]
        places = torch.tensor(question.at)[None] - moved[:, None]  # [B, n]
        logits = network.logits(hidden[torch.arange(len(batch))[:, None], places])
        found += question.odds(logits).tolist()
        if progress is not None:
            progress(len(found), len(without))
    return found

"""Which words made a recurrent model say a word.

It has no attention that could be blocked, so each word is left out and what follows moves up (Li et al., 2016).
"""

from collections.abc import Collection, Sequence

import torch

from limelight.errors import RequestError
from limelight.look.target import Question
from limelight.look.text import Reading
from limelight.look.variants import BATCH, ROWS, Progress
from limelight.models.api import Decoder

METHOD = "leave-one-out"


def leave_one_out(
    network: Decoder, reading: Reading, target: int, question: Question, method: str, progress: Progress | None
) -> list[float]:
    """The fall in log-odds when a word is left out, for each word before word number `target`.

    Raises RequestError for every other method.
    """
    if method != METHOD:
        raise RequestError(f"this model is recurrent and has no attention for {method}; its method is {METHOD}")
    words = [set(word.tokens) for word in reading.words[:target]]
    whole, *changed = _odds(network, reading.tokens, question, [set(), *words], progress)
    return [whole - value for value in changed]


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

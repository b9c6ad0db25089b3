"""Running a text many times over, each time deaf to something else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limelight.look.target import Question
from limelight.models.api import Decoder
from limelight.nn.state import State

BATCH = 4096
"""The most positions read in one step, so that memory does not grow with the number of variants."""

ROWS = 64
"""The most variants in one step."""

Progress = Callable[[int, int], None]
"""Called with the number of variants done and the number in all."""


@dataclass(frozen=True)
class Deaf:
    """One variant. No position behind a blocked range may attend to it, in any layer, so every position stays where
    it was; `without` is left out, and what follows moves up. instead: tokens, no more than are left out, that take the
    place of `without`."""

    blocked: tuple[range, ...] = ()
    without: range = range(0)
    instead: tuple[int, ...] = ()

    @property
    def shift(self) -> int:
        """By how many places what follows moves up."""
        return len(self.without) - len(self.instead)


def drops(
    network: Decoder,
    tokens: Sequence[int],
    question: Question,
    variants: Sequence[Deaf],
    progress: Progress | None = None,
) -> list[float]:
    """By how much each variant lowers the log-odds; the whole text is run along with them."""
    whole, *changed = odds(network, tokens, question, [Deaf(), *variants], progress)
    return [whole - value for value in changed]


@torch.inference_mode()
def odds(
    network: Decoder,
    tokens: Sequence[int],
    question: Question,
    variants: Sequence[Deaf],
    progress: Progress | None = None,
) -> list[float]:
    """The log-odds of the word in question for each variant of the text.

    The text is read once. Variants share its cache up to the first position that they could change, and read on from
    there in batches, each row with a mask of its own.
    """
    tokens = list(tokens[: question.at[-1] + 1])
    state = network.start(1, len(tokens))
    network.read(torch.tensor([tokens], device=network.device), state)
    starts = [_first_change(variant, question.at[0]) for variant in variants]
    order = sorted(range(len(variants)), key=starts.__getitem__)
    found: dict[int, float] = {}
    while order:
        start = starts[order[0]]
        rows = max(1, min(ROWS, BATCH // (len(tokens) - start)))
        batch, order = order[:rows], order[rows:]
        logits = _read_on(network, tokens, start, state, question, [variants[i] for i in batch])
        found.update(zip(batch, question.odds(logits).tolist(), strict=True))
        if progress is not None:
            progress(len(found), len(variants))
    return [found[i] for i in range(len(variants))]


def _first_change(variant: Deaf, asked: int) -> int:
    """The first position that the variant may change, or the first one asked for, whose logits are wanted anyway."""
    changes = [part.stop for part in variant.blocked]
    if variant.without:
        changes.append(variant.without.start)
    return min([*changes, asked - variant.shift])


def _read_on(
    network: Decoder, tokens: list[int], start: int, state: State, question: Question, variants: Sequence[Deaf]
) -> Tensor:
    """Logits [B, n, V] at the question's n places, reading each variant from `start` on."""
    length = len(tokens)
    state = state.select(torch.zeros(len(variants), dtype=torch.int64))
    state.rewind(start)
    read = torch.zeros(len(variants), length - start, dtype=torch.int64)
    visible = torch.ones(len(variants), length - start, length, dtype=torch.bool)
    counts = torch.empty(len(variants), dtype=torch.int64)
    places = torch.empty(len(variants), len(question.at), dtype=torch.int64)
    for row, variant in enumerate(variants):
        gone = variant.without
        kept = [*tokens[start : gone.start], *variant.instead, *tokens[gone.stop :]] if gone else tokens[start:]
        counts[row] = len(kept)
        read[row, : len(kept)] = torch.tensor(kept)
        places[row] = torch.tensor(question.at) - variant.shift - start
        for part in variant.blocked:
            shift = variant.shift if gone and part.start >= gone.stop else 0
            visible[row, max(0, part.stop - shift - start) :, part.start - shift : part.stop - shift] = False
    hidden = network.read(read.to(network.device), state, counts, visible)  # [B, T, W]
    rows = torch.arange(len(variants))[:, None]
    return network.logits(hidden[rows, places])

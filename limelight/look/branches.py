"""Changed texts read one after another, each from where it parts from the one before it.

Sorted like the words of a dictionary, texts that begin alike follow each other; so whatever several of them begin with
is read once, and of the text that all of them were made from only what stands behind a change.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limelight.look.record import stack_of
from limelight.models.api import Decoder, embedded
from limelight.nn.state import State

if TYPE_CHECKING:
    from limelight.look.session import Variant

WORTHWHILE = 64
"""Positions read in one step beyond which more of them save no time."""

ROOM = 2048
"""The most positions that texts read side by side have room for, so that memory does not grow with their number."""


@dataclass(frozen=True)
class Branch:
    """A changed text. tokens: its ids. index: where each of them stands; what is hidden is passed over. asked: the
    places in `tokens` whose next tokens are asked for."""

    tokens: list[int]
    index: list[int]
    asked: list[int]

    def begins_as(self, other: "Branch") -> int:
        """How many tokens from the first on it shares with another, up to the first one asked for: its answer is
        wanted."""
        most = min(len(other.tokens), self.asked[0])
        pairs = zip(self.tokens[:most], self.index[:most], other.tokens, other.index, strict=False)
        return next((i for i, (token, at, its, its_at) in enumerate(pairs) if token != its or at != its_at), most)


def branch(variant: "Variant", tokens: Sequence[int], at: Sequence[int]) -> Branch:
    """The text that a variant makes of `tokens`; at: the old places whose next tokens are asked for."""
    changes = sorted(
        [(span, new, False) for span, new in variant.edits] + [(part, (), True) for part in variant.blocked],
        key=lambda change: change[0].start,
    )
    ids: list[int] = []
    index: list[int] = []
    begin = shorter = 0
    asked = list(at)
    for span, new, hidden in changes:
        ids += [*tokens[begin : span.start], *new]
        index += range(begin - shorter, span.start - shorter + len(new))
        begin = span.stop
        gone = len(span) - len(new)
        if not hidden:
            shorter += gone
        asked = [place - gone if span.stop <= old + 1 else place for place, old in zip(asked, at, strict=True)]
    ids += tokens[begin:]
    index += range(begin - shorter, len(tokens) - shorter)
    return Branch(ids, index, asked)


def read(
    network: Decoder, text: Branch, state: State, branches: Sequence[Branch], most: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Reads changed texts, at most `most` side by side: the places of some of them, and their last hidden states
    [b, n, W] where is asked.

    text: what they were made from; state: behind it, with room for twice as much.
    """
    base = [*zip(text.tokens, text.index, strict=True)]
    order = sorted(range(len(branches)), key=lambda i: _compared(branches[i], base))
    before = [text, *(branches[i] for i in order[:-1])]
    shared = {i: branches[i].begins_as(previous) for i, previous in zip(order, before, strict=True)}
    left = sum(len(branches[i].tokens) - shared[i] for i in order)
    rows = max(1, min(most, ROOM // state.capacity, round(WORTHWHILE * len(order) / left), len(order)))
    queues = [order[len(order) * row // rows : len(order) * (row + 1) // rows] for row in range(rows)]
    side = state.select(torch.zeros(rows, dtype=torch.int64))
    shared |= {queue[0]: branches[queue[0]].begins_as(text) for queue in queues[1:]}  # each row begins with the text
    natural = all(one.index[-1] == len(one.index) - 1 for one in branches)
    while any(queues):
        if not all(queues):
            rest = [row for row, queue in enumerate(queues) if queue]
            side, queues = side.select(torch.tensor(rest)), [queues[i] for i in rest]
        places = [queue.pop(0) for queue in queues]
        yield places, _step(network, side, [branches[i] for i in places], [shared[i] for i in places], natural)


def _step(network: Decoder, state: State, new: Sequence[Branch], starts: Sequence[int], natural: bool) -> Tensor:
    counts = torch.tensor([len(one.tokens) - start for one, start in zip(new, starts, strict=True)])
    tokens = torch.zeros(len(new), int(counts.max()), dtype=torch.int64)
    index = torch.zeros_like(tokens)
    for row, (one, start) in enumerate(zip(new, starts, strict=True)):
        tokens[row, : counts[row]] = torch.tensor(one.tokens[start:])
        index[row, : counts[row]] = torch.tensor(one.index[start:])
    state.lengths = torch.tensor(starts)
    x = embedded(network.embed, tokens.to(network.device))
    hidden = stack_of(network).decode(x, state, counts, None, index=None if natural else index)
    asked = torch.tensor([[place - start for place in one.asked] for one, start in zip(new, starts, strict=True)])
    found: Tensor = hidden[torch.arange(len(new))[:, None], asked]
    return found


def _compared(one: Branch, base: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What texts are sorted by: what stands in the text that they were made from comes first."""
    pairs = zip(one.tokens, one.index, base, strict=False)
    return [(-1, -1) if (token, at) == own else (token, at) for token, at, own in pairs]

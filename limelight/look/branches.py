"""Changed texts read one after another, each from where it parts from the one before it.

Sorted like the words of a dictionary, texts that begin alike follow each other; so whatever several of them begin with
is read once, and of the text that all of them were made from only what stands behind a change. Where short texts are
`Kept`, what is changed in one place more goes on from there.
"""

from collections.abc import Iterator, Mapping, Sequence
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


class Kept:
    """Texts that were read together, a row of `state` each, from which others that begin like them go on; none before
    the first are read, or where they do not fit into `ROOM`. The text that they were made from is the first."""

    def __init__(self) -> None:
        self.state: State | None = None
        self._rows: dict[tuple[tuple[int, int], ...], int] = {}

    def put(self, state: State, branches: Sequence[Branch]) -> None:
        """Keeps texts, in the order of a state's rows."""
        self.state = state
        for row, one in enumerate(branches):
            pairs = tuple(zip(one.tokens, one.index, strict=True))
            for n in range(len(pairs) + 1):
                self._rows.setdefault(pairs[:n], row)

    def begun(self, one: Branch) -> tuple[int, int]:
        """The row that begins most like a text, and how many tokens they share up to the first one asked for."""
        pairs = tuple(zip(one.tokens, one.index, strict=True))
        most = range(min(len(pairs), one.asked[0]), -1, -1)
        return next((self._rows[pairs[:n]], n) for n in most if pairs[:n] in self._rows)


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
    network: Decoder,
    text: Branch,
    state: State,
    branches: Sequence[Branch],
    most: int,
    kept: Kept | None = None,
) -> Iterator[tuple[list[int], Tensor]]:
    """Reads changed texts, at most `most` side by side: the places of some of them, and their last hidden states
    [b, n, W] where is asked.

    text: what they were made from; state: behind it, with room for twice as much. kept: the first of them that share
    nothing but that are kept there, and later ones go on from them.
    """
    base = [*zip(text.tokens, text.index, strict=True)]
    order = sorted(range(len(branches)), key=lambda i: _compared(branches[i], base))
    before = [text, *(branches[i] for i in order[:-1])]
    shared = {i: branches[i].begins_as(previous) for i, previous in zip(order, before, strict=True)}
    left = sum(len(branches[i].tokens) - shared[i] for i in order)
    natural = all(one.index[-1] == len(one.index) - 1 for one in branches)

    def step(side: State, places: list[int], starts: Mapping[int, int]) -> Tensor:
        return _step(network, side, [branches[i] for i in places], [starts[i] for i in places], natural)

    if kept is not None and kept.state is None and 1 < len(order) < ROOM // state.capacity:
        alone = {i: branches[i].begins_as(text) for i in order}
        if alone == shared:
            side, row = state.select(torch.zeros(1 + len(order), dtype=torch.int64)), 1
            for places in _lots(branches, order, alone, most):
                part = side.narrow(row, row + len(places))
                hidden = step(part, places, alone)
                side.put(row, part)
                row += len(places)
                yield places, hidden
            kept.put(side, [text, *(branches[i] for i in order)])
            return
    if kept is not None and kept.state is not None:
        begun = {i: kept.begun(branches[i]) for i in order}
        starts = {i: start for i, (_, start) in begun.items()}
        if sum(len(branches[i].tokens) - starts[i] for i in order) < left:
            for places in _lots(branches, order, starts, most):
                side = kept.state.select(torch.tensor([begun[i][0] for i in places]))
                yield places, step(side, places, starts)
            return
    rows = max(1, min(most, ROOM // state.capacity, round(WORTHWHILE * len(order) / left), len(order)))
    queues = [order[len(order) * row // rows : len(order) * (row + 1) // rows] for row in range(rows)]
    side = state.select(torch.zeros(rows, dtype=torch.int64))
    shared |= {queue[0]: branches[queue[0]].begins_as(text) for queue in queues[1:]}  # each row begins with the text
    while any(queues):
        if not all(queues):
            rest = [row for row, queue in enumerate(queues) if queue]
            side, queues = side.select(torch.tensor(rest)), [queues[i] for i in rest]
        places = [queue.pop(0) for queue in queues]
        yield places, step(side, places, shared)


def _lots(
    branches: Sequence[Branch], order: Sequence[int], starts: Mapping[int, int], most: int
) -> Iterator[list[int]]:
    """Places of texts to be read together, about as many positions each time; the last of them ends a lot."""
    counts = {i: len(branches[i].tokens) - starts[i] for i in order}
    whole = sum(counts.values())
    lots = max(1, round(whole / WORTHWHILE))
    lot: list[int] = []
    done = told = 0
    for i in order:
        lot.append(i)
        done += counts[i]
        if len(lot) == most or done * lots >= whole * (told + 1):
            yield lot
            lot, told = [], done * lots // whole


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

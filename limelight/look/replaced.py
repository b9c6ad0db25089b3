"""One part of one layer replaced by something else at a time, and what that does to an answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limelight.look.parts import activations, change
from limelight.look.question import Question
from limelight.look.record import block_of, heads_of, stack_of, twin
from limelight.look.session import Progress
from limelight.models.api import Decoder
from limelight.nn.positions import Positions
from limelight.nn.stack import in_turn
from limelight.nn.state import State

POSITIONS = 1024
"""The most positions of changed texts that are read in one step: products are large, and little is read twice."""

Spot = tuple[slice, slice]
"""The places and the features of a part that are replaced together."""


@dataclass(frozen=True)
class Spots:
    """What is replaced together, a row of the result each: for heads the features of one head, everywhere; for the
    other parts all features at some places."""

    part: str
    places: tuple[range, ...]

    def of(self, network: Decoder, layer: int, length: int) -> list[Spot]:
        """The places and the features of each spot of a layer."""
        if self.part != "heads":
            return [(slice(span.start, span.stop), slice(None)) for span in self.places]
        width = block_of(network, layer).attention.head_width
        heads = range(heads_of(network, layer))
        return [(slice(0, length), slice(head * width, (head + 1) * width)) for head in heads]


@torch.inference_mode()
def replaced(
    network: Decoder,
    tokens: Sequence[int],
    spots: Spots,
    instead: Sequence[Tensor],
    question: Question,
    progress: Progress | None = None,
) -> Tensor:
    """The question's value, asked at the text's last place, when a part is replaced at one spot of one layer: [n, m].

    instead: what stands in the part's place, for each layer (and for "residual" behind the last one), something that
    [T, ·] can be made of. Neither the layers in front of the one that changes nor the places before the first one that
    changes are run again. progress: called with the spots done and in all.
    """
    parts = {"residual", spots.part}
    state = network.start(1, len(tokens))
    found, hidden = activations(network, torch.tensor([tokens]), parts, lambda made: made[0], state=state)
    whole = float(question.value(network.logits(hidden[:, -1:]))[0])
    length, layers, last = len(tokens), len(instead), len(found["residual"]) - 2
    made: list[list[float]] = []
    for layer, own in enumerate(found[spots.part]):
        rest = _From(network, layer, found["residual"][layer], state)
        put = _Put(instead[layer].to(own).expand_as(own))
        if spots.part != "residual":
            change(block_of(rest.network, 0), spots.part, put)
        asked = spots.of(network, min(layer, last), length)
        row = [whole] * len(asked)
        waiting = sorted((start, i) for i, spot in enumerate(asked) if (start := put.changes(own, spot)) is not None)
        while waiting:
            start = waiting[0][0]
            batch = [i for _, i in waiting[: max(1, POSITIONS // (length - start))]]
            waiting = waiting[len(batch) :]
            put.spots, put.start = [asked[i] for i in batch], start
            stream = rest.read(start, len(batch), put if spots.part == "residual" else None)
            values = question.value(network.logits(stream[:, -1:])).tolist()
            for i, value in zip(batch, values, strict=True):
                row[i] = value
            if progress is not None:
                progress((layer + 1) * len(asked) - len(waiting), layers * len(asked))
        made.append(row)
    return torch.tensor(made)


class _From:
    """A text read on from the stream [T, W] in front of one layer, the layers before it left out.

    state: of the network behind the text, as it is without any change.
    """

    def __init__(self, network: Decoder, layer: int, stream: Tensor, state: State) -> None:
        self.network = twin(network)
        self._stack = stack_of(self.network)
        self._stack.embeddings = _AsItIs()  # type: ignore[assignment]
        self._stack.blocks = nn.ModuleList(list(self._stack.blocks)[layer:])
        self._stack.run = in_turn
        self._stream = stream
        self._state = State(state.parts[layer:], state.lengths, state.capacity, text=state.text)

    def read(self, start: int, rows: int, put: "_Put | None") -> Tensor:
        """The final states [rows, T − start, W] of as many copies, from a place on; put: changes the stream first."""
        state = self._state.select(torch.zeros(rows, dtype=torch.int64))
        state.rewind(start)
        stream = self._stream[start:].expand(rows, -1, -1)
        lengths = torch.full((rows,), len(self._stream))
        return self._stack.decode(stream if put is None else put(stream), state, None, None, lengths)


class _Put:
    """Puts something, [T, ·], into what a part puts out for several rows from place `start` on, at another spot of
    each."""

    def __init__(self, new: Tensor) -> None:
        self._new = new
        self.spots: list[Spot] = []
        self.start = 0

    def changes(self, own: Tensor, spot: Spot) -> int | None:
        """The first place that becomes another at a spot; None where none does."""
        places = (own[spot] != self._new[spot]).any(-1).nonzero()
        return spot[0].start + int(places[0]) if len(places) else None

    def __call__(self, made: Tensor) -> Tensor:
        made = made.clone()
        for row, (places, features) in zip(made, self.spots, strict=False):
            stop, start = places.stop - self.start, max(0, places.start - self.start)
            row[start:stop, features] = self._new[self.start + start : self.start + stop, features]
        return made


class _AsItIs(nn.Module):
    """Stands where embeddings do: what is read is the stream already."""

    def forward(self, x: Tensor, positions: Positions, types: Tensor | None = None) -> Tensor:
        return x

"""Many texts looked at: read together, answered one by one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from limelight.look.parts import activations
from limelight.models.api import Decoder

WINDOW = 64
"""Texts that are taken at a time, so that those of one length are read together."""

POSITIONS = 4096
"""The most positions read in one step, padding counted too."""

KEPT = 512
"""The most where what lies between the layers is kept."""


def windows(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in lots of `WINDOW`, none of which is asked for before it is needed."""
    waiting = iter(texts)
    while lot := list(islice(waiting, WINDOW)):
        yield lot


def batches(lengths: Sequence[int], positions: int = POSITIONS) -> Iterator[list[int]]:
    """The places of texts of those lengths, at most so many positions at a time, the short ones first."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[place] > positions:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def together(
    network: Decoder,
    texts: Sequence[Sequence[int]],
    parts: Sequence[str],
    take: Callable[[int, dict[str, list[Tensor]], Tensor], None],
) -> None:
    """Reads texts, given as token ids of any lengths, in batches; with each comes what it would give alone.

    take: called with a text's place, what the layers' `parts` put out, [T, ·] each (see `activations`), and the final
    hidden states [T, W]. Raises RequestError for parts of a recurrent model.
    """
    for batch in batches([len(ids) for ids in texts], KEPT if parts else POSITIONS):
        counts = torch.tensor([len(texts[place]) for place in batch])
        tokens = pad_sequence([torch.tensor(texts[place]) for place in batch], batch_first=True)
        if parts:
            found, hidden = activations(network, tokens, parts, lambda made: made, counts)
        else:
            with torch.no_grad():
                found, hidden = {}, network.read(tokens.to(network.device), counts=counts)
        for row, (place, count) in enumerate(zip(batch, counts.tolist(), strict=True)):
            own = {part: [layer[row, :count] for layer in layers] for part, layers in found.items()}
            take(place, own, hidden[row, :count])

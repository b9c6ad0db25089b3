"""What a model remembers of the sequences it is reading: the same verbs for transformers and recurrent models."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from limelight.errors import RequestError


class Part(Protocol):
    """One layer's share of a state; every tensor in it has rows in dimension 0."""

    def select(self, rows: Tensor) -> "Part":
        """The given rows, in that order."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        ...


class State:
    """The memory of a batch of sequences between steps.

    parts: one per layer. lengths: [B] int64 on CPU, tokens seen by each row. room: the most that a row can hold.
    """

    def __init__(self, parts: Sequence[Part], lengths: Tensor, room: int) -> None:
        self.parts = tuple(parts)
        self.lengths = lengths
        self.room = room

    def select(self, rows: Tensor) -> "State":
        """A state of the given rows (int64 on CPU), in that order; rows may repeat."""
        return State([part.select(rows) for part in self.parts], self.lengths[rows], self.room)

    def fork(self, n: int) -> "State":
        """Each row n times, copies side by side."""
        return self.select(torch.arange(len(self.lengths)).repeat_interleave(n))

    def rewind(self, to: int | Tensor) -> None:
        """Forgets everything after `to` tokens (one number, or one for each row).

        Raises RequestError if a row has not seen as many.
        """
        lengths = torch.as_tensor(to, dtype=torch.int64).expand_as(self.lengths)
        if bool((lengths > self.lengths).any()) or bool((lengths < 0).any()):
            raise RequestError(
                f"cannot rewind to {lengths.tolist()}: the rows have seen {self.lengths.tolist()} tokens"
            )
        self.lengths = lengths.clone()

    @property
    def nbytes(self) -> int:
        """Bytes set aside for the whole state."""
        return sum(part.nbytes for part in self.parts)

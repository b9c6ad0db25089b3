"""Prompts that are being read, and how much of each is read at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from limelight.decode.request import Request
    from limelight.nn.state import State

PADDING = 1 / 3, 64
"""Of what is computed for prompts that are read together, the most that may be padding: a share, or so many positions.
"""


@dataclass(frozen=True, slots=True)
class Joining:
    """Prompts that are being read, those with least to read first. cache: that of those who run, where the state is
    rows of it, behind theirs; None if the state has memory of its own."""

    requests: list[Request]
    state: State
    cache: State | None

    def without(self, request: Request) -> Joining | None:
        """The others, in memory of their own, if there are any."""
        keep = [row for row, each in enumerate(self.requests) if each is not request]
        if not keep:
            return None
        return Joining([self.requests[row] for row in keep], self.state.select(torch.tensor(keep)), None)


def fitting(unread: list[int], most: int) -> int:
    """How many tokens to read of each text, of which so many are unread: as many as leave little padding."""
    share, few = PADDING
    for size in sorted({min(most, each) for each in unread}, reverse=True):
        padded = sum(size - min(each, size) for each in unread)
        if padded <= max(share * size * len(unread), few):
            return size
    return 1

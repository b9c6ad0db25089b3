"""What was read before and need not be read again: keys and values of how texts begin."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from hashlib import blake2b
from itertools import takewhile
from typing import TYPE_CHECKING

import torch

from limelight.nn.cache import copy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from limelight.decode.request import Request
    from limelight.nn.state import State

BLOCK = 4
"""Tokens whose keys and values are kept together. What a text has in common with others is found in whole blocks, and
what is left of the last one is read again; with every turn of a chat, so blocks are short."""


class Prefixes:
    """Keys and values by blocks of tokens, each under a name that stands for all tokens of the text up to its end.

    So texts that begin alike share their blocks, as in a tree; copies go in and come out, and nobody refers to a block.
    When there are too many, those used longest ago go first, a text's last blocks before its first ones.
    """

    def __init__(self) -> None:
        self._blocks: OrderedDict[bytes, Tensor] = OrderedDict()  # [BLOCK, F]; used lately: at the end
        self._each = 0  # bytes of a block

    @property
    def positions(self) -> int:
        """How many tokens' keys and values are kept."""
        return BLOCK * len(self._blocks)

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return self._each * len(self._blocks)

    def known(self, request: Request) -> int:
        """How many tokens of the request's text need not be read; never all, since behind the last it is continued."""
        return BLOCK * sum(1 for _ in self._found(request))

    def begin(self, request: Request, state: State, row: int) -> None:
        """Lets a row of a state, which has read nothing, begin with what is known of the request's text."""
        names = list(self._found(request))
        if names:
            first = self._blocks[names[0]]
            prefix = first.new_empty(BLOCK * len(names), first.shape[1])
            for block, name in zip(torch.split(prefix, BLOCK), names, strict=True):
                copy(block, self._blocks[name])
            state.begin(row, prefix)
            self._touch(names)

    def keep(self, request: Request, state: State, row: int, positions: int) -> None:
        """Keeps what a row of a state has read of the request's text, and in all no more than so many positions."""
        names = _names(request)[: max(0, min(int(state.lengths[row]), positions)) // BLOCK]
        known = sum(1 for _ in takewhile(self._blocks.__contains__, names))
        if known < len(names):
            read = state.prefix(row, known * BLOCK, len(names) * BLOCK)
            for name, block in zip(names[known:], torch.split(read, BLOCK), strict=True):
                self._blocks[name] = torch.empty_like(block)  # so that each can go by itself
                copy(self._blocks[name], block)
                self._each = block.nbytes
        self._touch(names)
        self.shrink(positions)

    def shrink(self, positions: int) -> None:
        """Lets go of what was not used for longest, until so many positions are left."""
        while self.positions > max(0, positions):
            self._blocks.popitem(last=False)

    def _found(self, request: Request) -> Iterator[bytes]:
        return takewhile(self._blocks.__contains__, _names(request)[: (len(request.tokens) - 1) // BLOCK])

    def _touch(self, names: list[bytes]) -> None:
        for name in reversed(names):
            self._blocks.move_to_end(name)


def shared(one: Request, other: Request) -> int:
    """How many tokens, in whole blocks, both texts begin with."""
    return BLOCK * sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(_names(one), _names(other), strict=False))
    )


def _names(request: Request) -> list[bytes]:
    """Of all whole blocks of the request's text; a text only grows, so names once made hold."""
    names = request.blocks
    for start in range(len(names) * BLOCK, len(request.tokens) - BLOCK + 1, BLOCK):
        before = names[-1] if names else b""
        tokens = array("q", request.tokens[start : start + BLOCK]).tobytes()
        names.append(blake2b(before + tokens, digest_size=16).digest())
    return names

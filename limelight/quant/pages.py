"""Memory for packed weights, in large pages where the system has them.

A token reads all weights once, so that with pages of 4 KiB the processor looks up some 25,000 addresses a token; with
Linux's transparent huge pages, of 2 MiB, it writes a quarter faster. Those a program has to ask for, and they begin at
multiples of 2 MiB: so the matrices of a model, most of which are smaller, stand side by side in arenas.
"""

import mmap
from contextlib import suppress
from math import prod
from threading import Lock

import torch
from torch import Tensor

LINE = 64  # bytes; where a matrix begins
ARENA = 64 << 20
SMALL = 64 << 10  # bytes; less than that is not worth a place in an arena

_HUGE = getattr(mmap, "MADV_HUGEPAGE", None)


class Arenas:
    """Hands out memory; an arena goes when the last tensor in it is gone."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._arena: mmap.mmap | None = None  # the one that is being filled
        self._taken = ARENA  # bytes of it

    def empty(self, *shape: int) -> Tensor:
        """Bytes that nothing was written to yet: uint8 `shape`."""
        size = prod(shape)
        if _HUGE is None or size < SMALL:
            return torch.empty(shape, dtype=torch.uint8)
        if size > ARENA // 2:
            return torch.frombuffer(_mapped(size), dtype=torch.uint8).view(shape)
        with self._lock:
            if self._arena is None or self._taken + size > ARENA:
                self._arena, self._taken = _mapped(ARENA), 0
            arena, at = self._arena, self._taken
            self._taken += -(-size // LINE) * LINE
        return torch.frombuffer(arena, dtype=torch.uint8, count=size, offset=at).view(shape)


def _mapped(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


empty = Arenas().empty

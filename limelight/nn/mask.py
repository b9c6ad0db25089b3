"""What each position may attend to, decided once per step and never inside attention.

A mask has three outcomes: nothing (all keys are visible), causal without a tensor, or a tensor, which may differ
from row to row.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """Keys that queries may see.

    causal: query i sees keys 0..i; only where queries and keys are the same positions.
    allowed: bool, broadcastable to [B, H, T, S]; True may be seen. None: everything (or causal).
    """

    causal: bool = False
    allowed: Tensor | None = None

    def tensor(self, queries: int, keys: int, device: torch.device) -> Tensor | None:
        """The mask as a tensor [.., T, S], or None where all is visible; for explicit cores."""
        if self.causal:
            return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
        return self.allowed


OPEN = Mask()
CAUSAL = Mask(causal=True)


class CausalMasks:
    """The masks of one step over a growing sequence, one for each window that a stack's layers use.

    starts: [B] int64 on CPU, tokens already seen by each row. queries: T, tokens in this step.
    visible: [B, T, S] bool; an extra limit on what each query may see, on top of causality. Every query must be
    left at least its own position.
    """

    def __init__(self, starts: Tensor, queries: int, visible: Tensor | None, device: torch.device) -> None:
        self.starts = starts
        self.queries = queries
        self.visible = visible
        self.device = device
        self.first = int(starts[0])
        self.even = bool((starts == starts[0]).all())
        self.keys = int(starts.max()) + queries
        self._made: dict[int | None, Mask] = {}

    def for_window(self, window: int | None) -> Mask:
        """The mask for layers that see the last `window` positions (None: all)."""
        if window is not None and window >= self.keys:
            window = None
        if window not in self._made:
            self._made[window] = self._make(window)
        return self._made[window]

    def _make(self, window: int | None) -> Mask:
        if window is None and self.visible is None and self.even:
            if self.queries == 1:
                return OPEN
            if self.first == 0:
                return CAUSAL
        starts = self.starts[:1] if self.even else self.starts
        query = (starts[:, None] + torch.arange(self.queries)).to(self.device)[:, :, None]  # [B or 1, T, 1]
        key = torch.arange(self.keys, device=self.device)  # [S]
        allowed = key <= query  # [B or 1, T, S]
        if window is not None:
            allowed &= key > query - window
        if self.visible is not None:
            allowed = allowed & self.visible.to(self.device)
        return Mask(allowed=allowed[:, None])

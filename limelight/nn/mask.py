"""What each position may attend to, decided once per step and never inside attention.

A mask has three outcomes: nothing (all keys are visible), causal without a tensor, or a tensor, which may differ
from row to row.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from limelight.errors import RequestError

SPARED = 64
"""Keys that take about as long to read as torch takes to call an operator."""


@dataclass(frozen=True)
class Mask:
    """Keys that queries may see.

    causal: query i sees keys 0..i; only where queries and keys are the same positions.
    allowed: bool, broadcastable to [B, H, T, S]; True may be seen. None: everything (or causal).
    lengths: [B] int64 on CPU, where all that is hidden of each row is what stands behind its length. spans: of each
    row, the first key that its one query sees and the one behind the last, where going by these is less work than
    reading all keys.
    """

    causal: bool = False
    allowed: Tensor | None = None
    lengths: Tensor | None = None
    spans: tuple[tuple[int, int], ...] | None = None

    @property
    def keys(self) -> int | None:
        """How many keys there are, if there is a tensor."""
        return None if self.allowed is None else self.allowed.shape[-1]

    def tensor(self, queries: int, keys: int, device: torch.device) -> Tensor | None:
        """The mask as a tensor [.., T, S], or None where all is visible; for explicit cores."""
        if self.causal:
            return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
        return self.allowed

    def rows(self, start: int, stop: int, keys: int) -> "Mask":
        """What the queries from `start` up to `stop` may see of the first `keys` keys."""
        if self.allowed is None:
            return Mask(self.causal)
        queries = slice(start, stop) if self.allowed.shape[-2] > 1 else slice(None)
        return Mask(self.causal, self.allowed[..., queries, :keys])

    def select(self, rows: Tensor) -> "Mask":
        """The mask of the given rows of the batch, in that order."""
        allowed = None if self.allowed is None else self.allowed[rows]
        return Mask(self.causal, allowed, None if self.lengths is None else self.lengths[rows])


OPEN = Mask()
CAUSAL = Mask(causal=True)


class FullMasks:
    """The mask of a stack that reads a whole text in both directions: all real positions, and nothing behind them.

    lengths: [B] int64 on CPU, the real positions of each row. keys: S, the longest. visible: [B, S] bool; positions
    that nobody may see are False. Raises RequestError if a row is left with nothing to see.
    """

    def __init__(self, lengths: Tensor, keys: int, visible: Tensor | None, device: torch.device) -> None:
        self.place = 0
        self.keys = keys
        prefix = lengths if visible is None else None
        self._made: dict[int, Mask] = {}
        self.index = torch.arange(keys, device=device)
        padded = bool((lengths < keys).any())
        if not padded and visible is None:
            self.mask = Mask(lengths=prefix)
            return
        allowed = self.index < lengths.to(device)[:, None]  # [B, S]
        if visible is not None:
            allowed = allowed & visible.to(device)
        if not bool((lengths > 0).all()) or (visible is not None and not bool(allowed.any(-1).all())):
            raise RequestError("a source text has no word left that the model may see; leave at least one")
        self.mask = Mask(allowed=allowed[:, None, None], lengths=prefix)

    def for_window(self, window: int | None) -> Mask:
        """The mask for layers that see the positions less than `window` away, on both sides (None: all)."""
        if window is None or window >= self.keys:
            return self.mask
        if window not in self._made:
            near = (self.index - self.index[:, None]).abs() < window  # [T, S]
            if self.mask.allowed is not None:
                near = near & self.mask.allowed  # [B, 1, T, S]
                # A hidden position far from all others sees itself, lest its numbers be none.
                near = near | (~near.any(-1, keepdim=True) & torch.eye(self.keys, dtype=torch.bool, device=near.device))
            self._made[window] = Mask(allowed=near, lengths=self.mask.lengths)
        return self._made[window]


class CausalMasks:
    """The masks of one step over a growing sequence, one for each window that a stack's layers use.

    starts: [B] int64 on CPU, tokens already seen by each row. queries: T, tokens in this step.
    visible: [B, T, S] bool; an extra limit on what each query may see, on top of causality. Every query must be
    left at least its own position.

    place: where the step begins, one number or [B]. index: [T] or [B, T], the positions of the queries; both on the
    device.
    """

    def __init__(self, starts: Tensor, queries: int, visible: Tensor | None, device: torch.device) -> None:
        self.starts = starts
        self.queries = queries
        self.visible = visible
        self.device = device
        before = starts.tolist()
        self.first = before[0]
        self.even = before.count(self.first) == len(before)
        self.keys = max(before) + queries
        self.place: int | Tensor
        if self.even:
            self.place, self.index = self.first, torch.arange(self.first, self.keys, device=device)
        else:
            self.place = starts.to(device)
            self.index = self.place[:, None] + torch.arange(queries, device=device)
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
        query = self.index.view(-1, self.queries, 1)  # [B or 1, T, 1]
        key = torch.arange(self.keys, device=self.device)  # [S]
        allowed = key <= query  # [B or 1, T, S]
        if window is not None:
            allowed &= key > query - window
        if self.visible is not None:
            allowed = allowed & self.visible.to(self.device)
        return Mask(allowed=allowed[:, None], spans=self._spans(window))

    def _spans(self, window: int | None) -> tuple[tuple[int, int], ...] | None:
        """What each row's one query sees, if that spares reading SPARED keys a row, and a CPU reads them."""
        if self.queries > 1 or self.visible is not None or self.device.type != "cpu":
            return None
        ends = [start + 1 for start in self.starts.tolist()]
        spans = tuple((0 if window is None else max(0, end - window), end) for end in ends)
        return spans if sum(end - first for first, end in spans) < (self.keys - SPARED) * len(spans) else None


Masks = CausalMasks | FullMasks

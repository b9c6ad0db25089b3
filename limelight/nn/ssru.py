"""The Simpler Simple Recurrent Unit, a recurrent layer that stands where a decoder's block has self-attention."""

import torch
from torch import Tensor, nn

from limelight.errors import RequestError
from limelight.nn.cache import KVCache
from limelight.nn.mask import Mask
from limelight.nn.positions import NoRotary, Positions
from limelight.nn.unit import scan


class SSRU(nn.Module):
    """``relu(c_t)`` with ``c_t = f_t · c_{t-1} + (1 - f_t) · value(x_t)`` and ``f_t = sigmoid(gate(x_t))``.

    From Kim et al. (2019), section 3.1.

    It is called as attention is. What it keeps are the cells of all positions and not the last alone, so that a text
    can be taken back, padded and continued as one that attention reads: the cell in front of a step is found where the
    step begins. A position that none behind it may see is left out of what they inherit.
    """

    window = None

    def __init__(self, value: nn.Module, gate: nn.Module, width: int) -> None:
        super().__init__()
        self.value, self.gate = value, gate
        self.width = width
        self.rotary = NoRotary()

    def cache(self, rows: int, capacity: int, dtype: torch.dtype, device: torch.device) -> KVCache:
        """Memory for the cells of `rows` sequences; in full precision, since what one loses all that follow lose."""
        with torch.inference_mode(False):
            cells = torch.zeros(rows, 1, capacity, self.width, device=device)
            return KVCache(cells, cells.new_zeros(rows, 1, capacity, 0))

    def forward(
        self, x: Tensor, positions: Positions, mask: Mask, cache: KVCache | None, starts: int | Tensor
    ) -> Tensor:
        """x [B, T, W] → [B, T, W], behind what the cache holds before `starts`."""
        keep = self.gate(x).sigmoid()
        new = (1 - keep) * self.value(x)
        before = _before(cache, starts, x)  # [B, W]
        hidden = _hidden(mask, x.shape[1], starts)
        if hidden is None:
            cells = scan(keep, new, before)
            heard = cells
        else:
            if cache is not None:
                raise RequestError("this decoder is recurrent: what it has read cannot be hidden from later steps")
            cells = scan(keep.masked_fill(hidden, 1.0), new.masked_fill(hidden, 0.0), before)
            heard = keep * torch.cat((before[:, None], cells[:, :-1]), 1) + new
        if cache is not None:
            kept = cells.to(cache.keys.dtype)[:, None]
            cache.append(kept, kept[..., :0], starts, mask.keys)
        return heard.relu()


def _before(cache: KVCache | None, starts: int | Tensor, x: Tensor) -> Tensor:
    """The cell in front of each row's step, [B, W]; zero where a text begins."""
    zero = x.new_zeros(len(x), x.shape[2])
    if cache is None or (isinstance(starts, int) and not starts):
        return zero
    if isinstance(starts, int):
        return cache.keys[:, 0, starts - 1].to(x.dtype)
    found = cache.keys[torch.arange(len(x), device=x.device), 0, (starts - 1).clamp(min=0)].to(x.dtype)
    return torch.where((starts > 0)[:, None], found, zero)


def _hidden(mask: Mask, steps: int, starts: int | Tensor) -> Tensor | None:
    """Which of a step's positions none behind them may see, [B or 1, T, 1]; None: none is hidden.

    Raises RequestError where some may see one and others not: it has one state for all.
    """
    if mask.allowed is None or steps == 1:
        return None
    allowed = mask.allowed[:, 0]  # [B or 1, T, S]
    if isinstance(starts, int):
        allowed = allowed[..., starts : starts + steps]  # [B or 1, T, T]
    else:
        own = starts[:, None, None] + torch.arange(steps, device=starts.device)  # [B, 1, T]
        allowed = allowed.expand(len(starts), -1, -1).gather(2, own.expand(-1, steps, -1))
    later = torch.ones(steps, steps, dtype=torch.bool, device=allowed.device).tril(-1)
    seen = (allowed & later).any(1)  # [B or 1, T]
    refused = (~allowed & later).any(1)
    if bool((seen & refused).any()):
        raise RequestError("this decoder is recurrent: a word can be hidden from all that follow it, or from none")
    return refused[..., None] if bool(refused.any()) else None

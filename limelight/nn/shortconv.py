"""Short convolutions between gates (Liquid AI, 2025)."""

import torch
from torch import Tensor, nn

from limelight.nn.positions import Positions
from limelight.nn.recurrent import Tensors
from limelight.nn.unit import CausalConv, RecurrentUnit


class ShortConv(RecurrentUnit):
    """``c · conv(b · x)`` of three projections of what is read; each feature hears its own last `size` positions."""

    def __init__(self, width: int, size: int, *, bias: bool) -> None:
        super().__init__()
        self.mixed = nn.Linear(width, 3 * width, bias=bias)
        self.conv = CausalConv(width, size, bias=bias)
        self.out = nn.Linear(width, width, bias=bias)
        self.carries = ((size - 1, width),)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """It has no weights but those of its layers."""

    def read(self, x: Tensor, before: Tensors, positions: Positions) -> tuple[Tensor, Tensors]:
        b, c, value = self.mixed(x).chunk(3, -1)
        heard, seen = self.conv.read(b * value, before[0], positions.counts)
        out: Tensor = self.out(c * heard)
        return out, (seen,)

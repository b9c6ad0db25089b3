"""Recurrent networks as units of a block: torch's cells, and the minimal GRU, which a scan reads in parallel."""

import torch
from torch import Tensor, nn

from limelight.nn.positions import Positions
from limelight.nn.recurrent import Cell, RecurrentLayer, Tensors
from limelight.nn.unit import RecurrentUnit, real, scan


class Cells(RecurrentUnit):
    """One layer of torch's cells, `inner` of them, which read word by word."""

    def __init__(self, width: int, inner: int, cell: Cell) -> None:
        super().__init__()
        self.layer = RecurrentLayer(cell, width, inner)
        self.out = nn.Linear(inner, width)
        self.carries = ((inner,),) * self.layer.carries

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Nothing: all weights are its layers'."""

    def read(self, x: Tensor, before: Tensors, positions: Positions) -> tuple[Tensor, Tensors]:
        read, after = self.layer(x, tuple(tensor.to(x.dtype) for tensor in before), positions.counts)
        out: Tensor = self.out(read)
        return out, tuple(tensor.float() for tensor in after)


class MinGRU(RecurrentUnit):
    """``h_t = (1 - z_t) · h_{t-1} + z_t · new_t``, z and new from the word alone (Feng et al., 2024, section 3.1).

    Since neither asks the state, all `inner` cells read a text by a parallel scan.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate, self.new = nn.Linear(width, inner), nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)
        self.carries = ((inner,),)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Nothing: all weights are its layers'."""

    def read(self, x: Tensor, before: Tensors, positions: Positions) -> tuple[Tensor, Tensors]:
        taken = real(self.gate(x).float().sigmoid(), positions.counts)
        states = scan(1 - taken, taken * self.new(x).float(), before[0])
        out: Tensor = self.out(states.to(x.dtype))
        return out, (states[:, -1],)

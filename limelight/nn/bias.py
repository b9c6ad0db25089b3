"""What is added to scores for how far a key stands from its query; made once per step for all layers that share it."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from limelight.nn.positions import Positions


class NoBias(nn.Module):
    """Nothing is added: positions come by rotation, from vectors added to the stream, or from nowhere."""

    def forward(self, positions: Positions) -> None:
        return None


class OffsetBias(nn.Module, ABC):
    """What is added depends on the head and on how far the key stands from the query, and on nothing else."""

    @abstractmethod
    def at(self, offset: Tensor) -> Tensor:
        """[.., H] for keys that stand `offset` [..] behind the query, or before it where that is negative."""

    def forward(self, positions: Positions) -> Tensor:
        """[1 or B, H, T, S] for the queries of a step and all keys up to the last."""
        bias = self.at(offsets(positions)).movedim(-1, -3).contiguous()
        return bias if bias.dim() == 4 else bias[None]


class RelativeBias(OffsetBias):
    """A learned number for each head and each bucket of distances (T5; Raffel et al., 2020, section 2.1).

    Half of the buckets hold one distance each, the others grow logarithmically up to `farthest`, and the last holds all
    beyond. both_ways: keys behind the query have buckets of their own; otherwise they share that of distance 0.
    """

    def __init__(self, heads: int, buckets: int, farthest: int, *, both_ways: bool) -> None:
        super().__init__()
        self.buckets = buckets
        self.farthest = farthest
        self.both_ways = both_ways
        self.weight = nn.Parameter(torch.zeros(buckets, heads))

    def at(self, offset: Tensor) -> Tensor:
        return nn.functional.embedding(self._bucket(offset), self.weight)

    def _bucket(self, offset: Tensor) -> Tensor:
        buckets, first = self.buckets, torch.zeros_like(offset)
        if self.both_ways:
            buckets //= 2
            first = (offset > 0) * buckets
            distance = offset.abs()
        else:
            distance = (-offset).clamp(min=0)
        exact = buckets // 2
        growth = torch.log(distance.float() / exact) / math.log(self.farthest / exact) * (buckets - exact)
        far = (exact + growth.clamp(min=0).long()).clamp(max=buckets - 1)
        return first + torch.where(distance < exact, distance, far)


class LinearBias(OffsetBias):
    """Scores fall in proportion to the distance, each head at its own fixed rate (ALiBi; Press et al., 2022).

    scale: what the rates are multiplied by (Falcon). steepest: see `slopes_of`.
    """

    def __init__(self, heads: int, scale: float = 1.0, steepest: float = 8.0) -> None:
        super().__init__()
        self.heads = heads
        self.scale = scale
        self.steepest = steepest

    def at(self, offset: Tensor) -> Tensor:
        slopes = torch.tensor(slopes_of(self.heads, self.steepest), device=offset.device) * self.scale
        return -offset.abs()[..., None] * slopes


def slopes_of(heads: int, steepest: float) -> list[float]:
    """The rates of `heads` heads: a geometric sequence from 2^(-8 / n) down to 2^-8 for a power of two n; other numbers
    take every other rate of the next power in between (Press et al., 2022, appendix A). steepest: the 8."""
    power = 1 << (heads.bit_length() - 1)
    slopes = [2 ** (-steepest * (i + 1) / power) for i in range(power)]
    return slopes + [2 ** (-steepest * (i + 0.5) / power) for i in range(heads - power)]


def offsets(positions: Positions) -> Tensor:
    """How far each key stands behind (+) or before (-) each query: [T, S] or [B, T, S]."""
    keys = torch.arange(positions.longest, device=positions.index.device)
    return keys - positions.index[..., None]

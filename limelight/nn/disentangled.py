"""Attention that also scores what a position says against how far away another one stands (DeBERTa)."""

from typing import Any

import torch
from torch import Tensor, nn

from limelight.nn.attention import Attention
from limelight.nn.bias import offsets
from limelight.nn.mask import Mask
from limelight.nn.positions import Positions
from limelight.nn.scores import Scores


class Distances(nn.Module):
    """Learned vectors of distances, `span` before a position and `span` behind it, which all layers share.

    farthest: distances above half of the span grow logarithmically up to this one (He et al., 2023); None: each of them
    has a vector. Beyond, all share the last. norm: of the vectors.
    """

    def __init__(self, width: int, span: int, farthest: int | None, norm: nn.Module) -> None:
        super().__init__()
        self.span = span
        self.farthest = farthest
        self.weight = nn.Parameter(torch.zeros(2 * span, width))
        self.norm = norm

    def vectors(self) -> Tensor:
        """[2 · span, W]"""
        out: Tensor = self.norm(self.weight)
        return out

    def forward(self, positions: Positions) -> Tensor:
        """Which vector stands for the distance of each query to each key: [T, S] int64."""
        distance = -offsets(positions)
        if self.farthest is not None:
            middle = self.span // 2
            far = distance.abs().clamp(min=middle)
            growth = torch.log(far / middle) / torch.log(torch.tensor((self.farthest - 1) / middle)) * (middle - 1)
            distance = torch.where(far <= middle, distance, ((growth.ceil() + middle) * distance.sign()).long())
        return (distance + self.span).clamp(0, 2 * self.span - 1)


class DisentangledAttention(Attention):
    """Attention whose scores are ``q · k + q · distance_k(d) + k · distance_q(d)``, scaled together (He et al., 2021).

    d is the vector of the distance between the two positions. distances: of the vectors, a module that layers
    share. of_query, of_key: whether the second and the third part are there. distance_q, distance_k: make heads of
    the vectors; None: the layer's own q and k do.
    """

    def __init__(
        self,
        *projections: nn.Module,
        distances: Distances,
        of_query: bool,
        of_key: bool,
        distance_q: nn.Module | None,
        distance_k: nn.Module | None,
        **settings: Any,
    ) -> None:
        super().__init__(*projections, score_bias=distances, **settings)
        self.of_query, self.of_key = of_query, of_key
        self.distance_q, self.distance_k = distance_q, distance_k

    def scores(self, q: Tensor, k: Tensor, positions: Positions, mask: Mask) -> Scores:
        distances = self.score_bias
        assert isinstance(distances, Distances)
        index = positions.bias(distances)
        assert index is not None
        vectors, (B, H, T, _), S = distances.vectors()[None], q.shape, k.shape[2]
        bias = q.new_zeros(())
        if self.of_query:
            keys = self._heads((self.distance_k or self.k)(vectors), self.head_width)  # [1, H, 2 · span, D]
            bias = bias + (q @ keys.transpose(-1, -2)).gather(-1, index.expand(B, H, T, S))
        if self.of_key:
            queries = self._heads((self.distance_q or self.q)(vectors), self.head_width)
            back = (k @ queries.transpose(-1, -2)).gather(-1, index.T.expand(B, H, S, T))
            bias = bias + back.transpose(-1, -2)
        return Scores(mask, self.scale, self.cap, bias * self.scale, self.sinks)

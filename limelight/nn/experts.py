"""Feed-forwards of which each position passes only some (Shazeer et al., 2017; Fedus et al., 2022)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Router(nn.Module):
    """Scores `count` experts at each position, and chooses some.

    weight: [count, W]; it is read, and so stays as it is where layers are put into low bits: the least error could
    choose another expert. sigmoid: each score is a sigmoid (DeepSeek-V3), otherwise they are a softmax over all.
    correction: [count], added for the choice alone. groups: experts stand in so many groups, `open` of which may be
    chosen from: those whose `best` scores have the largest sum. normalised: the weights of those chosen sum to one.
    scale: what the weights are multiplied by.
    """

    def __init__(
        self,
        width: int,
        count: int,
        chosen: int,
        *,
        normalised: bool,
        scale: float = 1.0,
        sigmoid: bool = False,
        bias: bool = False,
        corrected: bool = False,
        groups: int = 1,
        open: int = 1,
        best: int = 1,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, width))
        self.bias = nn.Parameter(torch.empty(count)) if bias else None
        self.correction: Tensor | None
        self.register_buffer("correction", torch.empty(count) if corrected else None)  # no gradient reaches a choice
        self.chosen = chosen
        self.normalised = normalised
        self.scale = scale
        self.sigmoid = sigmoid
        self.groups, self.open, self.best = groups, open, best
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Small weights, no biases."""
        nn.init.normal_(self.weight, 0, 0.02, generator)
        for bias in (self.bias, self.correction):
            if bias is not None:
                nn.init.zeros_(bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, W] → the weights [N, chosen], in float32, and numbers [N, chosen] of the experts chosen."""
        logits = F.linear(x.float(), self.weight.float(), None if self.bias is None else self.bias.float())
        scores = logits.sigmoid() if self.sigmoid else logits.softmax(-1)
        ranked = scores if self.correction is None else scores + self.correction
        if self.groups > 1:
            grouped = ranked.view(len(x), self.groups, -1)  # [N, groups, ..]
            worth = grouped.topk(self.best, -1).values.sum(-1)
            closed = torch.ones_like(worth, dtype=torch.bool).scatter(-1, worth.topk(self.open, -1).indices, False)
            ranked = grouped.masked_fill(closed[..., None], float("-inf")).flatten(-2)
        chosen = ranked.topk(self.chosen, -1).indices
        weights = scores.gather(-1, chosen)
        if self.normalised:
            weights = weights / weights.sum(-1, keepdim=True)
        return weights * self.scale, chosen


class Experts(nn.Module):
    """The weighted sum of what the chosen experts make of each position; each runs on the positions that chose it.

    shared: one that all positions pass, or None. share: scores that one, whose sigmoid it is multiplied by, or None.
    """

    def __init__(
        self,
        router: Router,
        experts: Sequence[nn.Module],
        shared: nn.Module | None = None,
        share: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.router = router
        self.experts = nn.ModuleList(experts)
        self.shared = shared
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        rows = x.flatten(0, -2)  # [N, W]
        weights, chosen = self.router(rows)
        out = torch.zeros_like(rows)
        for number in chosen.unique().tolist():
            row, place = (chosen == number).nonzero(as_tuple=True)
            made = self.experts[number](rows[row]) * weights[row, place, None].to(x.dtype)
            out = out.index_add(0, row, made)
        if self.shared is not None:
            every = self.shared(rows)
            out = out + (every if self.share is None else self.share(rows).sigmoid() * every)
        return out.view(x.shape)

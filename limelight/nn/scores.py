"""How queries score keys: all that turns ``q · k`` into attention weights, in one object that every core is handed."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from limelight.nn.mask import OPEN, Mask


@dataclass(frozen=True)
class Scores:
    """``softmax(cap(q · k · scale) + bias)`` over the keys that may be seen.

    mask: which keys those are. scale: what products are multiplied by. cap: scaled products are softly limited to ±cap
    (Gemma team, 2024). bias: [B or 1, H, T, S], added to the scores (T5, ALiBi). sinks: [H], one more score for each
    head that takes its share of the weight and gives nothing (gpt-oss), so that a row sums to less than one.
    """

    mask: Mask
    scale: float
    cap: float | None = None
    bias: Tensor | None = None
    sinks: Tensor | None = None

    def weights(self, products: Tensor) -> Tensor:
        """Products q · k [B, H, T, S] → weights [B, H, T, S] in float32."""
        scores = products * self.scale
        if self.cap is not None:
            scores = (scores / self.cap).tanh() * self.cap
        if self.bias is not None:
            scores = scores + self.bias
        allowed = self.mask.tensor(scores.shape[-2], scores.shape[-1], scores.device)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, float("-inf"))
        scores = scores.float()
        if self.sinks is None:
            return scores.softmax(-1)
        sink = self.sinks.float().view(-1, 1, 1).expand(*scores.shape[:-1], 1)
        return torch.cat((scores, sink), -1).softmax(-1)[..., :-1]

    def rows(self, start: int, stop: int, keys: int) -> "Scores":
        """The scores of the queries from `start` up to `stop` against the first `keys` keys."""
        bias = None if self.bias is None else self.bias[..., start:stop, :keys]
        return replace(self, mask=self.mask.rows(start, stop, keys), bias=bias)

    def row(self, row: int, first: int, end: int) -> "Scores":
        """The scores of a row's one query against the keys from `first` up to `end`, all of which it sees."""
        bias = None if self.bias is None else self.bias[row % len(self.bias), None, :, :, first:end]
        return replace(self, mask=OPEN, bias=bias)

    def additive(self, queries: int, keys: int, device: torch.device) -> Tensor | None:
        """Bias and mask as one tensor to add to scaled products, broadcastable to [B, H, T, S]; None where all is
        visible and nothing is added."""
        allowed = self.mask.tensor(queries, keys, device)
        if self.bias is None:
            return allowed
        return self.bias if allowed is None else self.bias.masked_fill(~allowed, float("-inf"))

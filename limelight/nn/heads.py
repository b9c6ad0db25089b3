"""What stands behind the last layer and gives the answer: scores of words, of labels, of places, or one vector.

A head is called with the hidden states of the last layer. Those that answer at each position take any leading
dimensions, [.., W]; those that answer for a whole text take [B, T, W] and the rows' lengths. All answer in float32.
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pooled = Literal["first", "last", "mean", "max"]
"""How the positions of a text become one vector."""


class LMHead(nn.Module):
    """Scores for each word of the vocabulary: ``proj(hidden · scale)``, softly limited to ±cap.

    scale: of what `proj` reads (T5 with tied embeddings). cap: of the scores (Gemma 2).
    """

    def __init__(self, proj: nn.Module, *, scale: float = 1.0, cap: float | None = None) -> None:
        super().__init__()
        self.proj = proj
        self.scale = scale
        self.cap = cap

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [.., W] → logits [.., V]."""
        logits: Tensor = self.proj(hidden if self.scale == 1.0 else hidden * self.scale).float()
        return logits if self.cap is None else (logits / self.cap).tanh() * self.cap


class Hidden(nn.Module):
    """The layer that many heads have in front of their scores: ``norm(activation(dense(x)))``."""

    def __init__(self, dense: nn.Module, activation: Callable[[Tensor], Tensor], norm: nn.Module) -> None:
        super().__init__()
        self.dense = dense
        self.activation = activation
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """x [.., W] → [.., E]."""
        out: Tensor = self.norm(self.activation(self.dense(x)))
        return out


class MaskedLMHead(nn.Module):
    """Scores for the word behind a mask: ``proj(hidden(states))`` (Devlin et al., 2019)."""

    def __init__(self, hidden: nn.Module, proj: nn.Module) -> None:
        super().__init__()
        self.hidden = hidden
        self.proj = proj

    def forward(self, states: Tensor) -> Tensor:
        """Hidden states [.., W] → logits [.., V]."""
        logits: Tensor = self.proj(self.hidden(states)).float()
        return logits


class TokenClassifier(nn.Module):
    """Scores for the labels of each position; a span head is one of two labels, where it starts and where it ends.
    hidden: a layer in front, or nothing (`nn.Identity`)."""

    def __init__(self, hidden: nn.Module, proj: nn.Module) -> None:
        super().__init__()
        self.hidden = hidden
        self.proj = proj

    def forward(self, states: Tensor) -> Tensor:
        """Hidden states [.., W] → scores [.., n]."""
        scores: Tensor = self.proj(self.hidden(states)).float()
        return scores


class SequenceClassifier(nn.Module):
    """Scores for the labels of a whole text, or the score of a text: ``proj(hidden(pooled))``; hidden may be none."""

    def __init__(self, pooled: Pooled, hidden: nn.Module, proj: nn.Module) -> None:
        super().__init__()
        self.pooled = pooled
        self.hidden = hidden
        self.proj = proj

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states [B, T, W] and the rows' lengths [B] → scores [B, n]."""
        scores: Tensor = self.proj(self.hidden(pool(states, lengths, self.pooled))).float()
        return scores


class Pooling(nn.Module):
    """One vector for a text (Reimers & Gurevych, 2019): ``hidden(pooled)``; hidden may be none. normalised: of length
    one, so that a product is a cosine."""

    def __init__(self, pooled: Pooled, hidden: nn.Module, *, normalised: bool) -> None:
        super().__init__()
        self.pooled = pooled
        self.hidden = hidden
        self.normalised = normalised

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states [B, T, W] and the rows' lengths [B] → vectors [B, W]."""
        vector = self.hidden(pool(states, lengths, self.pooled)).float()
        return F.normalize(vector, dim=-1) if self.normalised else vector


Head = LMHead | MaskedLMHead | TokenClassifier | SequenceClassifier | Pooling


def pool(hidden: Tensor, lengths: Tensor, pooled: Pooled) -> Tensor:
    """The real positions of each row as one vector: [B, T, W] → [B, W]. lengths: [B] int64 on CPU."""
    if pooled == "first":
        return hidden[:, 0]
    if pooled == "last":
        return hidden[torch.arange(len(hidden)), (lengths - 1).to(hidden.device)]
    real = (torch.arange(hidden.shape[1]) < lengths[:, None]).to(hidden.device)[..., None]  # [B, T, 1]
    if pooled == "max":
        return hidden.masked_fill(~real, float("-inf")).amax(1)
    return (hidden.float() * real).sum(1).div(real.sum(1)).to(hidden.dtype)

"""The position-wise feed-forward networks."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation (Hendrycks & Gimpel, 2016)."""
    return F.gelu(x, approximate="tanh")


def relu_squared(x: Tensor) -> Tensor:
    """The square of ReLU (So et al., 2021)."""
    return F.relu(x).square()


ACTIVATIONS: dict[str, Activation] = {
    "relu": F.relu,
    "relu_squared": relu_squared,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "silu": F.silu,
    "tanh": torch.tanh,
    "identity": nn.Identity(),
}


class FeedForward(nn.Module):
    """``down(activation(up(x)))`` (Vaswani et al., 2017, section 3.3); dropout acts on the hidden layer."""

    def __init__(self, up: nn.Module, down: nn.Module, activation: Activation, dropout: nn.Module) -> None:
        super().__init__()
        self.up = up
        self.down = down
        self.activation = activation
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        out: Tensor = self.down(self.dropout(self.activation(self.up(x))))
        return out


class ClampedFeedForward(nn.Module):
    """``down((up(x) + 1) · gate(x) · sigmoid(alpha · gate(x)))``, gate cut off at `limit` and up at ±limit (gpt-oss;
    OpenAI, 2025)."""

    def __init__(self, gate: nn.Module, up: nn.Module, down: nn.Module, alpha: float, limit: float) -> None:
        super().__init__()
        self.gate = gate
        self.up = up
        self.down = down
        self.alpha = alpha
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """x [.., W] → [.., W]."""
        gate, up = self.gate(x).clamp(max=self.limit), self.up(x).clamp(-self.limit, self.limit)
        out: Tensor = self.down((up + 1) * gate * (self.alpha * gate).sigmoid())
        return out


class GatedFeedForward(nn.Module):
    """``down(activation(gate(x)) · up(x))`` (Shazeer, 2020); dropout acts on the hidden layer."""

    def __init__(
        self, gate: nn.Module, up: nn.Module, down: nn.Module, activation: Activation, dropout: nn.Module
    ) -> None:
        super().__init__()
        self.gate = gate
        self.up = up
        self.down = down
        self.activation = activation
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        out: Tensor = self.down(self.dropout(self.activation(self.gate(x)) * self.up(x)))
        return out

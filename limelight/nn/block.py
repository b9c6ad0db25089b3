"""Transformer blocks: attention and feed-forward, joined to the residual stream in different orders."""

from torch import Tensor, nn

from limelight.nn.attention import Attention
from limelight.nn.cache import KVCache
from limelight.nn.mask import Mask
from limelight.nn.positions import Positions


class PreNormBlock(nn.Module):
    """Normalises what each part reads; the stream itself is never normalised (GPT-2, Llama).

    attention_after and feedforward_after act on what a part adds: identity here for most families, norms for
    Gemma 2's sandwich (Gemma team, 2024, section 2).
    """

    def __init__(
        self,
        attention: Attention,
        feedforward: nn.Module,
        *,
        attention_norm: nn.Module,
        feedforward_norm: nn.Module,
        attention_after: nn.Module,
        feedforward_after: nn.Module,
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.attention_after = attention_after
        self.feedforward_norm = feedforward_norm
        self.feedforward = feedforward
        self.feedforward_after = feedforward_after

    def forward(
        self, x: Tensor, positions: Positions, mask: Mask, cache: KVCache | None, starts: int | Tensor
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        x = x + self.attention_after(self.attention(self.attention_norm(x), positions, mask, cache, starts))
        out: Tensor = x + self.feedforward_after(self.feedforward(self.feedforward_norm(x)))
        return out


class ParallelBlock(nn.Module):
    """Attention and feed-forward read the same stream and are added together (GPT-J, GPT-NeoX)."""

    def __init__(
        self,
        attention: Attention,
        feedforward: nn.Module,
        *,
        attention_norm: nn.Module,
        feedforward_norm: nn.Module,
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.feedforward_norm = feedforward_norm
        self.feedforward = feedforward

    def forward(
        self, x: Tensor, positions: Positions, mask: Mask, cache: KVCache | None, starts: int | Tensor
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        heard = self.attention(self.attention_norm(x), positions, mask, cache, starts)
        out: Tensor = self.feedforward(self.feedforward_norm(x)) + heard + x
        return out

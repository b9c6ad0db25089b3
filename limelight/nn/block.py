"""Transformer blocks: attention and feed-forward, joined to the residual stream in different orders.

Every block is called with the same six things: the stream x [B, T, W], the positions and the mask of the step, the
layer's cache or None, where in it the step begins, and, in an encoder–decoder, what this layer hears of the source.
"""

from torch import Tensor, nn

from limelight.nn.attention import Attention, KeysValues
from limelight.nn.cache import KVCache
from limelight.nn.mask import Mask
from limelight.nn.positions import Positions

Heard = tuple[KeysValues, Mask]
"""One layer's keys and values of the source, and which of its positions may be heard."""


class NoCross(nn.Module):
    """Stands where a block of an encoder–decoder attends to the source: there is none."""

    def forward(self, x: Tensor, positions: Positions, heard: Heard | None) -> Tensor:
        return x


class PreNormCross(nn.Module):
    """Attention to the source, added to the stream; what it reads of the stream is normalised."""

    def __init__(self, attention: Attention, norm: nn.Module, dropout: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.attention = attention
        self.dropout = dropout

    def forward(self, x: Tensor, positions: Positions, heard: Heard) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        source, mask = heard
        out: Tensor = x + self.dropout(self.attention.attend(self.norm(x), source, positions, mask))
        return out


class PostNormCross(nn.Module):
    """Attention to the source, added to the stream; the sum is normalised."""

    def __init__(self, attention: Attention, norm: nn.Module, dropout: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.dropout = dropout
        self.norm = norm

    def forward(self, x: Tensor, positions: Positions, heard: Heard) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        source, mask = heard
        out: Tensor = self.norm(x + self.dropout(self.attention.attend(x, source, positions, mask)))
        return out


class PreNormBlock(nn.Module):
    """Normalises what each part reads; the stream itself is never normalised (GPT-2, Llama).

    attention_after and feedforward_after act on what a part adds: dropout where there is some, norms for Gemma 2's
    sandwich (Gemma team, 2024, section 2), identity for most families.
    """

    def __init__(
        self,
        attention: Attention,
        cross: nn.Module,
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
        self.cross = cross
        self.feedforward_norm = feedforward_norm
        self.feedforward = feedforward
        self.feedforward_after = feedforward_after

    def forward(
        self,
        x: Tensor,
        positions: Positions,
        mask: Mask,
        cache: KVCache | None,
        starts: int | Tensor,
        heard: Heard | None,
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        read = self.attention(self.attention_norm(x), positions, mask, cache, starts)
        x = self.cross(x + self.attention_after(read), positions, heard)
        out: Tensor = x + self.feedforward_after(self.feedforward(self.feedforward_norm(x)))
        return out


class PostNormBlock(nn.Module):
    """Normalises the stream behind each part: ``norm(x + dropout(part(x)))`` (Vaswani et al., 2017, section 3.1)."""

    def __init__(
        self,
        attention: Attention,
        cross: nn.Module,
        feedforward: nn.Module,
        *,
        attention_norm: nn.Module,
        feedforward_norm: nn.Module,
        dropout: nn.Module,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = attention_norm
        self.cross = cross
        self.feedforward = feedforward
        self.feedforward_norm = feedforward_norm
        self.dropout = dropout

    def forward(
        self,
        x: Tensor,
        positions: Positions,
        mask: Mask,
        cache: KVCache | None,
        starts: int | Tensor,
        heard: Heard | None,
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        x = self.attention_norm(x + self.dropout(self.attention(x, positions, mask, cache, starts)))
        x = self.cross(x, positions, heard)
        out: Tensor = self.feedforward_norm(x + self.dropout(self.feedforward(x)))
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
        dropout: nn.Module,
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.cross = NoCross()
        self.feedforward_norm = feedforward_norm
        self.feedforward = feedforward
        self.dropout = dropout

    def forward(
        self,
        x: Tensor,
        positions: Positions,
        mask: Mask,
        cache: KVCache | None,
        starts: int | Tensor,
        heard: Heard | None,
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        read = self.attention(self.attention_norm(x), positions, mask, cache, starts)
        out: Tensor = self.dropout(self.feedforward(self.feedforward_norm(x)) + read) + x
        return out


Block = PreNormBlock | PostNormBlock | ParallelBlock

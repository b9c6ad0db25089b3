"""Multi-head latent attention: queries, keys and values are made from narrow vectors (DeepSeek-AI, 2024)."""

from typing import Any

import torch
from torch import Tensor, nn

from limelight.nn.attention import Attention, KeysValues
from limelight.nn.cache import KVCache
from limelight.nn.positions import Positions


class Latents(nn.Module):
    """``norm(down(x))``: a narrow vector of each position, [B, T, W] → [B, T, rank]."""

    def __init__(self, down: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.down, self.norm = down, norm

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.down(x))
        return out


class LatentQueries(Latents):
    """``up(norm(down(x)))``: queries that come from narrow vectors, [B, T, W] → [B, T, H·D]."""

    def __init__(self, down: nn.Module, norm: nn.Module, up: nn.Module) -> None:
        super().__init__(down, norm)
        self.up = up

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.up(super().forward(x))
        return out


class LatentAttention(Attention):
    """Attention whose keys and values are projected from one latent of a position (DeepSeek-AI, 2024, section 2.1).

    latent: makes it; k and v read it. turned: reads the position itself and gives the key
    features that positions turn, which all heads share and which stand first in each key. Keys are `key_width` wide and
    values `head_width`. The cache holds keys and values, not latents, from which each step would have to make all of
    them anew.
    """

    def __init__(
        self, *projections: nn.Module, latent: Latents, turned: nn.Module, key_width: int, **settings: Any
    ) -> None:
        super().__init__(*projections, **settings)
        self.latent, self.turned = latent, turned
        self.key_width = key_width

    def cache(self, rows: int, capacity: int, dtype: torch.dtype, device: torch.device) -> KVCache:
        k, v = (
            KVCache.empty((rows, self.kv_heads, capacity, width), dtype, device)
            for width in (self.key_width, self.head_width)
        )
        return KVCache(k.keys, v.values)

    def queries(self, x: Tensor) -> Tensor:
        return self._heads(self.q(x), self.key_width)

    def values(self, source: Tensor) -> Tensor:
        return self._heads(self.v(self.latent(source)), self.head_width)

    def keys_values(self, source: Tensor, positions: Positions) -> KeysValues:
        latent = self.latent(source)
        own = self.k(latent).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)  # [B, H, S, ..]
        shared = self.turned(source)[:, None].expand(-1, self.kv_heads, -1, -1)
        k = self.rotary(self.k_norm(torch.cat((shared, own), -1)), positions)
        return KeysValues(k, self._heads(self.v(latent), self.head_width))

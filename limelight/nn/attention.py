"""Attention: every position asks, every position that it may see answers (Vaswani et al., 2017, section 3.2)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.nn.bias import NoBias
from limelight.nn.cache import KVCache
from limelight.nn.mask import Mask
from limelight.nn.positions import Positions
from limelight.nn.scores import Scores

Core = Callable[[Tensor, Tensor, Tensor, Scores], Tensor]
"""``core(q [B, H, T, D], k [B, K, S, D], v [B, K, S, D], scores) → [B, H, T, D]``."""

Weigh = Callable[[Tensor, Tensor, Scores], Tensor]
"""``weigh(q [B, H, T, D], k [B, K, S, D], scores) → [B, H, T, S]`` in float32; rows sum to one, or less with sinks."""


def fused(q: Tensor, k: Tensor, v: Tensor, scores: Scores) -> Tensor:
    """The core function by torch's fused kernels, which know no cap and no sinks: scores must have neither."""
    if scores.mask.spans is not None:
        return by_spans(fused, q, k, v, scores)
    B, H, T, D = q.shape
    K, S = k.shape[1], k.shape[2]
    mask = scores.mask
    added = mask.allowed if scores.bias is None else scores.additive(T, S, q.device)
    if T == 1 and H != K and scores.bias is None:
        # One query: fold the heads that share keys into query rows, so that no key is read twice.
        out = F.scaled_dot_product_attention(q.view(B, K, H // K, D), k, v, attn_mask=added, scale=scores.scale)
        return out.view(B, H, 1, D)
    causal = mask.causal and scores.bias is None
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=added, is_causal=causal, scale=scores.scale, enable_gqa=H != K
    )


def by_spans(core: Core, q: Tensor, k: Tensor, v: Tensor, scores: Scores) -> Tensor:
    """What a core gives where each row has one query, row by row: no row reads more keys than it sees."""
    assert scores.mask.spans is not None
    return torch.cat(
        [
            core(q[b : b + 1], k[b : b + 1, :, first:end], v[b : b + 1, :, first:end], scores.row(b, first, end))
            for b, (first, end) in enumerate(scores.mask.spans)
        ]
    )


def attention_weights(q: Tensor, k: Tensor, scores: Scores) -> Tensor:
    """The weights [B, H, T, S] in float32: how much each query takes from each key."""
    B, H, T, D = q.shape
    K, S = k.shape[1], k.shape[2]
    products = q.view(B, K, H // K, T, D) @ k[:, :, None].transpose(-1, -2)  # [B, K, H / K, T, S]
    return scores.weights(products.view(B, H, T, S))


class AdditiveWeights(nn.Module):
    """Weights by ``score · tanh(q + k)``, one hidden layer that reads query and key (Bahdanau et al., 2015)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, q: Tensor, k: Tensor, scores: Scores) -> Tensor:
        """A `Weigh`; there must be as many heads in k as in q."""
        products: Tensor = self.score((q[:, :, :, None] + k[:, :, None]).tanh())  # [B, H, T, S, 1]
        return scores.weights(products[..., 0])


def explicit(q: Tensor, k: Tensor, v: Tensor, scores: Scores) -> Tensor:
    """The core function written out: for what the fused kernels don't know, and for who wants to see the weights."""
    if scores.mask.spans is not None:
        return by_spans(explicit, q, k, v, scores)
    return mix(attention_weights(q, k, scores), v)


def _weighed(weigh: Weigh, q: Tensor, k: Tensor, v: Tensor, scores: Scores) -> Tensor:
    return mix(weigh(q, k, scores), v)


def dropping(core: Core, weigh: Weigh, dropout: nn.Module, q: Tensor, k: Tensor, v: Tensor, scores: Scores) -> Tensor:
    """`core`, except that in training some of the weights are dropped."""
    if not dropout.training:
        return core(q, k, v, scores)
    return mix(dropout(weigh(q, k, scores)), v)


def mix(weights: Tensor, v: Tensor) -> Tensor:
    """Values v [B, K, S, D] averaged by weights [B, H, T, S] → [B, H, T, D] in v's type."""
    B, H, T, S = weights.shape
    K, D = v.shape[1], v.shape[3]
    return (weights.to(v.dtype).view(B, K, H // K * T, S) @ v).view(B, H, T, D)


@dataclass(frozen=True)
class KeysValues:
    """What a source offers to those who attend to it: k, v [B, K, S, D]."""

    k: Tensor
    v: Tensor


class Clip(nn.Module):
    """Cuts numbers off at ±limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(-self.limit, self.limit)


class Attention(nn.Module):
    """Multi-head attention with grouped keys and values (Ainslie et al., 2023).

    q, k, v, out are called, never read as weights, so a low-bit layer can stand in for any of them. rotary, q_norm
    and k_norm act on heads [B, H, T, D], clip cuts off q, k and v; `core` does the rest and may be replaced on a twin
    to look inside. gate: scores what the heads heard, feature by feature, from what asks (None: all of it counts).
    `weigh` makes the weights that the core mixes values by, for cores that write them out. scale, cap, score_bias (of
    `nn.bias`) and sinks (how many heads have one; 0: none) say how queries score keys, see `Scores`.
    """

    core: Core
    weigh: Weigh

    def __init__(
        self,
        q: nn.Module,
        k: nn.Module,
        v: nn.Module,
        out: nn.Module,
        *,
        kv_heads: int,
        head_width: int,
        rotary: nn.Module,
        q_norm: nn.Module,
        k_norm: nn.Module,
        scale: float,
        cap: float | None = None,
        window: int | None = None,
        score_bias: nn.Module | None = None,
        sinks: int = 0,
        clip: float | None = None,
        gate: nn.Module | None = None,
        weigh: Weigh = attention_weights,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = q, k, v, out
        self.q_norm, self.k_norm = q_norm, k_norm
        self.rotary = rotary
        self.kv_heads = kv_heads
        self.head_width = head_width
        self.scale = scale
        self.cap = cap
        self.window = window
        self.clip = nn.Identity() if clip is None else Clip(clip)
        self.gate = gate
        self.score_bias = NoBias() if score_bias is None else score_bias
        self.sinks = nn.Parameter(torch.zeros(sinks)) if sinks else None
        self.weigh = weigh
        # Partial functions, not closures: a deep copy of the module gets cores over its own copies.
        plain = weigh is attention_weights
        known = cap is None and not sinks
        self.core = fused if plain and known else explicit if plain else partial(_weighed, weigh)
        if dropout:
            self.dropout = nn.Dropout(dropout)
            self.core = partial(dropping, self.core, weigh, self.dropout)

    def cache(self, rows: int, capacity: int, dtype: torch.dtype, device: torch.device) -> KVCache:
        """Memory for the keys and values of `rows` sequences of at most `capacity` positions."""
        return KVCache.empty((rows, self.kv_heads, capacity, self.head_width), dtype, device)

    def keys_values(self, source: Tensor, positions: Positions) -> KeysValues:
        """Keys and values of source [B, S, W]."""
        k = self.rotary(self.clip(self.k_norm(self._heads(self.k(source), self.head_width))), positions)
        return KeysValues(k, self.clip(self.values(source)))

    def queries(self, x: Tensor) -> Tensor:
        """The heads [B, H, T, D] that x [B, T, W] asks with, before anything acts on them."""
        return self._heads(self.q(x), self.head_width)

    def values(self, source: Tensor) -> Tensor:
        """The values [B, K, S, D] of source [B, S, W], before anything acts on them."""
        return self._heads(self.v(source), self.head_width)

    def attend(self, x: Tensor, source: KeysValues, positions: Positions, mask: Mask) -> Tensor:
        """What x [B, T, W] hears from the source's keys and values: [B, T, W]."""
        q = self.rotary(self.clip(self.q_norm(self.queries(x))), positions)
        mixed = self.core(q, source.k, source.v, self.scores(q, source.k, positions, mask))  # [B, H, T, D]
        heard = mixed.transpose(1, 2).flatten(2)
        out: Tensor = self.out(heard if self.gate is None else heard * self.gate(x).sigmoid())
        return out

    def forward(
        self, x: Tensor, positions: Positions, mask: Mask, cache: KVCache | None, starts: int | Tensor
    ) -> Tensor:
        """Self-attention over x [B, T, W] and, with a cache, over everything written there before `starts`."""
        own = self.keys_values(x, positions)
        if cache is not None:
            own = KeysValues(*cache.append(own.k, own.v, starts, mask.keys))
        return self.attend(x, own, positions, mask)

    def scores(self, q: Tensor, k: Tensor, positions: Positions, mask: Mask) -> Scores:
        """How the queries q [B, H, T, D] of a step score the keys k [B, K, S, D] that they may see."""
        bias = None if isinstance(self.score_bias, NoBias) else positions.bias(self.score_bias)
        return Scores(mask, self.scale, self.cap, bias, self.sinks)

    @staticmethod
    def _heads(x: Tensor, width: int) -> Tensor:
        """[B, T, H·D] → [B, H, T, D] of so wide heads."""
        return x.view(*x.shape[:2], -1, width).transpose(1, 2)

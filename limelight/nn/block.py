"""Transformer blocks: attention and feed-forward, joined to the residual stream in different orders.

Every block is called with the same six things: the stream x [B, T, W], the positions and the mask of the step, the
layer's cache or None, where in it the step begins, and, in an encoder–decoder, what this layer attends to of the
source. `joins` says the same as `forward` to whoever compiles a block or takes it apart.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from limelight.errors import ConfigError
from limelight.nn.attention import Attention, KeysValues
from limelight.nn.cache import KVCache
from limelight.nn.mask import Mask
from limelight.nn.norm import Norm
from limelight.nn.positions import Positions
from limelight.nn.recurrent import Carried
from limelight.nn.unit import RecurrentUnit

CrossSource = tuple[KeysValues, Mask]
"""One layer's keys and values of the source, and which of its positions may be seen."""


@dataclass(frozen=True)
class Join:
    """How a part of a block joins the stream: ``outer(stream + inner(part(before(stream))))``.

    Each of before, inner and outer is a norm, dropout or nothing (`nn.Identity`); inner may be a fixed number
    (`Scaled`).
    """

    part: nn.Module
    before: nn.Module
    inner: nn.Module
    outer: nn.Module


class NoCross(nn.Module):
    """Stands where a block of an encoder–decoder attends to the source: there is none."""

    joins: tuple[Join, ...] = ()

    def forward(self, x: Tensor, positions: Positions, source: CrossSource | None) -> Tensor:
        return x


class PreNormCross(nn.Module):
    """Attention to the source, added to the stream; what it reads of the stream is normalised."""

    def __init__(self, attention: Attention, norm: nn.Module, dropout: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.attention = attention
        self.dropout = dropout

    @property
    def joins(self) -> tuple[Join, ...]:
        return (Join(self.attention, self.norm, self.dropout, nn.Identity()),)

    def forward(self, x: Tensor, positions: Positions, source: CrossSource) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        out: Tensor = x + self.dropout(self.attention.attend(self.norm(x), source[0], positions, source[1]))
        return out


class PostNormCross(nn.Module):
    """Attention to the source, added to the stream; the sum is normalised."""

    def __init__(self, attention: Attention, norm: nn.Module, dropout: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.dropout = dropout
        self.norm = norm

    @property
    def joins(self) -> tuple[Join, ...]:
        return (Join(self.attention, nn.Identity(), self.dropout, self.norm),)

    def forward(self, x: Tensor, positions: Positions, source: CrossSource) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        out: Tensor = self.norm(x + self.dropout(self.attention.attend(x, source[0], positions, source[1])))
        return out


class Block(nn.Module, ABC):
    """What all orders have in common; a new one subclasses it and takes its place in `ORDERS`.

    attention, feedforward: the parts. cross: attention to a source, a `NoCross` where there is none. order: where the
    norms stand. parallel: all parts read the stream as the block was given it, instead of one after the other.
    norm: makes a norm; dropout: of what each part adds.
    """

    order: str
    parallel = False
    attention: Attention
    cross: NoCross | PreNormCross | PostNormCross
    feedforward: nn.Module

    @abstractmethod
    def __init__(
        self,
        attention: Attention,
        cross: Attention | None,
        feedforward: nn.Module,
        norm: Callable[[], nn.Module],
        dropout: nn.Module,
    ) -> None:
        super().__init__()

    def cache(self, rows: int, capacity: int, dtype: torch.dtype, device: torch.device) -> KVCache | Carried:
        """Memory for `rows` sequences of at most `capacity` positions."""
        return self.attention.cache(rows, capacity, dtype, device)

    @property
    @abstractmethod
    def joins(self) -> tuple[Join, ...]:
        """How attention, cross-attention if there is one, and feed-forward join the stream, in this order."""

    @property
    def dtype(self) -> torch.dtype:
        """The number type of the stream: that of a norm, which no low-bit layer replaces."""
        return next(module.weight.dtype for module in self.modules() if isinstance(module, Norm))

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        positions: Positions,
        mask: Mask,
        cache: KVCache | None,
        starts: int | Tensor,
        source: CrossSource | None,
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""


class Scaled(nn.Module):
    """Multiplies what a part adds by a fixed number."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class PreNormBlock(Block):
    """Normalises what each part reads; the stream itself is never normalised (GPT-2, Llama).

    attention_after and feedforward_after act on what a part adds: dropout here.
    """

    order = "pre"

    def __init__(
        self,
        attention: Attention,
        cross: Attention | None,
        feedforward: nn.Module,
        norm: Callable[[], nn.Module],
        dropout: nn.Module,
    ) -> None:
        super().__init__(attention, cross, feedforward, norm, dropout)
        self.attention_norm = norm()
        self.attention = attention
        self.attention_after = self._after(norm, dropout)
        self.cross = NoCross() if cross is None else PreNormCross(cross, norm(), dropout)
        self.feedforward_norm = norm()
        self.feedforward = feedforward
        self.feedforward_after = self._after(norm, dropout)

    def _after(self, norm: Callable[[], nn.Module], dropout: nn.Module) -> nn.Module:
        return dropout

    @property
    def joins(self) -> tuple[Join, ...]:
        nothing = nn.Identity()
        return (
            Join(self.attention, self.attention_norm, self.attention_after, nothing),
            *self.cross.joins,
            Join(self.feedforward, self.feedforward_norm, self.feedforward_after, nothing),
        )

    def forward(
        self,
        x: Tensor,
        positions: Positions,
        mask: Mask,
        cache: KVCache | None,
        starts: int | Tensor,
        source: CrossSource | None,
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        read = self.attention(self.attention_norm(x), positions, mask, cache, starts)
        x = self.cross(x + self.attention_after(read), positions, source)
        out: Tensor = x + self.feedforward_after(self.feedforward(self.feedforward_norm(x)))
        return out


class BareBlock(PreNormBlock):
    """A pre-norm block whose attention reads the stream as it is: the first behind embeddings that end in a norm."""

    order = "bare"

    def __init__(
        self,
        attention: Attention,
        cross: Attention | None,
        feedforward: nn.Module,
        norm: Callable[[], nn.Module],
        dropout: nn.Module,
    ) -> None:
        super().__init__(attention, cross, feedforward, norm, dropout)
        self.attention_norm = nn.Identity()


class SandwichBlock(PreNormBlock):
    """A pre-norm block that also normalises what each part adds (Gemma team, 2024, section 2)."""

    order = "sandwich"

    def _after(self, norm: Callable[[], nn.Module], dropout: nn.Module) -> nn.Module:
        if not isinstance(dropout, nn.Identity):
            raise ConfigError("a sandwich block ends in a norm and has no dropout; set its rate to 0")
        return norm()


class CarriedBlock(PreNormBlock):
    """A pre-norm block whose feed-forward is a recurrent unit, as its attention is (RWKV-7; Peng et al., 2025)."""

    order = "carried"

    def __init__(
        self,
        attention: Attention,
        cross: Attention | None,
        feedforward: nn.Module,
        norm: Callable[[], nn.Module],
        dropout: nn.Module,
    ) -> None:
        super().__init__(attention, cross, feedforward, norm, dropout)
        if cross is not None or not all(isinstance(part, RecurrentUnit) for part in (attention, feedforward)):
            raise ConfigError("a block that carries states has two recurrent units and hears no source")

    @property
    def units(self) -> tuple[RecurrentUnit, RecurrentUnit]:
        """Both parts."""
        return cast("RecurrentUnit", self.attention), cast("RecurrentUnit", self.feedforward)

    def cache(self, rows: int, capacity: int, dtype: torch.dtype, device: torch.device) -> Carried:
        """What both carry, one behind the other."""
        return Carried(tuple(chain(*(unit.cache(rows, capacity, dtype, device).tensors for unit in self.units))))

    def forward(
        self,
        x: Tensor,
        positions: Positions,
        mask: Mask,
        cache: KVCache | Carried | None,
        starts: int | Tensor,
        source: CrossSource | None,
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        carried = cast("Carried", cache or self.cache(len(x), 0, x.dtype, x.device))
        attention, feedforward = self.units
        own = len(attention.carries)
        first, second = Carried(carried.tensors[:own]), Carried(carried.tensors[own:])
        x = x + self.attention_after(attention(self.attention_norm(x), positions, mask, first, starts))
        read = feedforward(self.feedforward_norm(x), positions, mask, second, starts)
        carried.tensors = first.tensors + second.tensors
        out: Tensor = x + self.feedforward_after(read)
        return out


class NoFeedForward(nn.Module):
    """Stands where a block has a feed-forward: there is none."""


class LoneBlock(Block):
    """One part, which reads the stream through a norm and adds to it (Mamba; Gu & Dao, 2023, figure 3)."""

    order = "lone"

    def __init__(
        self,
        attention: Attention,
        cross: Attention | None,
        feedforward: nn.Module,
        norm: Callable[[], nn.Module],
        dropout: nn.Module,
    ) -> None:
        super().__init__(attention, cross, feedforward, norm, dropout)
        if cross is not None or not isinstance(feedforward, NoFeedForward):
            raise ConfigError("a lone block has no feed-forward and hears no source")
        self.attention_norm = norm()
        self.attention = attention
        self.attention_after = dropout
        self.cross, self.feedforward = NoCross(), feedforward

    @property
    def joins(self) -> tuple[Join, ...]:
        return (Join(self.attention, self.attention_norm, self.attention_after, nn.Identity()),)

    def forward(
        self,
        x: Tensor,
        positions: Positions,
        mask: Mask,
        cache: KVCache | None,
        starts: int | Tensor,
        source: CrossSource | None,
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        out: Tensor = x + self.attention_after(self.attention(self.attention_norm(x), positions, mask, cache, starts))
        return out


class PostNormBlock(Block):
    """Normalises the stream behind each part: ``norm(x + dropout(part(x)))`` (Vaswani et al., 2017, section 3.1)."""

    order = "post"

    def __init__(
        self,
        attention: Attention,
        cross: Attention | None,
        feedforward: nn.Module,
        norm: Callable[[], nn.Module],
        dropout: nn.Module,
    ) -> None:
        super().__init__(attention, cross, feedforward, norm, dropout)
        self.attention = attention
        self.attention_norm = norm()
        self.cross = NoCross() if cross is None else PostNormCross(cross, norm(), dropout)
        self.feedforward = feedforward
        self.feedforward_norm = norm()
        self.dropout = dropout

    @property
    def joins(self) -> tuple[Join, ...]:
        nothing = nn.Identity()
        return (
            Join(self.attention, nothing, self.dropout, self.attention_norm),
            *self.cross.joins,
            Join(self.feedforward, nothing, self.dropout, self.feedforward_norm),
        )

    def forward(
        self,
        x: Tensor,
        positions: Positions,
        mask: Mask,
        cache: KVCache | None,
        starts: int | Tensor,
        source: CrossSource | None,
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        x = self.attention_norm(x + self.dropout(self.attention(x, positions, mask, cache, starts)))
        x = self.cross(x, positions, source)
        out: Tensor = self.feedforward_norm(x + self.dropout(self.feedforward(x)))
        return out


class OutputNormBlock(Block):
    """Each part reads the stream as it is, and what it adds is normalised (OLMo 2; OLMo team, 2025)."""

    order = "output"

    def __init__(
        self,
        attention: Attention,
        cross: Attention | None,
        feedforward: nn.Module,
        norm: Callable[[], nn.Module],
        dropout: nn.Module,
    ) -> None:
        super().__init__(attention, cross, feedforward, norm, dropout)
        if cross is not None or not isinstance(dropout, nn.Identity):
            raise ConfigError("a block that normalises what its parts add has no dropout and hears no source")
        self.attention, self.attention_norm = attention, norm()
        self.cross = NoCross()
        self.feedforward, self.feedforward_norm = feedforward, norm()

    @property
    def joins(self) -> tuple[Join, ...]:
        nothing = nn.Identity()
        return (
            Join(self.attention, nothing, self.attention_norm, nothing),
            Join(self.feedforward, nothing, self.feedforward_norm, nothing),
        )

    def forward(
        self,
        x: Tensor,
        positions: Positions,
        mask: Mask,
        cache: KVCache | None,
        starts: int | Tensor,
        source: CrossSource | None,
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        x = x + self.attention_norm(self.attention(x, positions, mask, cache, starts))
        out: Tensor = x + self.feedforward_norm(self.feedforward(x))
        return out


class ParallelBlock(Block):
    """Attention and feed-forward read the same stream and are added together (GPT-J, GPT-NeoX)."""

    order = "parallel"
    parallel = True
    shared = False

    def __init__(
        self,
        attention: Attention,
        cross: Attention | None,
        feedforward: nn.Module,
        norm: Callable[[], nn.Module],
        dropout: nn.Module,
    ) -> None:
        super().__init__(attention, cross, feedforward, norm, dropout)
        if cross is not None:
            raise ConfigError("a parallel block cannot attend to a source")
        self.attention_norm = norm()
        self.attention = attention
        self.cross = NoCross()
        if not self.shared:
            self.feedforward_norm = norm()
        self.feedforward = feedforward
        self.dropout = dropout

    @property
    def joins(self) -> tuple[Join, ...]:
        nothing, second = nn.Identity(), self.attention_norm if self.shared else self.feedforward_norm
        return (
            Join(self.attention, self.attention_norm, self.dropout, nothing),
            Join(self.feedforward, second, self.dropout, nothing),
        )

    def forward(
        self,
        x: Tensor,
        positions: Positions,
        mask: Mask,
        cache: KVCache | None,
        starts: int | Tensor,
        source: CrossSource | None,
    ) -> Tensor:
        """x [B, T, W] → [B, T, W]."""
        normal = self.attention_norm(x)
        read = self.attention(normal, positions, mask, cache, starts)
        out: Tensor = self.dropout(self.feedforward(normal if self.shared else self.feedforward_norm(x)) + read) + x
        return out


class SharedNormBlock(ParallelBlock):
    """A parallel block whose parts read the stream through one norm (GPT-J, Phi, Cohere)."""

    order = "shared"
    shared = True


ORDERS: dict[str, type[Block]] = {
    block.order: block
    for block in (
        PreNormBlock,
        BareBlock,
        PostNormBlock,
        OutputNormBlock,
        SandwichBlock,
        CarriedBlock,
        ParallelBlock,
        SharedNormBlock,
        LoneBlock,
    )
}
"""The block for each order that a config may name."""

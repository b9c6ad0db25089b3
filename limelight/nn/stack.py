"""A stack of blocks over one residual stream."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from limelight.nn.attention import Attention
from limelight.nn.bias import NoBias
from limelight.nn.block import Block, NoCross
from limelight.nn.cache import KVCache
from limelight.nn.embeddings import Embeddings
from limelight.nn.mask import CausalMasks, FullMasks, Masks
from limelight.nn.positions import FollowingScaling, Positions, Rotary
from limelight.nn.recurrent import hides_nothing
from limelight.nn.state import Memory, Source, State, Text
from limelight.nn.unit import RecurrentUnit

Run = Callable[["Stack", Tensor, Positions, Masks, Sequence[KVCache], Source | None], Tensor]
"""``run(stack, x [B, T, W], positions, masks, caches, source) → [B, T, W]``: through all blocks and the norm behind."""


def in_turn(
    stack: "Stack", x: Tensor, positions: Positions, masks: Masks, caches: Sequence[KVCache], source: Source | None
) -> Tensor:
    """Runs the blocks one after another, and the norm."""
    for i, block in enumerate(stack.blocks):
        cache = caches[i] if caches else None
        attended = None if source is None else (source.expanded[i], source.mask)
        window = cast("Attention", block.attention).window
        x = block(x, positions, masks.for_window(window), cache, masks.place, attended)
    out: Tensor = stack.norm(x)
    return out


class Stack(nn.Module):
    """Blocks one after another, behind what `Embeddings` makes of the tokens' vectors and in front of a norm.

    `encode` reads a whole text in both directions, `decode` a growing one from left to right. `run` takes the stream
    through all of it and may be replaced by something that does the same faster. cache_dtype: the number type of the
    keys and values that are kept from step to step; None: that of the stream.
    """

    run: Run
    cache_dtype: torch.dtype | None

    def __init__(self, embeddings: Embeddings, blocks: Sequence[Block], norm: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.blocks = nn.ModuleList(blocks)
        self.run = in_turn
        self.cache_dtype = None
        self.norm = norm

    @property
    def dtype(self) -> torch.dtype:
        """The number type of the stream."""
        return cast("Block", self.blocks[0]).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are, low-bit ones too, which are no parameters."""
        return next(chain(self.parameters(), self.buffers())).device

    @property
    def batch_invariant(self) -> bool:
        """Whether what last ran through it came to the same bits for each position as it would have alone."""
        return bool(getattr(self.run, "batch_invariant", False))

    @property
    def crosses(self) -> list[Attention]:
        """The attention of each block to the source; empty in a stack that hears none."""
        crosses = [cast("Block", block).cross for block in self.blocks]
        return [cross.attention for cross in crosses if not isinstance(cross, NoCross)]

    @property
    def recurrent(self) -> bool:
        """Whether a block has a recurrent unit in the place of attention."""
        return any(isinstance(cast("Block", block).attention, RecurrentUnit) for block in self.blocks)

    @property
    def following(self) -> tuple[FollowingScaling, ...]:
        """The rotary scalings of the blocks that follow the length of the text, each once."""
        rotaries = (cast("Attention", block.attention).rotary for block in self.blocks)
        found = (rotary.following for rotary in rotaries if isinstance(rotary, Rotary))
        return tuple(dict.fromkeys(scaling for scaling in found if scaling is not None))

    def passes(self, length: int) -> bool:
        """Whether tokens of a text that is so long can be passed over without the others coming closer: all that tells
        them where they stand is their own place."""
        attentions = [cast("Attention", block.attention) for block in self.blocks]
        return not self.following and all(
            isinstance(each.score_bias, NoBias) and (each.window is None or each.window >= length)
            for each in attentions
        )

    def encode(self, x: Tensor, lengths: Tensor, visible: Tensor | None, types: Tensor | None = None) -> Memory:
        """Reads token vectors x [B, S, E] in both directions; see `FullMasks` for lengths and visible, `Embeddings` for
        types."""
        masks = FullMasks(lengths, x.shape[1], visible, x.device)
        return Memory(self(x, masks, Positions(masks.index, masks.keys, lengths), types=types), lengths, masks.mask)

    def start(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        """An empty state for `rows` sequences of at most `capacity` positions (0: nothing will be remembered)."""
        device = self.device
        source = None if memory is None else Source.of(memory, self.crosses)
        blocks = [cast("Block", block) for block in self.blocks] if capacity else []
        caches = [block.cache(rows, capacity, self.cache_dtype or self.dtype, device) for block in blocks]
        text = Text.empty(rows, capacity, following, device) if (following := self.following) else None
        lengths = torch.zeros(rows, dtype=torch.int64)
        return State(caches, lengths, capacity, source, rewinds=not self.recurrent, text=text)

    def decode(
        self,
        x: Tensor,
        state: State,
        counts: Tensor | None,
        visible: Tensor | None,
        length: Tensor | None = None,
        index: Tensor | None = None,
    ) -> Tensor:
        """Reads token vectors x [B, T, E] behind what the state has seen: [B, T, W].

        The keys and values are kept in the state, if it has room; its lengths are the caller's to move on. counts:
        [B] int64 on CPU, the real positions of each row; what stands behind them is never seen, is no part of the
        text's length, and comes out as any numbers. visible: see `CausalMasks`. length: [B] int64 on CPU, of the texts
        that this is a part of, for rotary embeddings that follow it (None: up to the end of this part). index: [B, T]
        int64, where in the text each of them stands, if some of it is passed over, in a stack that `passes` (None:
        behind each other). Raises RequestError if a word is to be hidden from a stack that is recurrent.
        """
        if visible is not None and self.recurrent:
            hides_nothing(visible)
        masks = CausalMasks(state.lengths, x.shape[1], visible, x.device)
        given = None
        if state.text is not None:
            given = state.text.given
            if length is None:
                length = state.lengths + (x.shape[1] if counts is None else counts)
            state.text.turn(length)
        if index is None:
            at = masks.index
            if counts is not None and at.dim() == 2:  # behind a row's end there may be no position any more
                at = at.minimum((state.lengths + counts - 1)[:, None].to(at.device))
            positions = Positions(at, masks.keys, length, given, counts)
        else:
            positions = Positions(index.to(x.device), int(index.max()) + 1, counts=counts)
        caches = cast("Sequence[KVCache]", state.parts)
        out: Tensor = self(x, masks, positions, caches, state.source)
        return out

    def forward(
        self,
        x: Tensor,
        masks: Masks,
        positions: Positions,
        caches: Sequence[KVCache] = (),
        source: Source | None = None,
        types: Tensor | None = None,
    ) -> Tensor:
        """Token vectors x [B, T, E] → [B, T, W]. caches: one per block, written in place, or none to read x alone."""
        return self.run(self, self.embeddings(x, positions, types), positions, masks, caches, source)

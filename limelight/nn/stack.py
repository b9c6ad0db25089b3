"""A stack of blocks over one residual stream."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from limelight.nn.block import ParallelBlock, PreNormBlock
from limelight.nn.cache import KVCache
from limelight.nn.mask import CausalMasks
from limelight.nn.positions import Positions

Block = PreNormBlock | ParallelBlock


class Stack(nn.Module):
    """Blocks one after another, positions added in front, a norm behind."""

    def __init__(self, positions: nn.Module, blocks: Sequence[Block], norm: nn.Module) -> None:
        super().__init__()
        self.positions = positions
        self.blocks = nn.ModuleList(blocks)
        self.windows = [block.attention.window for block in blocks]
        self.norm = norm

    def forward(
        self, x: Tensor, starts: Tensor, visible: Tensor | None = None, caches: Sequence[KVCache] | None = None
    ) -> Tensor:
        """Reads x [B, T, W] causally, each row behind the `starts` [B] positions it has seen: [B, T, W].

        visible: [B, T, S] bool, see `CausalMasks`. caches: one per block, written in place; None reads x alone.
        """
        masks = CausalMasks(starts, x.shape[1], visible, x.device)
        steps = torch.arange(x.shape[1], device=x.device)
        place: int | Tensor
        if masks.even:
            place, index = masks.first, masks.first + steps
        else:
            place = starts.to(x.device)
            index = place[:, None] + steps
        positions = Positions(index, masks.keys)
        x = self.positions(x, positions)
        for i, block in enumerate(self.blocks):
            mask = masks.for_window(self.windows[i])
            x = block(x, positions, mask, None if caches is None else caches[i], place)
        out: Tensor = self.norm(x)
        return out

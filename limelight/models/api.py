"""The one interface to a built model: start a state, step it forward, read logits."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from limelight.models.config import ModelConfig
from limelight.nn.cache import KVCache
from limelight.nn.stack import Stack
from limelight.nn.state import State


class Decoder(nn.Module):
    """A model that reads from left to right and predicts what comes next.

    Nothing of a request stays here: what was read lives in the `State`.
    """

    def __init__(self, config: ModelConfig, embed: nn.Module, decoder: Stack, head: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.embed = embed
        self.decoder = decoder
        self.head = head

    @property
    def context(self) -> int:
        """The longest sequence, in tokens, that the model was made for."""
        return self.config.context

    @property
    def vocab(self) -> int:
        """How many tokens there are to choose from."""
        return self.config.vocab

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.decoder.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The number type that flows between the layers."""
        return next(self.decoder.norm.parameters()).dtype

    def start(self, rows: int, room: int) -> State:
        """An empty state for `rows` sequences of at most `room` tokens each."""
        attentions = [block.attention for block in self.config.decoder.blocks]
        caches = [KVCache.empty((rows, a.kv_heads, room, a.head_width), self.dtype, self.device) for a in attentions]
        return State(caches, torch.zeros(rows, dtype=torch.int64), room)

    def step(
        self,
        tokens: Tensor,
        state: State,
        counts: Tensor | None = None,
        last: bool = False,
        visible: Tensor | None = None,
    ) -> Tensor:
        """Reads tokens [B, T] behind what `state` has seen, and moves it forward: logits [B, T, V] in float32.

        counts: [B] int64 on CPU, how many tokens of each row are real where rows are padded on the right (None: all);
        what stands behind them is not remembered. last: only each row's last real position, [B, 1, V]. visible:
        [B, T, S] bool, an extra limit on which of the S positions up to the longest row each query may see.
        """
        hidden = self.read(tokens, state, counts, visible)
        if last:
            if counts is None:
                hidden = hidden[:, -1:]
            else:
                hidden = hidden[torch.arange(len(hidden)), (counts - 1).to(hidden.device)][:, None]
        return self.logits(hidden)

    def read(
        self,
        tokens: Tensor,
        state: State | None = None,
        counts: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        """Like `step`, but returns the final hidden states [B, T, W], before the head.

        Without a state the tokens are read at once and not remembered.
        """
        if state is None:
            starts, caches = torch.zeros(len(tokens), dtype=torch.int64), None
        else:
            starts, caches = state.lengths, cast("Sequence[KVCache]", state.parts)
            state.lengths = starts + (tokens.shape[1] if counts is None else counts)
        hidden: Tensor = self.decoder(self._embed(tokens), starts, visible, caches)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [.., W] → logits [.., V] in float32."""
        logits: Tensor = self.head(hidden).float()
        cap = self.config.head.cap
        return logits if cap is None else (logits / cap).tanh() * cap

    def forward(self, tokens: Tensor, visible: Tensor | None = None) -> Tensor:
        """Logits [B, T, V] for tokens [B, T] read at once and not remembered; what training calls."""
        return self.logits(self.read(tokens, visible=visible))

    def _embed(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embed(tokens)
        scale = self.config.decoder.scale
        return x if scale == 1.0 else x * torch.tensor(scale, dtype=x.dtype, device=x.device)

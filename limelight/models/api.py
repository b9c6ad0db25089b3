"""The one interface to a built model: start a state, step it forward, read logits."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from limelight.errors import RequestError
from limelight.models.config import ModelConfig
from limelight.nn.attention import Attention
from limelight.nn.heads import Pooling, SequenceClassifier
from limelight.nn.recurrent import RecurrentDecoder, RecurrentEncoder
from limelight.nn.stack import Stack
from limelight.nn.state import Memory, State, Text

CHUNK = 512
"""Tokens of a text that are read anew at a time, so that memory does not grow with it."""


def embedded(embed: nn.Module, tokens: Tensor) -> Tensor:
    """Tokens [..] → vectors [.., W]. Raises RequestError for a token without a row."""
    try:
        vectors: Tensor = embed(tokens)
    except IndexError:
        raise RequestError(f"a token is number {int(tokens.max())}, which the model has no row for") from None
    return vectors


def whole(tokens: Tensor) -> Tensor:
    """The lengths [B], on the CPU, of tokens [B, T] that are all real."""
    return torch.full((len(tokens),), tokens.shape[1], dtype=torch.int64)


def batch_invariant(module: nn.Module) -> bool:
    """Whether a module says that what it makes of a position does not depend, to the bit, on what else it is given."""
    return bool(getattr(module, "batch_invariant", False))


class Built(nn.Module, ABC):
    """What is known of every network, whatever its kind."""

    config: ModelConfig

    @property
    @abstractmethod
    def stack(self) -> Stack | RecurrentDecoder:
        """The layers whose states the head reads."""

    @property
    def context(self) -> int:
        """The longest sequence, in tokens, that the model was made for."""
        return self.config.longest

    @property
    def vocab(self) -> int:
        """How many tokens it knows."""
        return self.config.vocab

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.stack.device

    @property
    def dtype(self) -> torch.dtype:
        """The number type that flows between the layers."""
        return self.stack.dtype


class Predictor(Built):
    """What reads tokens from left to right and predicts the next: all that `Decoder` and `Seq2Seq` share.

    Nothing of a request stays here: what was read lives in the `State`.
    """

    def __init__(
        self, config: ModelConfig, embed: nn.Module, decoder: Stack | RecurrentDecoder, head: nn.Module
    ) -> None:
        super().__init__()
        self.config = config
        self.embed = embed
        self.decoder = decoder
        self.head = head

    @property
    def stack(self) -> Stack | RecurrentDecoder:
        """The decoder."""
        return self.decoder

    @property
    def batch_invariant(self) -> bool:
        """Whether a position comes to the same logits, to the bit, in a step of its own and among others."""
        return batch_invariant(self.decoder) and batch_invariant(getattr(self.head, "proj", self.head))

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
        [B, T, S] bool, an extra limit on which of the S positions up to the longest row each query may see; a
        recurrent model refuses it with a RequestError.
        """
        hidden = self._read(tokens, state, counts, visible)
        if last:
            if counts is None:
                hidden = hidden[:, -1:]
            else:
                hidden = hidden[torch.arange(len(hidden), device=hidden.device), (counts - 1).to(hidden.device)][
                    :, None
                ]
        return self.logits(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [.., W] → logits [.., V] in float32."""
        logits: Tensor = self.head(hidden)
        return logits

    def _read(self, tokens: Tensor, state: State, counts: Tensor | None, visible: Tensor | None) -> Tensor:
        x = embedded(self.embed, tokens)
        after = state.lengths + (tokens.shape[1] if counts is None else counts)
        if state.text is not None and state.capacity:
            self._follow(state, state.text, after)
            state.text.write(tokens, state.lengths)
            state.text.limited = state.text.limited or visible is not None
        hidden = self.decoder.decode(x, state, counts, visible)
        state.lengths = after
        return hidden

    def _follow(self, state: State, text: Text, after: Tensor) -> None:
        """Reads anew what the rows have seen whose rotary embeddings change as they grow, or shrank, to `after`."""
        assert isinstance(self.decoder, Stack)  # no other has such embeddings
        stale = (text.reach != text.reaching(after)).any(1) & (state.lengths > 0)
        for row in stale.nonzero()[:, 0].tolist():
            if text.limited:
                raise RequestError(
                    "the text has come to a length at which the model reads all of it anew, and it was read with "
                    "some of it hidden; read it in one step"
                )
            part = state.narrow(row, row + 1)  # in the same memory
            part.rewind(0)
            seen = text.tokens[row : row + 1, : int(state.lengths[row])]
            for start in range(0, seen.shape[1], CHUNK):
                tokens = seen[:, start : start + CHUNK]
                self.decoder.decode(self.embed(tokens), part, None, None, after[row : row + 1])
                part.lengths = part.lengths + tokens.shape[1]


class Decoder(Predictor):
    """A language model: it continues a text."""

    def start(self, rows: int, capacity: int) -> State:
        """An empty state for `rows` sequences of at most `capacity` tokens each."""
        return self.decoder.start(rows, capacity)

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
        return self._read(tokens, self.start(len(tokens), 0) if state is None else state, counts, visible)

    def forward(self, tokens: Tensor, visible: Tensor | None = None) -> Tensor:
        """Logits [B, T, V] for tokens [B, T] read at once and not remembered; what training calls."""
        return self.logits(self.read(tokens, visible=visible))


class Seq2Seq(Predictor):
    """An encoder–decoder: it reads a source text whole, then writes another one, listening to the first."""

    def __init__(
        self,
        config: ModelConfig,
        source_embed: nn.Module | None,
        encoder: Stack | RecurrentEncoder,
        embed: nn.Module,
        decoder: Stack | RecurrentDecoder,
        head: nn.Module,
    ) -> None:
        super().__init__(config, embed, decoder, head)
        self.source_embed = source_embed  # None: source and target share embeddings
        self.encoder = encoder

    @property
    def source_vocab(self) -> int:
        """How many tokens a source may be of."""
        return self.config.source_vocab or self.vocab

    @property
    def crosses(self) -> list[Attention]:
        """The attention to the source, layer by layer; a recurrent decoder has one or none."""
        return self.decoder.crosses

    def encode(self, tokens: Tensor, lengths: Tensor | None = None, visible: Tensor | None = None) -> Memory:
        """Reads source tokens [B, S], each row padded on the right behind its length ([B] int64 on CPU; None: S).

        visible: [B, S] bool; no position of the source, in any layer, nor any of the target will attend to one that
        is False. Raises RequestError if that leaves a row nothing, or if the encoder is recurrent.
        """
        lengths = whole(tokens) if lengths is None else lengths
        embed = self.embed if self.source_embed is None else self.source_embed
        return self.encoder.encode(embedded(embed, tokens), lengths, visible)

    def start(self, memory: Memory, capacity: int) -> State:
        """A state for one target of at most `capacity` tokens for each row of the memory.

        What the decoder needs of the source is computed here, once, and kept in the state.
        """
        return self.decoder.start(len(memory.lengths), capacity, memory)

    def read(self, tokens: Tensor, state: State, counts: Tensor | None = None, visible: Tensor | None = None) -> Tensor:
        """Like `step`, but returns the final hidden states [B, T, W], before the head."""
        return self._read(tokens, state, counts, visible)

    def forward(
        self,
        source: Tensor,
        lengths: Tensor | None,
        target: Tensor,
        visible: Tensor | None = None,
        source_visible: Tensor | None = None,
    ) -> Tensor:
        """Logits [B, T, V] for target tokens [B, T] read at once behind source tokens [B, S]; what training calls.

        lengths, source_visible: see `encode`. visible: see `step`. Targets padded on the right need no lengths, since
        no position sees a later one.
        """
        state = self.start(self.encode(source, lengths, source_visible), 0)
        return self.logits(self.read(target, state, visible=visible))


class Encoder(Built):
    """A model that reads a text whole, every position seeing every other, and answers by its head (BERT)."""

    def __init__(self, config: ModelConfig, embed: nn.Module, encoder: Stack, head: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.embed = embed
        self.encoder = encoder
        self.head = head

    @property
    def stack(self) -> Stack:
        """The encoder."""
        return self.encoder

    def read(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        visible: Tensor | None = None,
        types: Tensor | None = None,
    ) -> Tensor:
        """The hidden states [B, T, W] behind the last layer, of tokens [B, T].

        lengths: [B] int64 on CPU, the real tokens of each row where rows are padded on the right (None: T). visible:
        [B, T] bool; no position attends to one that is False. types: [B, T], the type of each token (None: all 0).
        """
        lengths = whole(tokens) if lengths is None else lengths
        return self.encoder.encode(embedded(self.embed, tokens), lengths, visible, types).hidden

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        visible: Tensor | None = None,
        types: Tensor | None = None,
    ) -> Tensor:
        """What the head answers, in float32: [B, T, n] from one that answers at each position, [B, n] from one that
        answers for a whole text. See `read`."""
        lengths = whole(tokens) if lengths is None else lengths
        hidden = self.read(tokens, lengths, visible, types)
        for_texts = isinstance(self.head, SequenceClassifier | Pooling)
        answer: Tensor = self.head(hidden, lengths) if for_texts else self.head(hidden)
        return answer


LanguageModel = Decoder | Seq2Seq
"""A built model that writes text."""


def begin(model: LanguageModel, rows: int, capacity: int, sources: Sequence[Sequence[int]] = ()) -> State:
    """An empty state for `rows` texts of at most `capacity` tokens each.

    sources: for an encoder–decoder, the token ids of each row's source, of any lengths, which are encoded here; left
    out for a state that others are to be `put` into.
    """
    if not isinstance(model, Seq2Seq):
        return model.start(rows, capacity)
    if not sources:
        return model.decoder.start(rows, capacity)
    tokens = pad_sequence([torch.tensor(source) for source in sources], batch_first=True)
    lengths = torch.tensor([len(source) for source in sources])
    return model.start(model.encode(tokens.to(model.device), lengths), capacity)


Network = LanguageModel | Encoder
"""A built model of any kind."""

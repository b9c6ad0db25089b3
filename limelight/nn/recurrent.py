"""The models before the Transformer: Elman networks, GRU and LSTM, which carry one state from word to word.

The cells are torch's own. `encode` and `decode` are those of `limelight.nn.stack.Stack`, so that whatever runs a
transformer runs these too, and attention to a source is the same `Attention`, with one head and few projections.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from limelight.errors import RequestError
from limelight.nn.attention import Attention
from limelight.nn.mask import FullMasks
from limelight.nn.positions import Positions
from limelight.nn.state import Memory, Source, State

Cell = Literal["rnn", "gru", "lstm"]
Tensors = tuple[Tensor, ...]
"""What a layer carries from word to word: h [B, W], for an LSTM also c [B, W]."""

CELLS: dict[Cell, type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class Carried:
    """One layer's part of a `State`."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors

    def select(self, rows: Tensor) -> "Carried":
        """The given rows, in that order; rows may repeat."""
        return Carried(tuple(tensor[rows] for tensor in self.tensors))

    def narrow(self, start: int, stop: int) -> "Carried":
        """The rows from `start` up to `stop`."""
        return Carried(tuple(tensor[start:stop] for tensor in self.tensors))

    def put(self, row: int, other: "Carried", length: int) -> None:
        """Replaces the rows from `row` on by those of `other`."""
        self.tensors = tuple(
            torch.cat((own[:row], new, own[row + len(new) :]))
            for own, new in zip(self.tensors, other.tensors, strict=True)
        )

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return sum(tensor.nbytes for tensor in self.tensors)


class RecurrentLayer(nn.Module):
    """One layer of cells, [B, T, inputs] → [B, T, width]; in both directions, each gives half of the width."""

    def __init__(self, cell: Cell, inputs: int, width: int, both: bool = False) -> None:
        super().__init__()
        self.carries = 2 if cell == "lstm" else 1
        self.cell = CELLS[cell](inputs, width // 2 if both else width, batch_first=True, bidirectional=both)

    def forward(self, x: Tensor, before: Tensors | None, counts: Tensor | None) -> tuple[Tensor, Tensors]:
        """The outputs and what is carried on.

        before: None at the beginning of a text. counts: [B] int64 on CPU, the real positions of each row (None: all);
        padding behind them changes nothing that is carried, and its outputs mean nothing.
        """
        T = x.shape[1]
        carried = None
        if before is not None:
            carried = before[0][None] if self.carries == 1 else tuple(tensor[None] for tensor in before)
        if counts is None or T == 1 or bool((counts == T).all()):
            out, after = self.cell(x, carried)
        else:
            packed = pack_padded_sequence(x, counts.clamp(min=1), batch_first=True, enforce_sorted=False)
            out, after = self.cell(packed, carried)
            out, _ = pad_packed_sequence(out, batch_first=True, total_length=T)
        tensors = (after,) if self.carries == 1 else after
        done = tuple(tensor.transpose(0, 1).flatten(1) for tensor in tensors)  # directions side by side
        if before is None or counts is None:
            return out, done
        return out, tuple(_where_read(counts > 0, new, old) for new, old in zip(done, before, strict=True))


def _where_read(read: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows of `new` where `read` [B], else of `old`."""
    return new if bool(read.all()) else torch.where(read.to(new.device)[:, None], new, old)


class RecurrentEncoder(nn.Module):
    """Layers that read a source text forward, backward, or both.

    Read backward (Sutskever et al., 2014, section 3.3) the first words, which the translation begins with, are the
    last that the encoder saw. The memory is in the order of the text whatever the direction. Dropout acts on what
    each layer reads and never between steps (Zaremba et al., 2014).
    """

    def __init__(self, blocks: Sequence[RecurrentLayer], backward: bool, scale: float, dropout: nn.Module) -> None:
        super().__init__()
        self.scale = scale
        self.blocks = nn.ModuleList(blocks)
        self.backward = backward
        self.dropout = dropout

    @property
    def dtype(self) -> torch.dtype:
        """The number type between the layers."""
        return next(self.parameters()).dtype

    def encode(self, x: Tensor, lengths: Tensor, visible: Tensor | None) -> Memory:
        """Reads x [B, S, W], each row up to its length [B]. Raises RequestError if `visible` is given."""
        hides_nothing(visible)
        mask = FullMasks(lengths, x.shape[1], None, x.device).mask
        final: list[Tensors] = []
        x = x * self.scale
        if self.backward:
            x = _reversed(x, lengths)
        for block in self.blocks:
            x, carried = block(self.dropout(x), None, lengths)
            final.append(carried)
        if self.backward:
            x = _reversed(x, lengths)
        return Memory(x, lengths, mask, tuple(torch.stack(layers, 1) for layers in zip(*final, strict=True)))


def _reversed(x: Tensor, lengths: Tensor) -> Tensor:
    """x [B, S, W] with the real positions of each row in reverse, the padding where it was."""
    place = torch.arange(x.shape[1])
    mirrored = lengths[:, None] - 1 - place  # [B, S]
    index = torch.where(mirrored >= 0, mirrored, place).to(x.device)
    return x.gather(1, index[:, :, None].expand_as(x))


def hides_nothing(visible: Tensor | None) -> None:
    """Raises RequestError if there is a limit on what may be seen."""
    if visible is not None:
        raise RequestError(
            "a recurrent model reads all words into one state and none can be hidden from it; leave words out instead"
        )


class RecurrentDecoder(nn.Module, ABC):
    """Layers that read a text from left to right; how they listen to a source is each class's own."""

    feeds = False
    """Besides each layer's state, one more vector [B, W] is carried: what the last step gave."""

    def __init__(self, blocks: Sequence[RecurrentLayer], width: int, scale: float, dropout: nn.Module) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.width = width
        self.scale = scale
        self.dropout = dropout

    @property
    def dtype(self) -> torch.dtype:
        """The number type between the layers."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    @abstractmethod
    def crosses(self) -> list[Attention]:
        """The attention to the source, if there is one."""

    @abstractmethod
    def read(
        self, x: Tensor, before: list[Tensors], counts: Tensor | None, source: Source | None
    ) -> tuple[Tensor, list[Tensors]]:
        """Reads x [B, T, W]: what the head reads [B, T, W], and what is carried on."""

    def start(self, rows: int, capacity: int, memory: Memory | None = None) -> State:
        """The state of `rows` texts of at most `capacity` tokens, before their first.

        Behind a recurrent encoder each layer begins where the encoder's layer ended, otherwise at zero.
        """
        zero = torch.zeros(rows, self.width, dtype=self.dtype, device=next(self.parameters()).device)
        carries = cast("RecurrentLayer", self.blocks[0]).carries
        first: list[Tensors] = [(zero,) * carries] * len(self.blocks)
        if memory is not None and memory.final:
            first = list(zip(*(tensor.unbind(1) for tensor in memory.final), strict=True))
        if self.feeds:
            first.append((zero,))
        source = None if memory is None or not self.crosses else Source.of(memory, self.crosses)
        return State([Carried(t) for t in first], torch.zeros(rows, dtype=torch.int64), capacity, source, rewinds=False)

    def decode(self, x: Tensor, state: State, counts: Tensor | None, visible: Tensor | None) -> Tensor:
        """Reads x [B, T, W] behind what the state has seen: [B, T, W].

        What is carried is kept in the state; its lengths are the caller's to move on. counts: [B] int64 on CPU, the
        real positions of each row. Raises RequestError if `visible` is given.
        """
        hides_nothing(visible)
        parts = cast("Sequence[Carried]", state.parts)
        out, after = self.read(self.dropout(x * self.scale), [part.tensors for part in parts], counts, state.source)
        for part, tensors in zip(parts, after, strict=True):
            part.tensors = tensors
        return out

    def run(self, x: Tensor, before: Sequence[Tensors], counts: Tensor | None) -> tuple[Tensor, list[Tensors]]:
        """The layers alone, one after the other over all of x: the last one's outputs, and what each carries on."""
        after: list[Tensors] = []
        for i, block in enumerate(self.blocks):
            x, carried = block(self.dropout(x) if i else x, before[i], counts)
            after.append(carried)
        return x, after


class PlainDecoder(RecurrentDecoder):
    """No attention: a language model, or a decoder that knows of the source only where it begins (Sutskever, 2014)."""

    @property
    def crosses(self) -> list[Attention]:
        return []

    def read(
        self, x: Tensor, before: list[Tensors], counts: Tensor | None, source: Source | None
    ) -> tuple[Tensor, list[Tensors]]:
        out, after = self.run(x, before, counts)
        return self.dropout(out), after


class ListeningDecoder(RecurrentDecoder, ABC):
    """A decoder with attention to the source. join: of what is heard and the state, to what the head reads."""

    def __init__(
        self,
        blocks: Sequence[RecurrentLayer],
        width: int,
        scale: float,
        dropout: nn.Module,
        attention: Attention,
        join: nn.Module,
    ) -> None:
        super().__init__(blocks, width, scale, dropout)
        self.attention = attention
        self.join = join

    @property
    def crosses(self) -> list[Attention]:
        return [self.attention]


class LuongDecoder(ListeningDecoder):
    """Attention behind the layers (Luong et al., 2015): the state asks, and what it hears is joined to it.

    The *attentional vector* ``tanh(join [heard; state])`` (their equation 5) is what the head reads. All words of a
    text are read at once.
    """

    def read(
        self, x: Tensor, before: list[Tensors], counts: Tensor | None, source: Source | None
    ) -> tuple[Tensor, list[Tensors]]:
        out, after = self.run(x, before, counts)
        heard = _listen(self.attention, out, source)
        return self.dropout(self.join(torch.cat((heard, out), -1)).tanh()), after


class FeedingDecoder(ListeningDecoder):
    """Luong's attention with input feeding (section 3.3): each step also reads the attentional vector of the last.

    The first layer reads [word; vector], 2W wide, and a text is read word by word.
    """

    feeds = True

    def read(
        self, x: Tensor, before: list[Tensors], counts: Tensor | None, source: Source | None
    ) -> tuple[Tensor, list[Tensors]]:
        *carried, (fed,) = before
        outs = []
        for t in range(x.shape[1]):
            now = None if counts is None else (counts > t).long()
            state, carried = self.run(torch.cat((x[:, t : t + 1], fed[:, None]), -1), carried, now)
            heard = _listen(self.attention, state, source)
            vector = self.dropout(self.join(torch.cat((heard, state), -1)).tanh())  # [B, 1, W]
            fed = vector[:, 0] if now is None else _where_read(now > 0, vector[:, 0], fed)
            outs.append(vector)
        return torch.cat(outs, 1), [*carried, (fed,)]


class BahdanauDecoder(ListeningDecoder):
    """Attention before the layers (Bahdanau et al., 2015, section 3.1): the last state asks, the step reads the answer.

    The first layer reads [word; heard], 2W wide. The head reads ``tanh(join [state; heard; word])``, one layer in the
    place of the paper's maxout (appendix A.2.2). A text is read word by word.
    """

    def read(
        self, x: Tensor, before: list[Tensors], counts: Tensor | None, source: Source | None
    ) -> tuple[Tensor, list[Tensors]]:
        carried = before
        states, answers = [], []
        for t in range(x.shape[1]):
            now = None if counts is None else (counts > t).long()
            heard = _listen(self.attention, carried[-1][0][:, None], source)  # [B, 1, W]
            state, carried = self.run(torch.cat((x[:, t : t + 1], heard), -1), carried, now)
            states.append(state)
            answers.append(heard)
        read = torch.cat((torch.cat(states, 1), torch.cat(answers, 1), x), -1)  # [B, T, 3W]
        return self.dropout(self.join(read).tanh()), carried


def _listen(attention: Attention, asking: Tensor, source: Source | None) -> Tensor:
    """What states [B, T, W] hear of the source [B, T, W]; positions play no part."""
    assert source is not None
    return attention.attend(asking, source.expanded[0], _NOWHERE, source.mask)


_NOWHERE = Positions(torch.empty(0, dtype=torch.int64), 0)

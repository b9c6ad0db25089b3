"""What a model remembers of the texts it is reading: the same verbs for transformers and recurrent models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from limelight.errors import RequestError
from limelight.nn.attention import Attention, KeysValues
from limelight.nn.cache import KVCache, copy
from limelight.nn.mask import Mask
from limelight.nn.positions import FollowingScaling, LongRopeScaling, Positions

NOTHING = -1
"""The origin of a row that hears nothing yet."""


@dataclass(frozen=True)
class Memory:
    """A source text as an encoder leaves it; every tensor has rows in dimension 0.

    hidden: [B, S, W]. lengths: [B] int64 on CPU. mask: which positions may be attended to. final: where the encoder is
    recurrent, the states it ended in, [B, L, W] each (one tensor, for an LSTM two); otherwise empty.
    """

    hidden: Tensor
    lengths: Tensor
    mask: Mask
    final: tuple[Tensor, ...] = ()

    def select(self, rows: Tensor) -> "Memory":
        """The given rows (int64 on CPU), in that order; rows may repeat."""
        final = tuple(tensor[rows] for tensor in self.final)
        return Memory(self.hidden[rows], self.lengths[rows], self.mask.select(rows), final)


@dataclass(frozen=True)
class Source:
    """What a decoder's layers attend to beside their own text, made once for each request.

    layers: keys and values of each attending layer, a row for each of the memory. mask: which positions of it each of
    the B rows may hear. origin: [B] int64 on CPU, the row of the memory that each row hears: those of a beam the same,
    and one that nothing was put into yet NOTHING.
    """

    layers: tuple[KeysValues, ...]
    mask: Mask
    origin: Tensor

    @classmethod
    def of(cls, memory: Memory, attentions: Iterable[Attention]) -> "Source":
        """What each of `attentions` hears of the memory."""
        rows, length = memory.hidden.shape[:2]
        positions = Positions(torch.arange(length, device=memory.hidden.device), length)
        layers = tuple(attention.keys_values(memory.hidden, positions) for attention in attentions)
        return cls(layers, memory.mask, torch.arange(rows))

    @classmethod
    def silent(cls, rows: int) -> "Source":
        """What `rows` rows hear before anything was put into them."""
        return cls((), Mask(lengths=torch.zeros(rows, dtype=torch.int64)), torch.full((rows,), NOTHING))

    def put(self, row: int, other: "Source") -> "Source":
        """The rows from `row` on replaced by those of `other`, whose texts may be longer or shorter.

        Keys and values that no row hears any longer are left out; none are copied where both have the same ones.
        """
        rows = slice(row, row + len(other.origin))
        lengths = None
        if self.mask.lengths is not None and other.mask.lengths is not None:
            lengths = self.mask.lengths.clone()
            lengths[rows] = other.mask.lengths
        origin = self.origin.clone()
        origin[rows] = NOTHING
        kept, new = torch.unique(origin[origin != NOTHING]), torch.unique(other.origin)
        if self.layers is other.layers or not len(kept):
            layers = other.layers
            origin[rows] = other.origin
        else:
            longest = max(layers[0].k.shape[2] for layers in (self.layers, other.layers))
            length = longest if lengths is None else int(lengths.max())
            layers = tuple(
                KeysValues(_together(own.k, kept, its.k, new, length), _together(own.v, kept, its.v, new, length))
                for own, its in zip(self.layers, other.layers, strict=True)
            )
            origin = torch.where(origin == NOTHING, NOTHING, torch.searchsorted(kept, origin))
            origin[rows] = len(kept) + torch.searchsorted(new, other.origin)
        keys, device = layers[0].k.shape[2], layers[0].k.device
        if lengths is not None and bool((lengths == keys).all()):
            return Source(layers, Mask(lengths=lengths), origin)
        allowed = _allowed(self.mask, keys, device)
        allowed[rows] = _allowed(other.mask, keys, device)
        return Source(layers, Mask(allowed=allowed, lengths=lengths), origin)

    def select(self, rows: Tensor) -> "Source":
        """The given rows; no keys and values are copied."""
        origin = self.origin[rows]
        if torch.equal(origin, self.origin):  # as mostly in a beam search
            return self
        return Source(self.layers, self.mask.select(rows), origin)

    @cached_property
    def expanded(self) -> tuple[KeysValues, ...]:
        """Keys and values of each attending layer, a row for each of the B rows, for who cannot look them up."""
        first, rows = int(self.origin[0]), len(self.origin)
        if torch.equal(self.origin, torch.arange(first, first + rows)):
            return tuple(
                KeysValues(layer.k[first : first + rows], layer.v[first : first + rows]) for layer in self.layers
            )
        return tuple(KeysValues(layer.k[self.origin], layer.v[self.origin]) for layer in self.layers)

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        return sum(layer.k.nbytes + layer.v.nbytes for layer in self.layers)


def _together(own: Tensor, kept: Tensor, other: Tensor, new: Tensor, length: int) -> Tensor:
    """Rows `kept` of `own` and behind them rows `new` of `other`, [.., K, S, D] each, S cut or filled to `length`."""
    both = own.new_zeros(len(kept) + len(new), own.shape[1], length, own.shape[3])
    for rows, part in ((both[: len(kept)], own[kept.to(own.device)]), (both[len(kept) :], other[new.to(own.device)])):
        rows[:, :, : part.shape[2]] = part[:, :, :length]
    return both


def _allowed(mask: Mask, keys: int, device: torch.device) -> Tensor:
    """Which of so many keys a source's mask lets its rows hear, as a tensor of its own [B, 1, 1, S]."""
    if mask.lengths is not None:
        return (torch.arange(keys) < mask.lengths[:, None])[:, None, None].to(device)
    assert mask.allowed is not None
    return F.pad(mask.allowed, (0, keys - mask.allowed.shape[-1])).clone()


class Part(Protocol):
    """One layer's share of a state; every tensor in it has rows in dimension 0."""

    def select(self, rows: Tensor) -> "Part":
        """The given rows, in that order."""
        ...

    def narrow(self, start: int, stop: int) -> "Part":
        """The rows from `start` up to `stop`, in the same memory where there is much of it."""
        ...

    def put(self, row: int, other: Self, length: int) -> None:
        """Replaces the rows from `row` on by those of `other`, which have seen at most `length` tokens."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes in use."""
        ...


class Text:
    """The tokens that each row has read: kept where rotary embeddings follow the length of the text, since a text
    that has grown may have to be read anew.

    tokens: [B, capacity] int64 on the model's device. given: [B] int64 on CPU, see `State.give`. reach: [B, n] int64 on
    CPU, what each of the n scalings has turned the keys for. limited: whether any of it was read with a limit on what
    it may see.
    """

    def __init__(
        self,
        scalings: tuple[FollowingScaling, ...],
        tokens: Tensor,
        given: Tensor,
        reach: Tensor,
        limited: bool = False,
    ) -> None:
        self.scalings = scalings
        self.tokens = tokens
        self.given = given
        self.reach = reach
        self.limited = limited

    @classmethod
    def empty(cls, rows: int, capacity: int, scalings: tuple[FollowingScaling, ...], device: torch.device) -> "Text":
        """Room for `rows` texts of at most `capacity` tokens."""
        with torch.inference_mode(False):
            tokens = torch.zeros(rows, capacity, dtype=torch.int64, device=device)
        return cls(
            scalings, tokens, torch.zeros(rows, dtype=torch.int64), torch.zeros(rows, len(scalings), dtype=torch.int64)
        )

    def reaching(self, length: Tensor) -> Tensor:
        """What the keys of texts of `length` tokens [B] are turned for: [B, n]."""
        return torch.stack([scaling.reach(length, self.given) for scaling in self.scalings], 1)

    def turn(self, length: Tensor) -> None:
        """Notes that the keys are now turned for texts of `length` tokens."""
        self.reach = self.reaching(length)

    def write(self, tokens: Tensor, starts: Tensor) -> None:
        """Notes tokens [B, T] that are read behind `starts` [B]."""
        place = starts.to(tokens.device)[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        self.tokens.scatter_(1, place, tokens)

    def select(self, rows: Tensor) -> "Text":
        """The given rows, in that order; rows may repeat."""
        with torch.inference_mode(False):
            tokens = self.tokens[rows.to(self.tokens.device)]
        return Text(self.scalings, tokens, self.given[rows], self.reach[rows], self.limited)

    def narrow(self, start: int, stop: int) -> "Text":
        """The rows from `start` up to `stop`, their tokens in the same memory."""
        rows = slice(start, stop)
        return Text(self.scalings, self.tokens[rows], self.given[rows], self.reach[rows], self.limited)

    def put(self, row: int, other: "Text", length: int) -> None:
        """Replaces the rows from `row` on by the first `length` tokens of the other's."""
        rows = slice(row, row + len(other.tokens))
        self.tokens[rows, :length] = other.tokens[:, :length]
        self.given, self.reach = self.given.clone(), self.reach.clone()
        self.given[rows], self.reach[rows] = other.given, other.reach
        self.limited = self.limited or other.limited

    @property
    def nbytes(self) -> int:
        """Bytes set aside."""
        return self.tokens.nbytes


class State:
    """The memory of a batch of sequences between steps.

    parts: one per layer; none where nothing is to be remembered. lengths: [B] int64 on CPU, tokens seen by each row.
    capacity: the most that a row can hold. source: what the decoder of an encoder–decoder hears. rewinds: whether steps
    can be taken back, which a recurrent model, having only its last state, cannot. text: what was read, where it may
    have to be read anew.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        lengths: Tensor,
        capacity: int,
        source: Source | None = None,
        rewinds: bool = True,
        text: Text | None = None,
    ) -> None:
        self.parts = tuple(parts)
        self.lengths = lengths
        self.capacity = capacity
        self.source = source
        self.rewinds = rewinds
        self.text = text

    def give(self, lengths: Tensor) -> None:
        """Says how long the texts are that the rows are given before they are continued: [B] int64 on CPU.

        Where rotary embeddings follow the length of a text, all of it is then turned for that length from its first
        chunk on, and what continues it is turned as transformers' `generate` does. Unsaid, what is read is turned for
        the length that the text has with it, and read anew whenever that changes.
        """
        if self.text is not None:
            self.text.given = lengths

    @property
    def border(self) -> int | None:
        """The longest text that is not read anew when a token is added; None: none ever is once `give` was called."""
        scalings = () if self.text is None else self.text.scalings
        return min((scaling.original for scaling in scalings if isinstance(scaling, LongRopeScaling)), default=None)

    def select(self, rows: Tensor) -> "State":
        """A state of the given rows (int64 on CPU), in that order; rows may repeat."""
        source = None if self.source is None else self.source.select(rows)
        text = None if self.text is None else self.text.select(rows)
        parts = [part.select(rows) for part in self.parts]
        return State(parts, self.lengths[rows], self.capacity, source, self.rewinds, text)

    def fork(self, n: int) -> "State":
        """Each row n times, copies side by side."""
        return self.select(torch.arange(len(self.lengths)).repeat_interleave(n))

    def narrow(self, start: int, stop: int) -> "State":
        """A state of the rows from `start` up to `stop`, which goes on in this one's memory where there is much of it.

        What its steps come to is seen here only when it is put back.
        """
        parts = [part.narrow(start, stop) for part in self.parts]
        source = None if self.source is None else self.source.select(torch.arange(start, stop))
        text = None if self.text is None else self.text.narrow(start, stop)
        return State(parts, self.lengths[start:stop], self.capacity, source, self.rewinds, text)

    def put(self, row: int, other: "State") -> None:
        """Replaces the rows from `row` on by those of `other`, whose capacity may differ; it is of the same model.

        A state that hears no source, because it was started without one, hears what is put into it. Raises RequestError
        if a row has seen more than there is room for here, or if this state hears a source and the other does not.
        """
        length = int(other.lengths.max())
        if length > self.capacity:
            raise RequestError(f"a text of {length:,} tokens does not fit a state with room for {self.capacity:,}")
        if self.source is not None and other.source is None:
            raise RequestError("what hears no source cannot be put where one is heard; start it behind a source")
        for part, others in zip(self.parts, other.parts, strict=True):
            part.put(row, others, length)
        if self.text is not None and other.text is not None:
            self.text.put(row, other.text, length)
        if other.source is not None:
            self.source = (self.source or Source.silent(len(self.lengths))).put(row, other.source)
        self.lengths = self.lengths.clone()
        self.lengths[row : row + len(other.lengths)] = other.lengths

    @property
    def has_prefixes(self) -> bool:
        """Whether what is kept of a text's first tokens depends on these alone, so that `prefix` can be asked for.

        That is so where keys and values are kept, and neither a source nor the length of the whole text goes into them.
        """
        return self.source is None and self.text is None and all(isinstance(part, KVCache) for part in self.parts)

    def prefix(self, row: int, start: int, stop: int) -> Tensor:
        """A copy of a row's keys and values of the tokens from `start` up to `stop`: [n, F], layers side by side."""
        kept = self._kept()
        found = kept[0].new_empty(stop - start, sum(_width(tensor) for tensor in kept))
        for tensor, part in zip(kept, _parts(found, kept), strict=True):
            copy(part, tensor[row, :, start:stop].transpose(0, 1))
        return found

    def emptied(self, starts: Sequence[int]) -> "State":
        """The same rows in the same memory, nothing seen; only where nothing but keys and values is kept.

        starts: for each row the position from which on it is to be clean, since a text may leave what is no number.
        """
        for cache in cast("Sequence[KVCache]", self.parts):
            for row, start in enumerate(starts):
                cache.clean(row, start)
        return State(self.parts, torch.zeros_like(self.lengths), self.capacity, rewinds=self.rewinds)

    def begin(self, row: int, prefix: Tensor) -> None:
        """Lets a row that has seen nothing begin with what `prefix` gave, from the first token on, in such a state."""
        kept = self._kept()
        for tensor, part in zip(kept, _parts(prefix, kept), strict=True):
            copy(tensor[row, :, : len(part)], part.transpose(0, 1))
        for cache in cast("Sequence[KVCache]", self.parts):
            cache.written = max(cache.written, len(prefix))
        self.lengths = self.lengths.clone()
        self.lengths[row] = len(prefix)

    def _kept(self) -> list[Tensor]:
        """The keys and values of each layer, [B, K, capacity, D], of widths that may differ."""
        return [tensor for cache in cast("Sequence[KVCache]", self.parts) for tensor in (cache.keys, cache.values)]

    def rewind(self, to: int | Tensor) -> None:
        """Forgets everything after `to` tokens (one number, or one for each row).

        Raises RequestError if a row has not seen as many, or if the model is recurrent and would have to go back.
        """
        lengths = torch.as_tensor(to, dtype=torch.int64).expand_as(self.lengths)
        if bool((lengths > self.lengths).any()) or bool((lengths < 0).any()):
            raise RequestError(
                f"cannot rewind to {lengths.tolist()}: the rows have seen {self.lengths.tolist()} tokens"
            )
        if not self.rewinds and not torch.equal(lengths, self.lengths):
            raise RequestError(
                "a recurrent model keeps only its last state and cannot take back what it read; "
                "start again and read the part to keep"
            )
        self.lengths = lengths.clone()

    @property
    def nbytes(self) -> int:
        """Bytes set aside for the whole state."""
        others = [part for part in (self.source, self.text) if part is not None]
        return sum(part.nbytes for part in (*self.parts, *others))


def _width(kept: Tensor) -> int:
    """The numbers of a token in one layer's keys or values [B, K, capacity, D]."""
    return kept.shape[1] * kept.shape[3]


def _parts(prefix: Tensor, kept: Sequence[Tensor]) -> list[Tensor]:
    """Of a prefix [n, F], what goes into each: [n, K, D]."""
    parts = torch.split(prefix, [_width(tensor) for tensor in kept], 1)
    return [part.view(len(part), tensor.shape[1], -1) for part, tensor in zip(parts, kept, strict=True)]

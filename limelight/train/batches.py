"""Which examples stand in which batch, and the batches themselves.

Everything is a pure function of (seed, epoch, pool, number): a run that goes on needs only its `Position`. An epoch
visits each example once, in an order that is computed rather than stored, in pools of POOL examples; a pool is sorted
by length, cut into batches of about equal token counts, and its batches are shuffled.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limelight.errors import RequestError
from limelight.text.tokenizer import Tokenizer
from limelight.train.tokenfile import Ints, TokenFile, Tokens

POOL = 1 << 17
IGNORE = -100  # a target that is not to be predicted


@dataclass(frozen=True)
class Marks:
    """The ids that a model is given around what it reads: start of a target, end of a sentence or text, filling."""

    start: int
    end: int
    pad: int

    @staticmethod
    def of(tokenizer: Tokenizer) -> "Marks":
        """A tokenizer's own marks. Raises RequestError if it has no token that ends a text."""
        if not tokenizer.eos:
            raise RequestError("this model's tokenizer has no token for the end of a text, so it cannot be trained on")
        end = tokenizer.suffix[-1] if tokenizer.suffix and tokenizer.suffix[-1] in tokenizer.eos else min(tokenizer.eos)
        start = tokenizer.separator if tokenizer.bos is None else tokenizer.bos
        return Marks(start, end, end if tokenizer.pad is None else tokenizer.pad)


@dataclass(frozen=True)
class Batch:
    """What a model reads, and what it is to say.

    tokens: [B, T]. targets: [B, T], the next token or the label of each place; [B], the label of each text, or [B, C],
    whether each label fits; IGNORE where none is asked for. source, lengths: [B, S] and [B] int64 on the CPU, for an
    encoder–decoder; an encoder has lengths alone, those of its tokens. reference: [B], numbers that rows are compared
    with. types: [B, T], those of an encoder's tokens (None: all 0). places: see `asked`. Every row is padded on the
    right.
    """

    tokens: Tensor
    targets: Tensor
    source: Tensor | None = None
    lengths: Tensor | None = None
    reference: Tensor | None = None
    types: Tensor | None = None
    places: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The batch where the model is; lengths stay on the CPU."""
        moved = (
            _moved(t, device)
            for t in (self.tokens, self.targets, self.source, self.reference, self.types, self.asked())
        )
        tokens, targets, source, reference, types, places = moved
        assert tokens is not None
        assert targets is not None
        return Batch(tokens, targets, source, self.lengths, reference, types, places)

    def asked(self) -> Tensor:
        """Where targets are asked for, among all places in a row: [N] int64. Found where the batch is made, since a
        device that counts them has to be waited for."""
        return (self.targets != IGNORE).flatten().nonzero()[:, 0] if self.places is None else self.places

    def texts(self) -> list[list[int]]:
        """The tokens of an encoder's rows, without what fills them up."""
        assert self.lengths is not None
        return [row[:length].tolist() for row, length in zip(self.tokens, self.lengths.tolist(), strict=True)]


def _moved(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    """A tensor on a device; to a CUDA device by a copy that nobody waits for."""
    if tensor is None or device.type != "cuda" or tensor.is_cuda:
        return None if tensor is None else tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Corpus(Protocol):
    """Examples by number."""

    def __len__(self) -> int: ...

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        """What each example takes in a batch: tokens beside (the source) and tokens to predict."""
        ...

    def batch(self, indices: Ints, epoch: int) -> Batch:
        """The examples, padded on the right."""
        ...


@final
class Pairs:
    """Sentence pairs for an encoder–decoder, or, `joined`, for a decoder that reads the source first."""

    def __init__(self, file: TokenFile, marks: Marks, *, joined: bool = False) -> None:
        self.file = file
        self.marks = marks
        self.joined = joined

    def __len__(self) -> int:
        return len(self.file) // 2

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        source, target = self.file.lengths(2 * indices) + 1, self.file.lengths(2 * indices + 1) + 1
        return (source + target - 1 if self.joined else source), target

    def batch(self, indices: Ints, epoch: int) -> Batch:
        marks = self.marks
        sources = [self.file[2 * int(i)] for i in indices]
        targets = [self.file[2 * int(i) + 1] for i in indices]
        if self.joined:
            tokens = padded([(*s, marks.start, *t) for s, t in zip(sources, targets, strict=True)], marks.pad)
            wanted = [(*[IGNORE] * len(s), *t, marks.end) for s, t in zip(sources, targets, strict=True)]
            return Batch(tokens, padded(wanted, IGNORE))
        source = padded([(*s, marks.end) for s in sources], marks.pad)
        lengths = torch.tensor([len(s) + 1 for s in sources])
        tokens = padded([(marks.start, *t) for t in targets], marks.pad)
        return Batch(tokens, padded([(*t, marks.end) for t in targets], IGNORE), source, lengths)


@final
class Answered:
    """Texts for an encoder, in the frame of its marks, and the labels that are right: one for each text, or, `placed`,
    those of some of its tokens, each behind its place; or any number of so many for a text (`several`)."""

    def __init__(self, file: TokenFile, pad: int, *, placed: bool = False, several: int = 0) -> None:
        self.file = file
        self.pad = pad
        self.placed = placed
        self.several = several

    def __len__(self) -> int:
        return len(self.file) // 2

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        tokens, said = self.file.lengths(2 * indices), self.file.lengths(2 * indices + 1)
        return tokens, said // 2 if self.placed else np.ones_like(tokens)

    def batch(self, indices: Ints, epoch: int) -> Batch:
        texts = [self.file[2 * int(i)] for i in indices]
        said = [torch.from_numpy(self.file[2 * int(i) + 1].astype(np.int64)) for i in indices]
        tokens = padded([tuple(text.tolist()) for text in texts], self.pad)
        lengths = torch.tensor([len(text) for text in texts])
        if self.several:
            fits = torch.zeros(len(texts), self.several)
            for row, labels in zip(fits, said, strict=True):
                row[labels] = 1
            return Batch(tokens, fits, None, lengths)
        if not self.placed:
            return Batch(tokens, torch.cat(said), None, lengths)
        targets = torch.full_like(tokens, IGNORE)
        for row, labels in zip(targets, said, strict=True):
            row[labels[::2]] = labels[1::2]
        return Batch(tokens, targets, None, lengths)


@final
class Chats:
    """Conversations for a decoder, of which the answers alone are to be predicted. file: tokens, and the places of the
    answers in them, a start and an end in turn."""

    def __init__(self, file: TokenFile, pad: int) -> None:
        self.file = file
        self.pad = pad

    def __len__(self) -> int:
        return len(self.file) // 2

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        places = (self.file[2 * int(i) + 1].astype(np.int64) for i in indices)
        said = np.fromiter((place[1::2].sum() - place[::2].sum() for place in places), np.int64, len(indices))
        return self.file.lengths(2 * indices) - 1, said

    def batch(self, indices: Ints, epoch: int) -> Batch:
        texts = [self.file[2 * int(i)].tolist() for i in indices]
        wanted = []
        for i, text in zip(indices, texts, strict=True):
            row = [IGNORE] * len(text)
            places = self.file[2 * int(i) + 1].tolist()
            for start, end in zip(places[::2], places[1::2], strict=True):
                row[start:end] = text[start:end]
            wanted.append(tuple(row[1:]))
        return Batch(padded([tuple(text[:-1]) for text in texts], self.pad), padded(wanted, IGNORE))


@final
class Texts:
    """Whole texts for a decoder, each from its beginning to its end."""

    def __init__(self, file: TokenFile, marks: Marks) -> None:
        self.file = file
        self.marks = marks

    def __len__(self) -> int:
        return len(self.file)

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        return np.zeros_like(indices), self.file.lengths(indices) + 1

    def batch(self, indices: Ints, epoch: int) -> Batch:
        texts = [tuple(self.file[int(i)].tolist()) for i in indices]
        tokens = padded([(self.marks.start, *text) for text in texts], self.marks.pad)
        return Batch(tokens, padded([(*text, self.marks.end) for text in texts], IGNORE))


@final
class Stream:
    """Running text for a decoder, in windows of `context` tokens; where they begin moves from epoch to epoch."""

    def __init__(self, tokens: Tokens, context: int) -> None:
        if len(tokens) <= context:
            raise RequestError(
                f"a text of {len(tokens):,} tokens is too short for windows of {context:,}; lower context"
            )
        self.tokens = tokens
        self.context = context

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.context

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        return np.zeros_like(indices), np.full_like(indices, self.context)

    def batch(self, indices: Ints, epoch: int) -> Batch:
        starts = indices * self.context + (epoch * 40503) % self.context  # steps that soon meet every beginning
        starts %= len(self.tokens) - self.context
        window = torch.from_numpy(self.tokens[starts[:, None] + np.arange(self.context + 1)].astype(np.int64))
        return Batch(window[:, :-1].contiguous(), window[:, 1:].contiguous())


@final
class Part:
    """The examples [first, end) of a corpus in an order of their own that mixes it."""

    def __init__(self, corpus: Corpus, first: int, end: int) -> None:
        self.corpus = corpus
        self.first = first
        self.end = end
        self.order = Shuffle(len(corpus), 0)

    def __len__(self) -> int:
        return self.end - self.first

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        return self.corpus.lengths(self.order(indices + self.first))

    def batch(self, indices: Ints, epoch: int) -> Batch:
        return self.corpus.batch(self.order(indices + self.first), epoch)


@dataclass(frozen=True)
class Position:
    """How far a run has read: `batch` batches of a pool of an epoch."""

    epoch: int = 0
    pool: int = 0
    batch: int = 0


@final
class Batches:
    """The order in which a corpus is read, in batches of at most `budget` tokens, padding counted.

    A single example that is longer than the budget is a batch of its own.
    """

    def __init__(self, corpus: Corpus, budget: int, seed: int) -> None:
        self.corpus = corpus
        self.budget = budget
        self.seed = seed

    def after(self, position: Position) -> Iterator[tuple[Position, Ints]]:
        """All batches from `position` on, without end: the numbers of their examples, and the position behind each."""
        epoch, pool, skip = position.epoch, position.pool, position.batch
        while True:
            for i, indices in enumerate(self.pool(epoch, pool)):
                if i >= skip:
                    yield Position(epoch, pool, i + 1), indices
            skip = 0
            pool += 1
            if pool * POOL >= len(self.corpus):
                epoch, pool = epoch + 1, 0

    def has(self, position: Position) -> bool:
        """Whether a run over this corpus can be at `position`."""
        epoch, pool, batch = position.epoch, position.pool, position.batch
        whole = all(type(number) is int and number >= 0 for number in (epoch, pool, batch))
        return whole and pool * POOL < len(self.corpus) and batch <= len(self.pool(epoch, pool))

    def epoch(self, epoch: int = 0) -> Iterator[Ints]:
        """The batches of one epoch."""
        for pool in range(-(-len(self.corpus) // POOL)):
            yield from self.pool(epoch, pool)

    def pool(self, epoch: int, pool: int) -> list[Ints]:
        """The batches of one pool in their shuffled order."""
        order = Shuffle(len(self.corpus), self.seed, epoch)
        members = order(np.arange(pool * POOL, min((pool + 1) * POOL, len(self.corpus))))
        source, target = self.corpus.lengths(members)
        # Equal targets stand together; among them sources rise and fall by turns, so that neighbours are always alike.
        by_length = np.lexsort((np.where(target % 2, source, -source), target))
        longest = np.maximum(source, target)[by_length].tolist()
        cuts, widest, rows = [], 0, 0
        for at, length in enumerate(longest):
            widest, rows = max(widest, length), rows + 1
            if rows > 1 and widest * rows > self.budget:
                cuts.append(at)
                widest, rows = length, 1
        batches = np.split(members[by_length], cuts)
        return [batches[i] for i in Shuffle(len(batches), self.seed, epoch, pool)(np.arange(len(batches)))]


@final
class Shuffle:
    """A permutation of range(n) that is computed, not stored: a keyed Feistel network, walked until it lands inside.

    (Black and Rogaway, 2002, "Ciphers with arbitrary finite domains".) Here for its constant memory, not for secrecy.
    """

    ROUNDS = 6

    def __init__(self, n: int, *key: int) -> None:
        self.n = n
        self.half = np.uint64(max(1, (max(n - 1, 1).bit_length() + 1) // 2))
        self.mask = np.uint64((1 << int(self.half)) - 1)
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8 * self.ROUNDS).digest()
        self.keys = np.frombuffer(digest, "<u8")

    def __call__(self, indices: Ints) -> Ints:
        """Where each of the indices goes."""
        places = self._mixed(indices.astype(np.uint64))
        while (outside := places >= self.n).any():
            places[outside] = self._mixed(places[outside])
        return places.astype(np.int64)

    def _mixed(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = x >> self.half, x & self.mask
        for key in self.keys:
            mixed = (right ^ key) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> np.uint64(32)) & self.mask)
        return (left << self.half) | right


def padded(rows: list[tuple[int, ...]], fill: int) -> Tensor:
    """Rows of numbers as one table, filled up on the right."""
    width = max(len(row) for row in rows)
    table = np.full((len(rows), width), fill, np.int64)
    for at, row in enumerate(rows):
        table[at, : len(row)] = row
    return torch.from_numpy(table)

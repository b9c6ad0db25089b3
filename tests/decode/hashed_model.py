"""A model without weights whose logits depend on every token of a row and on their order."""

import zlib

import torch
from torch import Tensor

from limelight.nn.state import State


class Prefixes:
    """The part of a state that simply remembers every token; tuples, so that selected rows share nothing."""

    def __init__(self, rows: list[tuple[int, ...]]) -> None:
        self.rows = rows

    def select(self, rows: Tensor) -> "Prefixes":
        return Prefixes([self.rows[row] for row in rows.tolist()])

    def narrow(self, start: int, stop: int) -> "Prefixes":
        return Prefixes(self.rows[start:stop])

    def put(self, row: int, other: "Prefixes", length: int) -> None:
        assert row + len(other.rows) <= len(self.rows), "there are no such rows"
        self.rows[row : row + len(other.rows)] = [prefix[:length] for prefix in other.rows]

    @property
    def nbytes(self) -> int:
        return 0


class HashedModel:
    """Implements `start` and `step` of a decoder and records the calls of `step`, as (rows, T, counts)."""

    def __init__(self, vocab: int = 50, context: int = 4096) -> None:
        self.vocab = vocab
        self.context = context
        self.device = torch.device("cpu")
        self.rooms: list[int] = []
        self.sizes: list[int] = []  # rows × room
        self.calls: list[tuple[int, int, list[int] | None]] = []

    def start(self, rows: int, room: int) -> State:
        self.rooms.append(room)
        self.sizes.append(rows * room)
        return State([Prefixes([()] * rows)], torch.zeros(rows, dtype=torch.int64), room)

    def step(
        self,
        tokens: Tensor,
        state: State,
        counts: Tensor | None = None,
        last: bool = False,
        visible: Tensor | None = None,
    ) -> Tensor:
        assert visible is None
        B, T = tokens.shape
        self.calls.append((B, T, None if counts is None else counts.tolist()))
        assert bool((state.lengths + T <= state.capacity).all()), "written past the room"
        assert state.capacity <= self.context
        (prefixes,) = state.parts
        assert isinstance(prefixes, Prefixes)
        real = [T] * B if counts is None else counts.tolist()
        before = [row[:seen] for row, seen in zip(prefixes.rows, state.lengths.tolist(), strict=True)]
        prefixes.rows = [row + tuple(new[:n]) for row, new, n in zip(before, tokens.tolist(), real, strict=True)]
        state.lengths = state.lengths + torch.tensor(real)
        nothing = torch.full((self.vocab,), torch.nan)  # behind what is no token
        logits = [
            [
                self.scores(row[: len(seen) + at]) if at <= n else nothing
                for at in ([n or 1] if last else range(1, T + 1))
            ]
            for row, seen, n in zip(prefixes.rows, before, real, strict=True)
        ]
        return torch.stack([torch.stack(row) for row in logits])

    def scores(self, prefix: tuple[int, ...]) -> Tensor:
        """The logits [V] after `prefix`."""
        seed = zlib.crc32(repr(prefix).encode())
        return torch.randn(self.vocab, generator=torch.Generator().manual_seed(seed)) * 3

    def greedy(self, prompt: list[int], n: int) -> list[int]:
        """The n likeliest tokens after `prompt`, one by one, without any of the code under test."""
        text = tuple(prompt)
        for _ in range(n):
            text += (int(self.scores(text).argmax()),)
        return list(text[len(prompt) :])

"""Drafts for speculative decoding: cheap guesses at the next tokens, which the model checks all in one step.

A guess is a definite token, never a draw. The model chooses each token as it would without a draft, and goes on through
the guesses for as long as it chooses the same (Leviathan et al., 2023, where the draft's distribution has one token):
so a draft changes how many steps a text takes and nothing else, in greedy decoding and in sampling alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import torch

from limelight.decode.request import CHUNK
from limelight.decode.sampling import likeliest
from limelight.models.api import begin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from limelight.models.api import LanguageModel
    from limelight.nn.state import State


class Draft(Protocol):
    """Guesses how one text goes on."""

    def propose(self, tokens: list[int], most: int) -> list[int]:
        """At most `most` tokens that may follow `tokens`, which begin as those of the last call did."""
        ...


class Lookup:
    """Guesses that a text goes on as it did where its last two or three tokens stood before (Saxena, 2023).

    That costs next to nothing and pays where texts repeat themselves or their prompt. Since the model's work grows with
    every guess, it begins with one and doubles them, up to `most`, for as long as all of them are right. wary: at
    first, and behind a mistake, it only compares what it would have guessed with what comes, and begins when that is
    right.
    """

    def __init__(self, most: int = 8, *, wary: bool = False) -> None:
        self._most = most
        self._least = 0 if wary else 1
        self._after: dict[tuple[int, ...], int] = {}  # where the text went on behind such tokens, the last time
        self._indexed = 0
        self._guess: list[int] = []
        self._guessed_at = 0
        self._trust = self._least

    def propose(self, tokens: list[int], most: int) -> list[int]:
        """See `Draft`."""
        for end in range(self._indexed + 1, len(tokens)):
            self._after[tuple(tokens[max(0, end - 3) : end])] = self._after[tuple(tokens[max(0, end - 2) : end])] = end
        self._indexed = max(self._indexed, len(tokens) - 1)

        if self._guess:
            right = tokens[self._guessed_at : self._guessed_at + len(self._guess)] == self._guess
            self._trust = min(max(1, 2 * self._trust), self._most) if right else self._least
        at = self._after.get(tuple(tokens[-3:]), self._after.get(tuple(tokens[-2:])))
        # What stood there goes on up to the end of the text, and then, in a text that goes round, once more.
        size = min(most, max(1, self._trust))
        self._guess = [] if at is None else [tokens[at + i % (len(tokens) - at)] for i in range(size)]
        self._guessed_at = len(tokens)
        return self._guess[: self._trust]


class Smaller:
    """Guesses what a smaller model with the same vocabulary thinks likeliest.

    most: tokens that are guessed at a time. Behind the smaller model's context nothing is guessed any more.
    """

    def __init__(self, model: LanguageModel, capacity: int, source: Sequence[int] = (), most: int = 4) -> None:
        """capacity: the longest text that will be asked about. source: what it is behind, for an encoder–decoder."""
        self._model = model
        self._source = source
        self._capacity = min(capacity + most, model.context)
        self._most = most
        self._state: State | None = None

    @torch.inference_mode()
    def propose(self, tokens: list[int], most: int) -> list[int]:
        """See `Draft`."""
        most = min(most, self._most, self._capacity - len(tokens) + 1)
        if most < 1:
            return []
        if self._state is None:
            self._state = begin(self._model, 1, self._capacity, [self._source])
            self._state.give(torch.tensor([len(tokens)]))
        for start in range(int(self._state.lengths[0]), len(tokens), CHUNK):
            logits = self._read(tokens[start : start + CHUNK], self._state)
        # What is guessed is taken back again, or by a recurrent model, which cannot, read into a copy.
        state = self._state if self._state.rewinds else self._state.fork(1)
        ids = likeliest(logits)
        while len(ids) < most:
            ids += likeliest(self._read(ids[-1:], state))
        if state is self._state:
            state.rewind(len(tokens))
        return ids

    def _read(self, tokens: list[int], state: State) -> Tensor:
        """The logits [1, V] behind the last of `tokens`."""
        return self._model.step(torch.tensor([tokens], device=self._model.device), state, last=True)[0]


Drafting: TypeAlias = "Literal['auto', 'lookup'] | LanguageModel"
"""How to guess: by `Lookup`, or by a smaller model. "auto" is a wary `Lookup` for a text that runs alone, where the
model is batch-invariant: it hardly ever costs anything, and what comes out is the same to the bit."""


def drafts(drafting: Drafting, capacity: int, source: Sequence[int]) -> Draft:
    """The draft for one text of at most `capacity` tokens behind a source, where there is one."""
    if isinstance(drafting, str):
        return Lookup(wary=drafting == "auto")
    return Smaller(drafting, capacity, source)

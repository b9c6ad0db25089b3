"""What is to be continued and what came of it: the plain objects that the engine hands about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from limelight.decode.processors import LogitsProcessor, Text

if TYPE_CHECKING:
    from torch import Tensor

    from limelight.decode.constraint import Constraint
    from limelight.decode.draft import Draft
    from limelight.decode.sampling import Sampling

CHUNK = 512
"""The most tokens of a text that a row reads in one step, so that memory doesn't grow with the text."""

Finish: TypeAlias = Literal["stop", "length", "context"]
"""Why a row ended: a stop token, `max_tokens` reached, or the model's context full."""

Status: TypeAlias = Literal["waiting", "reading", "running", "ended"]
"""Where a request is: in the queue (again, too, when it was put out), its prompt being read, generating, or over."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a model wants of the texts that it writes, whoever draws them.

    processors: applied before those of the sampling. last: the token that a text ends in where it comes to its limit.
    """

    processors: tuple[LogitsProcessor, ...] = ()
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token.

    row: which prompt it continues. id: the token. finish: why the row ends with it, or None if it goes on; with "stop"
    the token is the stop token itself. logprob, best: the natural logarithm of its probability and the likeliest
    (id, logprob), best first, both by the model's own distribution, before any processor; only if asked for.
    """

    row: int
    id: int
    finish: Finish | None = None
    logprob: float | None = None
    best: tuple[tuple[int, float], ...] = ()


Step: TypeAlias = tuple[Token, ...]
"""What one step of the model gives: the next token of each row that is running, in the order of the prompts; where a
draft was right, several tokens of a row, one behind the other."""


@dataclass(eq=False, slots=True)
class Request:
    """A prompt, how to continue it, and what has been generated so far; made by `Engine.submit`.

    row: its number, in the order of submission. tokens: the prompt, `given` tokens, and behind it what was generated.
    limit: the most that are generated, `max_tokens` or what the context leaves. logprobs: see `generate`. source: what
    an encoder–decoder writes behind; otherwise empty. rules, constraint: see `Engine.submit`. status: where it is; the
    engine moves it on. finish: why it ended; None while it goes on. error: what ended it if `finish` is "error".
    auto: whether the draft may guess only where that surely pays. cached: how many tokens of the prompt were not read,
    since they were known. blocks: see `decode.prefixes`. text: its tokens as processors see them.
    """

    row: int
    tokens: list[int]
    given: int
    limit: int
    max_tokens: int
    sampling: Sampling
    generator: torch.Generator
    stop: frozenset[int]
    logprobs: int | None
    draft: Draft | None
    auto: bool = False
    source: tuple[int, ...] = ()
    rules: Rules = Rules()
    constraint: Constraint | None = None
    status: Status = "waiting"
    finish: Finish | Literal["cancelled", "error"] | None = None
    error: Exception | None = None
    cached: int = 0
    blocks: list[bytes] = field(default_factory=list)
    text: Text = field(init=False)

    def __post_init__(self) -> None:
        self.text = Text(self.tokens, self.given)

    @property
    def manner(self) -> tuple[object, ...]:
        """How it chooses: all that have this in common may do so in one pass, each by its own dice."""
        return (self.sampling.temperature == 0, self.sampling.processors, *map(id, self.rules.processors))

    @property
    def generated(self) -> list[int]:
        """The tokens behind the prompt, a stop token included."""
        return self.tokens[self.given :]

    @property
    def left(self) -> int:
        """How many tokens may still be generated."""
        return self.given + self.limit - len(self.tokens)

    @property
    def need(self) -> int:
        """The most positions of the cache that it can come to; the last token is never read."""
        return self.given + self.limit - 1

    def guess(self, capacity: int) -> list[int]:
        """At most `capacity` tokens that its draft expects; nothing without a draft."""
        most = min(capacity, self.left - 1)
        return [] if self.draft is None or most < 1 else self.draft.propose(self.tokens, most)

    def steady(self, border: int | None) -> int:
        """How many tokens may be guessed before it comes to the border where the model reads it anew."""
        before = len(self.tokens)
        return self.left if border is None or before > border else border - before

    def went(self, guess: list[int]) -> bool:
        """Whether it went on by this token, and goes on; it never does by a guess that is empty."""
        return self.finish is None and self.tokens[-1:] == guess

    def add(self, id: int, scores: Tensor | None) -> Token:
        """Goes on by one token. scores: [V], the model's log-probabilities, if they are asked for."""
        if self.constraint is not None:
            self.constraint.accept(id)
        self.tokens.append(id)
        finish: Finish | None = None
        if id in self.stop and (self.left or self.rules.last is None):
            finish = "stop"
        elif not self.left:
            finish = "length" if self.limit == self.max_tokens else "context"
        if finish is not None:
            self.end(finish)
        if scores is None:
            return Token(self.row, id, finish)
        values, ids = scores.topk(self.logprobs or 0)
        best = tuple(zip(ids.tolist(), values.tolist(), strict=True))
        return Token(self.row, id, finish, float(scores[id]), best)

    def end(self, finish: Finish | Literal["cancelled", "error"], error: Exception | None = None) -> None:
        """It is over, for this reason."""
        self.status, self.finish, self.error = "ended", finish, error
        self.draft = None  # it may hold much memory

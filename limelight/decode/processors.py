"""Logits processors: each takes the scores of the next token and returns the scores to choose from.

A processor is a small frozen object called as ``processor(logits, history)``; it returns new logits and changes
nothing. Processors are applied in order; a token that may not be chosen has the score -inf. All of them work on a
batch, row by row.
"""

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Text:
    """A text as processors see it: its tokens, `given` of them first and then what was generated, which only grow.

    How often each token was generated is counted as they come, not anew each time.
    """

    def __init__(self, tokens: Sequence[int], given: int) -> None:
        self.tokens = tokens
        self.given = given
        self._places: dict[int, int] = {}  # of each distinct token in the two below
        self._distinct, self._counts = array("q"), array("f")
        self._counted = 0

    @property
    def generated(self) -> int:
        """How many tokens were."""
        return len(self.tokens) - self.given

    def counts(self) -> "tuple[array[int], array[float]]":
        """The distinct tokens of the text and how often each was generated; both grow with the text."""
        for at in range(self._counted, len(self.tokens)):
            place = self._places.setdefault(self.tokens[at], len(self._distinct))
            if place == len(self._distinct):
                self._distinct.append(self.tokens[at])
                self._counts.append(0)
            self._counts[place] += at >= self.given
        self._counted = len(self.tokens)
        return self._distinct, self._counts


@dataclass(frozen=True)
class History:
    """What the rows of a batch have been given and have generated so far; none is empty unless all are."""

    texts: Sequence[Text]

    @classmethod
    def of(cls, tokens: Tensor, given: int) -> "History":
        """Of texts of the same length, [B, P + N] int64, of which the first P = `given` tokens were given."""
        return cls([Text(text, given) for text in tokens.tolist()])

    @cached_property
    def counts(self) -> tuple[Tensor, Tensor]:
        """Each row's distinct tokens, [B, U] int64, and how often it generated each, [B, U] float32, on the CPU.

        A row with fewer of them holds its first one again and again, which changes nothing for who scatters.
        """
        rows = [text.counts() for text in self.texts]
        longest = max(len(distinct) for distinct, _ in rows)
        tokens, counts = np.empty((len(rows), longest), np.int64), np.empty((len(rows), longest), np.float32)
        for row, (distinct, often) in enumerate(rows):
            tokens[row, : len(distinct)], tokens[row, len(distinct) :] = distinct, distinct[:1] or 0
            counts[row, : len(distinct)], counts[row, len(distinct) :] = often, often[:1] or 0
        return torch.from_numpy(tokens), torch.from_numpy(counts)


class LogitsProcessor(Protocol):
    """``processor(logits [B, V], history) -> logits [B, V]``, float32 in and out.

    What a row comes to must not depend on the others.
    """

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        """The scores to choose from; never in place."""
        ...


@dataclass(frozen=True, slots=True)
class RepetitionPenalty:
    """Makes every token already seen, in the prompt or after it, less likely (above 1) or likelier (below 1).

    Keskar et al. 2019 (CTRL), section 4.1, with the sign handled so that a penalty above 1 always lowers the score:
    positive scores are divided by it, negative ones multiplied.
    """

    penalty: float

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        tokens = history.counts[0].to(logits.device)
        scores = logits.gather(1, tokens)  # [B, U]
        return logits.scatter(1, tokens, torch.where(scores < 0, scores * self.penalty, scores / self.penalty))


@dataclass(frozen=True, slots=True)
class FrequencyPenalty:
    """Lowers a token's score by `penalty` for each time it was generated (OpenAI API); the prompt doesn't count."""

    penalty: float

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        tokens, counts = (each.to(logits.device) for each in history.counts)
        return logits.scatter(1, tokens, logits.gather(1, tokens) - self.penalty * counts)


@dataclass(frozen=True, slots=True)
class PresencePenalty:
    """Lowers a token's score by `penalty` once if it was generated at all (OpenAI API); the prompt doesn't count."""

    penalty: float

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        tokens, counts = (each.to(logits.device) for each in history.counts)
        return logits.scatter(1, tokens, logits.gather(1, tokens) - self.penalty * (counts > 0))


@dataclass(frozen=True, slots=True)
class Temperature:
    """Divides the scores: below 1 sharpens the distribution, above 1 flattens it."""

    temperature: float

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        return logits / self.temperature


@dataclass(frozen=True, slots=True)
class TopK:
    """Keeps the k likeliest tokens, and all that tie with the last of them."""

    k: int

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        best = logits.topk(min(self.k, logits.shape[-1])).values  # [B, k]
        return logits.masked_fill(logits < best[:, -1:], -torch.inf)


@dataclass(frozen=True, slots=True)
class TopP:
    """Keeps the smallest set of likeliest tokens whose probabilities add up to p.

    Nucleus sampling, Holtzman et al. 2019, section 3.1.
    """

    p: float

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        # By numpy, whose operators on some hundred numbers take a tenth of the time of torch's, and whose sums are the
        # same on any number of threads.
        probabilities = logits.softmax(-1).cpu().numpy()  # [B, V]
        # Sorting a whole vocabulary takes long. Tokens of less than (1 − p) / V cannot belong to the nucleus, since all
        # of them together have no more than 1 − p (half of it, for what is rounded); mostly that leaves some hundred.
        few = probabilities >= (1 - self.p) / logits.shape[1] / 2
        kept = torch.full_like(logits, -torch.inf)
        for row, likely in enumerate(probabilities):
            at = np.flatnonzero(few[row])
            at = at[np.argsort(-likely[at], kind="stable")]
            # Counted from the unlikely end, where small probabilities can still be told apart.
            beyond = likely.copy()
            beyond[at] = 0
            tail = beyond.sum() + likely[at][::-1].cumsum(dtype=np.float64)[::-1]  # each token and all less likely ones
            inside = tail > 1 - self.p
            inside[:1] = True
            ids = torch.from_numpy(at[inside]).to(logits.device)
            kept[row, ids] = logits[row, ids]
        return kept


@dataclass(frozen=True, slots=True)
class MinP:
    """Keeps the tokens at least `share` times as likely as the likeliest one. Nguyen et al. 2024, section 3."""

    share: float

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        # p_i < share · p_max is a difference of scores, so no softmax is needed.
        return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(self.share), -torch.inf)


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Never these tokens; `first`: not as the first that is generated."""

    ids: tuple[int, ...]
    first: bool = False

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        rows = [row for row, text in enumerate(history.texts) if not (self.first and text.generated)]
        return _without(logits, rows, self.ids)


@dataclass(frozen=True, slots=True)
class Allowed:
    """These tokens and no others."""

    ids: tuple[int, ...]

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        ids = torch.tensor(self.ids, device=logits.device)
        return torch.full_like(logits, -torch.inf).index_copy(1, ids, logits[:, ids])


@dataclass(frozen=True, slots=True)
class ForbiddenPhrases:
    """Never these tokens one behind the other: the last of a phrase is forbidden where the rest of it stands."""

    phrases: tuple[tuple[int, ...], ...]

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        logits = logits.clone()
        for row, tokens in enumerate([text.tokens for text in history.texts]):
            for *before, last in self.phrases:
                if tokens[len(tokens) - len(before) :] == before:
                    logits[row, last] = -torch.inf
        return logits


@dataclass(frozen=True, slots=True)
class NoRepeat:
    """No run of `n` tokens twice in a text, what it was given included (Paulus et al. 2018, section 2.5)."""

    n: int

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        logits = logits.clone()
        for row, tokens in enumerate([text.tokens for text in history.texts]):
            runs = [tokens[at : at + self.n] for at in range(len(tokens) - self.n + 1)]
            end = tokens[len(tokens) - self.n + 1 :]
            seen = [run[-1] for run in runs if run[:-1] == end]
            logits[row, seen] = -torch.inf
        return logits


@dataclass(frozen=True, slots=True)
class NoEnd:
    """None of these tokens, which end a text, before it has `least` tokens, what it was given included."""

    ids: tuple[int, ...]
    least: int

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        rows = [row for row, text in enumerate(history.texts) if len(text.tokens) < self.least]
        return _without(logits, rows, self.ids)


def _without(logits: Tensor, rows: Sequence[int], ids: Sequence[int]) -> Tensor:
    """The logits [B, V] without these tokens in some of the rows."""
    if not rows:
        return logits
    logits = logits.clone()
    logits[torch.tensor(rows)[:, None], torch.tensor(ids, dtype=torch.int64)] = -torch.inf
    return logits


@dataclass(frozen=True, slots=True)
class Bias:
    """Adds a number to the score of each of these tokens (OpenAI API, logit_bias)."""

    ids: tuple[int, ...]
    values: tuple[float, ...]

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        ids = torch.tensor(self.ids, device=logits.device)
        return logits.index_add(1, ids, logits.new_tensor([self.values]).expand(len(logits), -1))

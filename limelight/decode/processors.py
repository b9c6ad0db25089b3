"""Logits processors: each takes the scores of the next token and returns the scores to choose from.

A processor is a small frozen object called as ``processor(logits, history)``; it returns new logits and changes
nothing. Processors are applied in order; a token that may not be chosen has the score -inf. All of them work on a
batch, row by row.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class History:
    """What the rows of a batch have been given and have generated so far.

    tokens: [B, P + N] int64, prompts and then the N tokens that every row has generated. Shorter prompts are padded on
    the right with a token of their own, so that a processor which asks "has this row seen the token?" needs no mask.
    given: P, the width of the prompts.
    """

    tokens: Tensor
    given: int

    @property
    def generated(self) -> Tensor:
        """[B, N] int64."""
        return self.tokens[:, self.given :]


class LogitsProcessor(Protocol):
    """``processor(logits [B, V], history) -> logits [B, V]``, float32 in and out."""

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
        scores = logits.gather(1, history.tokens)  # [B, P + N]
        scores = torch.where(scores < 0, scores * self.penalty, scores / self.penalty)
        return logits.scatter(1, history.tokens, scores)


@dataclass(frozen=True, slots=True)
class FrequencyPenalty:
    """Lowers a token's score by `penalty` for each time it was generated (OpenAI API); the prompt doesn't count."""

    penalty: float

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        generated = history.generated
        return logits.scatter_add(1, generated, logits.new_full((1, 1), -self.penalty).expand(generated.shape))


@dataclass(frozen=True, slots=True)
class PresencePenalty:
    """Lowers a token's score by `penalty` once if it was generated at all (OpenAI API); the prompt doesn't count."""

    penalty: float

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        generated = history.generated
        return logits.scatter(1, generated, logits.gather(1, generated) - self.penalty)


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

    # Sorting a whole vocabulary takes longer than a small model's forward pass, and the nucleus nearly always lies
    # within the first few hundred tokens: those are looked at first, everything only if they don't reach p.
    head = 1024

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        # Counted from the unlikely end, where float32 can still tell small probabilities apart.
        probabilities = logits.softmax(-1)  # [B, V]
        for width in (min(self.head, logits.shape[-1]), logits.shape[-1]):
            likeliest, at = probabilities.topk(width)  # [B, width], falling
            beyond = probabilities.scatter(1, at, 0).sum(-1, keepdim=True)  # [B, 1]
            if bool((beyond <= 1 - self.p).all()):
                break
        tail = beyond + likeliest.flip(-1).cumsum(-1).flip(-1)  # [B, width], each token and all less likely ones
        outside = tail <= 1 - self.p
        outside[:, 0] = False
        return logits.masked_fill(torch.ones_like(logits, dtype=torch.bool).scatter(1, at, outside), -torch.inf)


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
        if self.first and history.generated.shape[1]:
            return logits
        return logits.index_fill(1, torch.tensor(self.ids, device=logits.device), -torch.inf)


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
        for row, tokens in enumerate(history.tokens.tolist()):
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
        for row, tokens in enumerate(history.tokens.tolist()):
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
        if history.tokens.shape[1] >= self.least:
            return logits
        return logits.index_fill(1, torch.tensor(self.ids, device=logits.device), -torch.inf)


@dataclass(frozen=True, slots=True)
class Bias:
    """Adds a number to the score of each of these tokens (OpenAI API, logit_bias)."""

    ids: tuple[int, ...]
    values: tuple[float, ...]

    def __call__(self, logits: Tensor, history: History) -> Tensor:
        ids = torch.tensor(self.ids, device=logits.device)
        return logits.index_add(1, ids, logits.new_tensor([self.values]).expand(len(logits), -1))

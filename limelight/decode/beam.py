"""Beam search: the likeliest texts, looked for by keeping the best few at every length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from limelight.decode.processors import History
from limelight.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import Tensor

    from limelight.decode.processors import LogitsProcessor
    from limelight.models.api import Predictor
    from limelight.nn.state import State


PART = 128  # tokens of a vocabulary that are looked at together
ROWS = 16  # texts whose probabilities are summed together


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One text that was found.

    tokens: ids, without the stop token. logprob: natural logarithm of its probability, the stop token's included.
    score: what it was ranked by, ``logprob / length ** alpha``, where the stop token counts for the length. ended:
    whether it came to its stop token; if not, it was cut off at its limit.
    """

    tokens: tuple[int, ...]
    score: float
    logprob: float
    ended: bool


@torch.inference_mode()
def beam_search(
    model: Predictor,
    state: State,
    tokens: Tensor,
    *,
    limits: Sequence[int],
    stop: Collection[int],
    counts: Tensor | None = None,
    beam: int = 5,
    alpha: float = 1.0,
    best: int = 1,
    forbidden: Collection[int] = (),
    processors: Sequence[Sequence[LogitsProcessor]] = (),
    shared: bool = False,
) -> list[list[Hypothesis]]:
    """The `best` hypotheses of every row, best first: those that ended, then, if they are too few, those cut off.

    The model reads `tokens` [B, T] (`counts`: as for `step`), a start token or a prompt, behind what `state` has seen,
    and continues each row by at most limits[b] tokens, the stop token counted. A language model and an encoder–decoder
    are searched alike. Each row gives what it would give alone, and leaves the batch when it is through.

    A hypothesis ends where a stop token is among the `beam` likeliest continuations of its row. A row is through when
    `beam` hypotheses have ended and none still running is better so far (where a model is sure of itself, the others
    that end early are all bad), or as soon as none can come to a score among its `best`. A beam of one
    is greedy decoding.

    alpha: length penalty, 0 for none. Probability always falls with length; dividing by ``length ** alpha`` makes up
    for it, as fairseq does (1 is the mean per token), where Wu et al. (2016, section 7) divide by
    ``((5 + length) / 6) ** alpha``. forbidden: tokens that are never generated. processors: what else is forbidden,
    given what a row has read here and written, for each row or for none. shared: whether the probability of what is
    forbidden is shared out among the others.

    Raises RequestError for numbers out of range, for limits that the state has no room for, and if the model's logits
    are not numbers.
    """
    _check(model, state, tokens, limits, beam, alpha, best, stop, forbidden)
    rules = _Rules(processors if any(processors) else (), tokens.cpu(), sorted(set(forbidden) - set(stop)), shared)
    search = _Search(limits, sorted(stop), rules, model.vocab, beam, alpha, best)
    state.give(state.lengths + (tokens.shape[1] if counts is None else counts))
    logits = model.step(tokens, state, counts, last=True)[:, 0]  # [B, V]
    if bool(logits.isnan().any()):
        raise RequestError(
            "the model's logits are not numbers: its number type overflows; open it as float32 or bfloat16"
        )
    while True:
        rows, chosen = search.advance(logits)
        if not len(rows):
            return [each.ranked(best) for each in search.found]
        if not torch.equal(rows, torch.arange(len(state.lengths))):  # greedy decoding copies nothing
            state = state.select(rows)
        logits = model.step(chosen[:, None].to(model.device), state, last=True)[:, 0]  # [B · W, V]


@dataclass(frozen=True, slots=True)
class _Rules:
    """What may not be generated, see `beam_search`. given: [B, T], what each row was given here."""

    processors: Sequence[Sequence[LogitsProcessor]]
    given: Tensor
    forbidden: list[int]
    shared: bool

    def apply(self, logits: Tensor, rows: Sequence[int], texts: Tensor) -> Tensor:
        """Logits [B · W, V] without what the processors forbid. rows: places of the B rows. texts: [B, W, N]."""
        if not self.processors:
            return logits
        permitted = []
        for row, text, scores in zip(rows, texts, logits.view(len(rows), -1, logits.shape[-1]), strict=True):
            given = self.given[row].expand(len(text), -1)
            history = History.of(torch.cat((given, text), 1), given.shape[1])
            for processor in self.processors[row]:
                scores = processor(scores, history)
            permitted.append(scores)
        return torch.cat(permitted)


class _Found:
    """The hypotheses of one row that are no longer running."""

    def __init__(self) -> None:
        # By their tokens: where a model has several stop tokens, the likeliest of them ends a text.
        self.ended: dict[tuple[int, ...], Hypothesis] = {}
        self.cut: list[Hypothesis] = []

    def ranked(self, best: int) -> list[Hypothesis]:
        """Best first; among equals the one that was found first."""
        ended = sorted(self.ended.values(), key=lambda each: -each.score)
        return (ended + sorted(self.cut, key=lambda each: -each.score))[:best]


class _Search:
    """The hypotheses still running, W for each of the B rows that are not through; all of it on the CPU."""

    def __init__(
        self,
        limits: Sequence[int],
        stop: list[int],
        rules: _Rules,
        vocab: int,
        beam: int,
        alpha: float,
        best: int,
    ) -> None:
        self.found = [_Found() for _ in limits]
        self.rows = list(range(len(limits)))  # places in `found`
        self.limits = list(limits)
        self.texts = torch.empty(len(limits), 1, 0, dtype=torch.int64)  # [B, W, N]
        self.totals = torch.zeros(len(limits), 1, dtype=torch.float64)  # [B, W], log-probabilities
        self.stop, self.forbidden = (torch.tensor(ids, dtype=torch.int64) for ids in (stop, rules.forbidden))
        self.usable = vocab - len(stop) - len(rules.forbidden)
        self.rules = rules
        self.beam, self.alpha, self.best = beam, alpha, best

    def advance(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Continues every hypothesis by one token, given the logits [B · W, V] behind it.

        Returns which rows of the model's state go on, in that order, and the token that each reads next: both
        [B' · W'], and empty when the search is over.
        """
        W, N = self.texts.shape[1:]
        length = N + 1
        origins, tokens, totals = self._candidates(logits)  # [B, C]
        stops = torch.isin(tokens, self.stop)

        among = stops[:, : self.beam] & totals[:, : self.beam].isfinite()
        for b, c in among.nonzero().tolist():
            text = tuple(self.texts[b, origins[b, c]].tolist())
            hypothesis = self._hypothesis(text, float(totals[b, c]), length, ended=True)
            self.found[self.rows[b]].ended.setdefault(text, hypothesis)

        width = min(self.beam, W * self.usable)
        running = stops.to(torch.int8).argsort(dim=1, stable=True)[:, :width]  # [B, W'], candidates, best first
        origins, tokens, self.totals = (each.gather(1, running) for each in (origins, tokens, totals))
        texts = self.texts.gather(1, origins[:, :, None].expand(-1, -1, N))
        self.texts = torch.cat((texts, tokens[:, :, None]), 2)  # [B, W', N + 1]

        on = [b for b, likeliest in enumerate(self.totals[:, 0].tolist()) if self._goes_on(b, length, likeliest)]
        self.rows, self.limits = [self.rows[b] for b in on], [self.limits[b] for b in on]
        keep = torch.tensor(on, dtype=torch.int64)
        self.texts, self.totals = self.texts[keep], self.totals[keep]
        return (keep[:, None] * W + origins[keep]).flatten(), tokens[keep].flatten()

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best continuations of each row, best first: which hypothesis, which token, log-probability; [B, C].

        Of the vocabulary only the best few are asked for each hypothesis: no more than `beam` of them can run on,
        beside the stop tokens. Equals stand in the order of hypotheses and tokens, as in argmax.
        """
        B = len(self.texts)
        needed = min(self.beam + len(self.stop) + len(self.forbidden), logits.shape[1])
        permitted = self.rules.apply(logits, self.rows, self.texts)
        if self.rules.shared:
            logits = permitted = permitted.index_fill(1, self.forbidden.to(logits.device), float("-inf"))
        values, ids = _largest(permitted, needed)
        # Of these few alone, and a few rows at a time: as many numbers as the logits would be new memory at every step.
        values = values - torch.cat([part.logsumexp(1, keepdim=True) for part in torch.split(logits.float(), ROWS)])
        ids, order = ids.cpu().sort(dim=1)
        scores = values.cpu().double().gather(1, order)
        scores[torch.isin(ids, self.forbidden)] = float("-inf")
        totals = (self.totals.view(-1, 1) + scores).view(B, -1)  # [B, W · n]
        totals, order = totals.sort(dim=1, descending=True, stable=True)
        return order // ids.shape[1], ids.view(B, -1).gather(1, order), totals

    def _goes_on(self, b: int, length: int, likeliest: float) -> bool:
        """Whether a row is not through; where it is at its limit, what is running is cut off.

        likeliest: the log-probability of the best of it that is running.
        """
        found, limit = self.found[self.rows[b]], self.limits[b]
        scores = sorted(each.score for each in found.ended.values())
        if len(scores) >= self.beam and scores[-1] >= self._score(likeliest, length):
            return False
        if len(found.ended) >= self.best:
            # A log-probability only falls, and the length that makes the most of it is the longest (alpha above 0).
            bound = self._score(likeliest, limit if self.alpha > 0 else length + 1)
            if scores[-self.best] >= bound:
                return False
        if length < limit:
            return True
        texts, totals = self.texts[b].tolist(), self.totals[b].tolist()
        for text, total in zip(texts, totals, strict=True):
            found.cut.append(self._hypothesis(tuple(text), total, length, ended=False))
        return False

    def _hypothesis(self, text: tuple[int, ...], total: float, length: int, *, ended: bool) -> Hypothesis:
        return Hypothesis(text, self._score(total, length), total, ended)

    def _score(self, total: float, length: int) -> float:
        return total / math.pow(length, self.alpha)


def _largest(scores: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The n largest of each row of scores [N, V] and where they stand, largest first: both [N, n].

    What `topk` gives, which takes five times as long over a vocabulary: the n largest are in the n parts of it whose
    own largest are the largest, or in what is left over at its end.
    """
    N, V = scores.shape
    whole = V // PART * PART
    parts = scores[:, :whole].view(N, -1, PART)
    best = parts.amax(2).topk(min(n, parts.shape[1])).indices  # [N, up to n]
    places = torch.arange(V, device=scores.device)
    among = (best[:, :, None] * PART + places[:PART]).flatten(1)
    ids = torch.cat((among, places[whole:].expand(N, -1)), 1)
    values, order = scores.gather(1, ids).topk(n)
    return values, ids.gather(1, order)


def _check(
    model: Predictor,
    state: State,
    tokens: Tensor,
    limits: Sequence[int],
    beam: int,
    alpha: float,
    best: int,
    stop: Collection[int],
    forbidden: Collection[int],
) -> None:
    if not 1 <= best <= beam:
        raise RequestError(f"the best {best} of a beam of {beam} cannot be given; it must be from 1 to the beam")
    if not -10 <= alpha <= 10:
        raise RequestError(f"alpha, the length penalty, is {alpha}; it must be from −10 to 10 (0 is none)")
    if min(limits) < 1:
        raise RequestError(f"a limit is {min(limits)} tokens; it must be at least 1")
    taken = {*stop, *forbidden}
    if taken and not (min(taken) >= 0 and max(taken) < model.vocab and len(taken) < model.vocab):
        raise RequestError(f"stop and forbidden tokens must be some of the model's vocabulary of {model.vocab:,}")
    needed = int(state.lengths.max()) + tokens.shape[1] + max(limits) - 1  # the last token is not read
    if needed > state.capacity:
        raise RequestError(f"the search needs room for {needed:,} tokens and its state has {state.capacity:,}")

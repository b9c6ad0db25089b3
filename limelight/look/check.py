"""Whether words that were named did more than others: they are taken away, and so are all other sets of as many words.

They are taken away by another way than found them: deleted. The set passes where at most one set in twenty lowers the
answer as much, so that words drawn at random pass at most once in twenty times.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

from limelight.look.inquiry import WAYS, Inquiry
from limelight.look.session import Progress

MOST = 220
"""The most sets that are all tried; of more, so many are drawn."""

READ = 1 << 13
"""The most positions that are read to try all sets at once; beyond, they are tried as drawn ones are."""

BATCH = 60
"""Sets tried at once; no more are tried once it is clear whether at most one in twenty does as much."""

ONE_IN = 20
"""One set in so many may do as much as the one that is checked."""


@dataclass(frozen=True)
class Check:
    """What the answer loses when some words are taken away together, beside other sets of as many words.

    words: their places. way: how they are taken away. loss: what the answer loses, in the question's unit. sets: other
    sets that were tried; every: whether those are all there are. better: how many of them lower the answer as much or
    more. least: the smallest loss that counts as one.
    """

    words: tuple[int, ...]
    way: str
    loss: float
    sets: int
    every: bool
    better: int
    least: float

    @property
    def short(self) -> bool:
        """Whether the text has too few words for any set to stand out from chance."""
        return self.sets + 1 < ONE_IN

    @property
    def holds(self) -> bool:
        """Whether the answer falls, and at most one set in twenty, this one counted, lowers it as much."""
        return not self.short and self.loss > self.least and ONE_IN * (1 + self.better) <= 1 + self.sets


def check(inquiry: Inquiry, words: Sequence[int], progress: Progress | None = None) -> Check:
    """The check of some spans of the inquiry, of which there is at least one. The word that asks is among the others
    only if it is among those checked."""
    pool = sorted({*inquiry.others, *words})
    chosen = tuple(sorted(words))
    way, others = "deleted", _others(pool, chosen)
    every = len(others) == comb(len(pool), len(chosen)) - 1
    at_once = len(others) if every and len(others) * len(inquiry.session.tokens) <= READ else BATCH
    (loss,) = inquiry.losses(WAYS[way], [chosen])
    tried = better = 0
    while tried < len(others):
        tell = None if progress is None else _behind(progress, tried, len(others))
        batch = inquiry.losses(WAYS[way], others[tried : tried + at_once], tell)
        tried += len(batch)
        better += sum(other >= loss for other in batch)
        if _clear(better, tried):
            break
    if progress is not None:
        progress(1, 1)
    return Check(chosen, way, loss, tried, tried == len(others) and every, better, inquiry.question.least)


def _others(pool: Sequence[int], chosen: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Other sets of the same size, all of them or `MOST`, drawn by nothing but how many words there are, so that they
    are the same for every method and every run."""
    generator = random.Random(0)
    if comb(len(pool), len(chosen)) - 1 <= MOST:
        every = list(combinations(pool, len(chosen)))
        generator.shuffle(every)
        return [each for each in every if each != chosen]
    drawn: dict[tuple[int, ...], None] = {}  # a set that keeps its order
    while len(drawn) < MOST:
        one = tuple(sorted(generator.sample(pool, len(chosen))))
        if one != chosen:
            drawn[one] = None
    return list(drawn)


def _clear(better: int, tried: int) -> bool:
    """Whether more sets would hardly change the verdict: none of them did as much, or far too many."""
    return better == 0 or better > 3 * MOST / ONE_IN or (tried >= BATCH and better > tried / 5)


def _behind(progress: Progress, before: int, all: int) -> Progress:
    return lambda done, _: progress(before + done, all)

"""Whether words that were named did more than others: they are taken away, and so are all other sets of as many words.

They are taken away by other ways than found them: deleted, and replaced by words that did not stand there before. The
set passes where at most one set in twenty lowers the answer as much, so that words drawn at random pass at most once in
twenty times.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

from limelight.look.inquiry import Inquiry
from limelight.look.session import Progress, Variant

MOST = 220
"""The most sets that are all tried; of more, so many are drawn."""

READ = 1 << 13
"""The most positions that are read to try all sets at once; beyond, they are tried as drawn ones are."""

BATCH = 40
"""Sets tried at once; no more are tried once it is clear whether at most one in twenty does as much."""

CLEARLY = 2
"""How many times fewer sets than may do as much do so where it is clear that they are few."""

HOPELESS = 3
"""How many times more do so where it is clear that they are not."""

ONE_IN = 20
"""One set in so many may do as much as the one that is checked."""

BOTH = "deleted or replaced by others"
"""The way of a check by both."""

DELETED = 2 / 3
"""What deleting counts; replacing counts the rest, where other words can stand there."""


@dataclass(frozen=True)
class Check:
    """What the answer loses when some words are taken away together, beside other sets of as many words.

    words: their places. way: how they are taken away. loss: what the answer loses, in the question's unit: the mean of
    deleting, counted twice, and of replacing, where the words are taken away in both ways. sets: other
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
    both = "replaced" in inquiry.ways
    others = _others(pool, chosen)
    every = len(others) == comb(len(pool), len(chosen)) - 1
    at_once = len(others) if every and len(others) * len(inquiry.session.tokens) <= READ else BATCH
    (loss,) = _losses(inquiry, [chosen], both, None)
    tried = better = 0
    while tried < len(others):
        now = others[tried : tried + at_once]
        batch = _losses(
            inquiry, now, both, None if progress is None else _behind(progress, tried, len(now), len(others))
        )
        tried += len(batch)
        better += sum(other >= loss for other in batch)
        if _clear(better, tried, len(others)):
            break
    if progress is not None:
        progress(1, 1)
    return Check(
        chosen, BOTH if both else "deleted", loss, tried, tried == len(others) and every, better, inquiry.question.least
    )


def _losses(inquiry: Inquiry, sets: Sequence[tuple[int, ...]], both: bool, progress: Progress | None) -> list[float]:
    """What the answer loses without each set, by one way or both together."""
    found = inquiry.spread(_taken if both else Inquiry.deleted, sets, progress)
    return [
        DELETED * first + (1 - DELETED) * sum(loss / len(rest) for loss in rest) if rest else first
        for first, *rest in found
    ]


def _taken(inquiry: Inquiry, chosen: Sequence[int]) -> list[Variant]:
    return [*inquiry.deleted(chosen), *inquiry.replaced_again(chosen)]


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


def _clear(better: int, tried: int, all: int) -> bool:
    """Whether more sets would hardly change the verdict: next to none of them did as much, or too many."""
    likely = ONE_IN * (1 + better)
    return CLEARLY * likely <= 1 + tried or likely > min(HOPELESS * (1 + tried), 1 + all)


def _behind(progress: Progress, before: int, sets: int, all: int) -> Progress:
    """Tells how many sets are done when a part of the next ones' variants are."""
    return lambda done, variants: progress(before + sets * done // variants, all)

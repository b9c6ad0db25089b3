"""Whether a picture of importance can be trusted: the words it names are taken away, and others, and the falls told.

They are blocked, or left out where nothing can be blocked: by the yardstick of the session.
"""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from limelight.look.inquiry import Inquiry
from limelight.look.question import Question

CHECKED = 3
"""Words taken away together by the check."""

DRAWS = 10
"""Random draws of as many words that they are compared with."""


@dataclass(frozen=True)
class Check:
    """What the answer loses when k words are taken away together: those ranked highest, the yardstick's, random ones.

    top: places of the k words ranked highest. random_drop, random_sd: mean and standard deviation over the draws.
    best: places of the k words ranked highest by the yardstick. least: the smallest loss that counts as a fall.
    """

    k: int
    top: tuple[int, ...]
    top_drop: float
    random_drop: float
    random_sd: float
    best: tuple[int, ...]
    best_drop: float
    least: float = Question.least

    @property
    def holds(self) -> bool:
        """Whether the value falls without the highest ranked words, and by more than random words explain."""
        return self.top_drop > max(self.least, self.random_drop + self.random_sd)


def check(inquiry: Inquiry, values: Sequence[float], yardstick: Sequence[float]) -> Check | None:
    """The check of `values`, beside those by the yardstick; the word that asks takes no part.

    None where there are too few words to compare. The number of words and the draws depend on nothing but how many
    there are, so that they are the same for every method and every run.
    """
    words = len(inquiry.spans) if inquiry.asks is None else inquiry.asks
    k = min(CHECKED, words // 2)
    if k == 0:
        return None
    top, best = (tuple(sorted(range(words), key=lambda i: -ranked[i])[:k]) for ranked in (values, yardstick))
    generator = random.Random(0)
    draws = [tuple(generator.sample(range(words), k)) for _ in range(DRAWS)]
    sets = list(dict.fromkeys(tuple(sorted(chosen)) for chosen in (top, best, *draws)))
    drops = dict(zip(sets, inquiry.drops([inquiry.knockout(chosen) for chosen in sets]), strict=True))
    top_drop, best_drop, *falls = (drops[tuple(sorted(chosen))] for chosen in (top, best, *draws))
    mean, scatter = statistics.fmean(falls), statistics.stdev(falls)
    return Check(k, top, top_drop, mean, scatter, best, best_drop, inquiry.question.least)

"""Whether a picture of importance can be trusted: the words it names are blocked, and others, and the falls told."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from limelight.look.target import Question
from limelight.look.text import Reading
from limelight.look.variants import Deaf, drops
from limelight.models.api import Decoder

CHECKED = 3
"""Words blocked together by the check."""

DRAWS = 10
"""Random draws of as many words that they are compared with."""

LEAST = 0.14
"""The smallest loss of log-odds that counts as a fall: with less, the odds stay within a seventh of what they were."""


@dataclass(frozen=True)
class Check:
    """What the log-odds lose when k words are blocked together: those ranked highest, the yardstick's, random ones.

    top: places of the k words ranked highest. random_drop, random_sd: mean and standard deviation over the draws.
    best: places of the k words ranked highest by blocking.
    """

    k: int
    top: tuple[int, ...]
    top_drop: float
    random_drop: float
    random_sd: float
    best: tuple[int, ...]
    best_drop: float

    @property
    def holds(self) -> bool:
        """Whether the odds fall when the highest ranked words are blocked, and by more than random words explain."""
        return self.top_drop > max(LEAST, self.random_drop + self.random_sd)


def check(
    network: Decoder,
    reading: Reading,
    target: int,
    question: Question,
    values: Sequence[float],
    yardstick: Sequence[float],
) -> Check | None:
    """The check of `values`, beside the blocking values `yardstick`; the asking word takes no part.

    None where there are too few words to compare. The number of words and the draws depend on nothing but how many
    there are, so that they are the same for every method and every run.
    """
    words = [word.tokens for word in reading.words[: target - 1]]
    k = min(CHECKED, len(words) // 2)
    if k == 0:
        return None
    top, best = (sorted(range(len(words)), key=lambda i: -ranked[i])[:k] for ranked in (values, yardstick))
    generator = random.Random(0)
    draws = [generator.sample(range(len(words)), k) for _ in range(DRAWS)]
    variants = [Deaf(blocked=tuple(words[i] for i in sorted(chosen))) for chosen in (top, best, *draws)]
    top_drop, best_drop, *falls = drops(network, reading.tokens, question, variants)
    mean, scatter = statistics.fmean(falls), statistics.stdev(falls)
    return Check(k, tuple(top), top_drop, mean, scatter, tuple(best), best_drop)

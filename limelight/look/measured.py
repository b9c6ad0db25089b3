"""The default method: the few words without which the answer is least likely, found by taking words away.

What a word did is measured in two ways that differ: other likely words stand in its place, and it is hidden from all
others (blocked). A word counts for the mildest of those likely words: whichever stood there, the answer would be at
least so much less likely. Of a long text only the words that a quicker method proposes are measured.

Then the set of words is looked for that both ways together put highest, one word at a time, the best few sets being
followed; words that are said more than once are also tried together, since each alone may be missed by none. As many
words are named as are needed for the check to mean something (`limelight.look.check`), and more if each adds much.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb, log

from limelight.look.decompose import alti_logit
from limelight.look.inquiry import WAYS, Inquiry
from limelight.look.perturb import in_groups
from limelight.look.session import DecoderSession, Progress

ALL = 24
"""The most words that are all measured; of more, only those that are proposed."""

PROPOSED = 12
"""Words of a long text that are measured."""

MOST = 3
"""The most words that are named."""

FOLLOWED = 2
"""Sets of each size that are extended."""

PARTNERS = 6
"""Words by which a set is extended: those that do most alone."""

ADDS = log(2)
"""What one more word must add, by every way, to be named beyond those that the check needs: the answer is half as
likely again."""

CERTAIN = 20
"""Sets of words among which the best is the best by chance at most once in twenty times."""


@dataclass(frozen=True)
class Found:
    """values: of each span, in the question's unit; None where it was not measured. named: the spans that together do
    most, the strongest first."""

    values: tuple[float | None, ...]
    named: tuple[int, ...]


def measured(inquiry: Inquiry, progress: Progress | None = None) -> Found:
    """What each word did, or each of those that are proposed, and the few that together did most; kept with the text."""
    return inquiry.session.once(("measured", inquiry), lambda: _measured(inquiry, progress))


def _measured(inquiry: Inquiry, progress: Progress | None) -> Found:
    others = inquiry.others
    candidates = list(others) if len(others) <= ALL else proposed(inquiry, PROPOSED)
    search = _Search(inquiry, progress, candidates)
    singles = candidates + ([] if inquiry.asks is None else [inquiry.asks])
    replaced = dict(zip(singles, inquiry.losses(WAYS["replaced"], [(i,) for i in singles], search.tell), strict=True))
    values = tuple(replaced.get(i) for i in range(len(inquiry.spans)))
    return Found(values, search.best())


def proposed(inquiry: Inquiry, n: int) -> list[int]:
    """The n words that a quick method ranks highest, in the text's order: what each gave to the answer by one reading of
    a decoder (ALTI-Logit), or what groups of them do, halved again and again."""
    quick = alti_logit if isinstance(inquiry.session, DecoderSession) else in_groups
    values = quick(inquiry, None)
    return sorted(sorted(inquiry.others, key=lambda i: -values[i])[:n])


def smallest(words: int) -> int:
    """The fewest of so many words that make `CERTAIN` sets, so that one can be checked; 1 where none do."""
    return next((k for k in range(1, MOST + 1) if comb(words, k) >= CERTAIN), 1)


class _Search:
    """Sets of words, grown one word at a time."""

    def __init__(self, inquiry: Inquiry, progress: Progress | None, candidates: Sequence[int]) -> None:
        self._inquiry = inquiry
        self._progress = progress
        self._candidates = candidates
        self._ways = [WAYS["replaced"], *([WAYS["blocked"]] if inquiry.session.blocks else [])]
        self._done = 0

    def tell(self, done: int, all: int) -> None:
        """Passes on how far it is, as one more step of all that are to come."""
        if self._progress is not None:
            steps = 2 * MOST
            self._progress(min(round(100 * (self._done + done / all)), 100 * steps), 100 * steps)
        if done == all:
            self._done += 1

    def best(self) -> tuple[int, ...]:
        """The set that is named, the word that does most alone first; none where no word lowers the answer."""
        if not self._candidates:
            return ()
        least, words = self._inquiry.question.least, len(self._inquiry.others)
        sets: list[tuple[int, ...]] = [(i,) for i in self._candidates]
        alone = self._losses(sets)
        scale = [max(max(losses), least) for losses in zip(*alone.values(), strict=True)]

        def score(chosen: tuple[int, ...], losses: tuple[float, ...]) -> float:
            return sum(loss / most for loss, most in zip(losses, scale, strict=True))

        ranked = sorted(alone, key=lambda chosen: -score(chosen, alone[chosen]))
        partners = [i for (i,) in ranked[:PARTNERS]]
        followed, found = ranked[:FOLLOWED], [(ranked[0], alone[ranked[0]])]
        for size in range(2, min(MOST, len(self._candidates)) + 1):
            grown = {tuple(sorted({*chosen, i})) for chosen in followed for i in partners if i not in chosen}
            grown |= {chosen for chosen in self._repeated() if len(chosen) == size}
            losses = self._losses(sorted(grown))
            best = sorted(losses, key=lambda chosen: -score(chosen, losses[chosen]))
            followed = best[:FOLLOWED]
            found.append((best[0], losses[best[0]]))
        kept, worth = found[min(smallest(words), len(found)) - 1]
        for chosen, losses_ in found[len(kept) :]:
            if min(new - old for new, old in zip(losses_, worth, strict=True)) < ADDS:
                break
            kept, worth = chosen, losses_
        if min(worth) <= least:
            return ()
        return tuple(sorted(kept, key=lambda i: -score((i,), alone[i,])))

    def _losses(self, sets: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], tuple[float, ...]]:
        """What the answer loses without each set, by every way."""
        by_way = [self._inquiry.losses(way, sets, self.tell) for way in self._ways]
        return dict(zip(sets, zip(*by_way, strict=True), strict=True))

    def _repeated(self) -> Iterator[tuple[int, ...]]:
        """The places of each word that is said more than once, where not more often than words are named."""
        tokens = self._inquiry.session.tokens
        places: dict[str, list[int]] = {}
        for i in self._candidates:
            span = self._inquiry.spans[i]
            text = "".join(map(self._inquiry.session.spell, tokens[span.start : span.stop]))
            places.setdefault(text.strip().casefold(), []).append(i)
        return (tuple(same) for same in places.values() if 1 < len(same) <= MOST)

"""The default method: the few words without which the answer is least likely, found by taking words away.

What a word did is measured in two ways that differ: other likely words stand in its place, and it is hidden from all
others (blocked). A word's value is what the answer loses on average over those likely words. Of a long text only the
words that a quicker method proposes are measured, and the word from which is asked only counts where it outweighs all
others.

Then the set of words is looked for that does most in both ways together, one word at a time, the best few sets being
followed; words that are said more than once are also tried together, since each alone may be missed by none. As many
words are named as are needed for the check to mean something (`limelight.look.check`), and more if each adds much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import comb, inf, log
from statistics import fmean

from limelight.look.decompose import alti_logit, apart
from limelight.look.inquiry import WAYS, Inquiry
from limelight.look.perturb import in_groups
from limelight.look.session import DecoderSession, Progress

ALL = 24
"""The most words that are all measured; of more, only those that are proposed."""

PROPOSED = 12
"""Words of a long text that are measured, or half of that of one longer than `LONG`."""

LONG = 256
"""Positions above which a text takes so long to read that fewer words are measured."""

AT_ONCE = 8
"""Tokens of an answer above which it takes longer to take each apart than to hide groups of words."""

MOST = 3
"""The most words that are named."""

FOLLOWED = 3
"""Sets of each size that are extended until they can be checked, and of those that are then compared by more likely
words."""

PARTNERS = 8
"""Words by which those are extended: those that do most alone."""

EXTENDED = 2
"""Words, beside as many as there are in a set, by which one that can be checked is extended."""

ADDS = log(2)
"""What one more word must add, by every way, to be named beyond those that the check needs: the answer is half as
likely again."""

DECIDES = 3
"""How many times the smallest loss that can be told words must make together, taken away in the first way, to be named:
some half as likely again."""

OUTWEIGHS = 3
"""How many times what all others that are named do together the word that asks must do alone to count: whatever stands
in its place, another word is asked for."""

Set = tuple[int, ...]
"""The places of some spans, in the text's order."""

Losses = tuple[tuple[float, ...], ...]
"""What an answer loses without some words: for each way, by each of its variants."""

CERTAIN = 20
"""Sets of words among which the best is the best by chance at most once in twenty times."""


@dataclass(frozen=True)
class Found:
    """values: of each span, in the question's unit; None where it was not measured. named: the spans that together do
    most, the strongest first."""

    values: tuple[float | None, ...]
    named: tuple[int, ...]


def measured(inquiry: Inquiry, progress: Progress | None = None) -> Found:
    """What each word did, or each of those proposed, and the few that together did most; kept with the text."""
    return inquiry.session.once(("measured", inquiry), lambda: _measured(inquiry, progress))


def _measured(inquiry: Inquiry, progress: Progress | None) -> Found:
    others = inquiry.others
    if len(others) <= ALL:
        candidates = list(others)
    else:
        candidates = proposed(inquiry, PROPOSED if len(inquiry.session.tokens) <= LONG else PROPOSED // 2)
    with inquiry.session.keeping():
        named = _Search(inquiry, progress).best(candidates)
    alone = {i: _lost(inquiry, (i,)) for i in candidates}
    if (asks := inquiry.asks) is not None:
        (each,) = inquiry.spread(Inquiry.replaced_by_more, [[asks]])
        if min(each) >= max(inquiry.question.least * DECIDES, OUTWEIGHS * _lost(inquiry, named)):
            alone[asks] = _lost(inquiry, (asks,))  # it takes the place of the last of as many as the check needs
            named = (asks, *named[: max(0, smallest(len(inquiry.spans)) - 1)])
    return Found(tuple(alone.get(i) for i in range(len(inquiry.spans))), named)


def _lost(inquiry: Inquiry, chosen: Set) -> float:
    """What the answer loses without a set of words when it is taken away in the first way."""
    return inquiry.losses(WAYS[inquiry.ways[0]], [chosen])[0] if chosen else 0.0


def proposed(inquiry: Inquiry, n: int) -> list[int]:
    """The n words that a quick method ranks highest, in the text's order: what each gave to the answer by one reading
    of a decoder (ALTI-Logit), or what groups of them do, halved again and again."""
    session = inquiry.session
    once = isinstance(session, DecoderSession) and apart(session.stack) and not inquiry.long
    once = once and len(inquiry.likelihood.at) <= AT_ONCE
    quick = alti_logit if once else in_groups
    values = quick(inquiry, None)
    return sorted(sorted(inquiry.others, key=lambda i: -values[i])[:n])


def smallest(words: int) -> int:
    """The fewest of so many words that make `CERTAIN` sets, so that one can be checked; 1 where none do."""
    return next((k for k in range(1, MOST + 1) if comb(words, k) >= CERTAIN), 1)


def ranked(losses: Mapping[Set, Losses], least: float) -> list[Set]:
    """Sets of words, the one that does most first: by what each does in all ways, as shares of what the strongest of
    them does in each. Of a way's variants the mean of what is lost counts.

    least: the smallest loss that counts as one; a way in which no set does as much says nothing about them.
    """
    means = {chosen: [*map(fmean, each)] for chosen, each in losses.items()}
    most = [max(way) for way in zip(*means.values(), strict=True)]

    def does(chosen: Set) -> float:
        shares = [mean / top for mean, top in zip(means[chosen], most, strict=True) if top > least]
        return sum(shares or means[chosen])

    return sorted(losses, key=does, reverse=True)


class _Search:
    """Sets of words, grown one word at a time."""

    def __init__(self, inquiry: Inquiry, progress: Progress | None) -> None:
        self._inquiry = inquiry
        self._progress = progress
        self._steps = 0
        self._measured: frozenset[int] = frozenset()

    def _tell(self, done: int, all: int) -> None:
        """Tells how much of the search is done, when a part of a step is."""
        if self._progress is not None:
            most = MOST + 1  # steps, that all take about as long
            self._progress(min(round(100 * (self._steps + done / all)), 100 * most), 100 * most)

    def _decides(self, chosen: Set) -> bool:
        return _lost(self._inquiry, chosen) >= self._inquiry.question.least * DECIDES

    def best(self, candidates: Sequence[int]) -> Set:
        """The set that is named, the word that does most alone first; none where no few words lower the answer."""
        if not candidates:
            return ()
        self._measured = frozenset(candidates)
        single = self._ranked([(i,) for i in candidates])
        order = [i for (i,) in single]
        words = len(self._inquiry.others)
        needed = max(1, min(smallest(words), len(order), words // 2))  # half of all words are no few
        followed = single
        for size in range(2, needed + 1):
            followed = self._ranked(self._grown(followed[:FOLLOWED], order[:PARTNERS], size))
        named = self._ranked(followed[:FOLLOWED], thoroughly=True)[0]
        sizes = {*range(needed + 1, MOST + 1), *map(len, self._repeated)}
        for size in sorted(size for size in sizes if needed < size <= words // 2):
            # Words that are said thrice may do together what no two of them do.
            one_less = [named] if len(named) == size - 1 else []
            grown = self._grown(one_less, order[: EXTENDED + size - 1], size)
            if any(self._add(named, grown, self._inquiry.ways[-1])):  # of one variant each, which mostly tells
                named = self._larger(named, self._ranked(grown)[0])
        if self._progress is not None:
            self._progress(1, 1)
        if not self._decides(named):  # though one of them may do as much alone
            named = max(single, key=lambda one: _lost(self._inquiry, one))
        alone = {i: _lost(self._inquiry, (i,)) for i in candidates}
        return tuple(sorted(named, key=lambda i: -alone.get(i, -inf))) if self._decides(named) else ()

    def _ranked(self, sets: Sequence[Set], thoroughly: bool = False) -> list[Set]:
        """The sets in the order of `ranked`, when each was taken away in all ways; thoroughly: by more variants."""
        known = WAYS | {"replaced": Inquiry.replaced_by_more} if thoroughly else WAYS
        ways = [known[way] for way in self._inquiry.ways]
        taken = [[way(self._inquiry, chosen) for way in ways] for chosen in sets]
        found = iter(self._inquiry.drops([variant for each in taken for way in each for variant in way], self._tell))
        self._steps += 1
        losses = {
            chosen: tuple(tuple(islice(found, len(way))) for way in each)
            for chosen, each in zip(sets, taken, strict=True)
        }
        return ranked(losses, self._inquiry.question.least)

    def _larger(self, named: Set, more: Set) -> Set:
        """The larger of two sets if what it has more adds enough in every way, else the one that is named."""
        return more if all(all(self._add(named, [more], way)) for way in self._inquiry.ways) else named

    def _add(self, named: Set, larger: Sequence[Set], way: str) -> list[bool]:
        """Whether what each of some larger sets has more adds enough in a way."""
        old, *new = self._inquiry.losses(WAYS[way], [named, *larger])
        return [loss >= old + ADDS * (len(more) - len(named)) for more, loss in zip(larger, new, strict=True)]

    def _grown(self, followed: Sequence[Set], partners: Sequence[int], size: int) -> list[Set]:
        """The sets made larger by one word, and all places of words that are said as often as the size."""
        grown = {tuple(sorted({*chosen, i})) for chosen in followed for i in partners}
        return sorted(chosen for chosen in grown.union(self._repeated) if len(chosen) == size)

    @cached_property
    def _repeated(self) -> list[Set]:
        """The places of each word that is said more than once and was measured; only of those that do something when
        they are hidden, where that is a way."""
        session = self._inquiry.session
        places: dict[str, list[int]] = {}
        for i in self._inquiry.others:
            text = "".join(session.spell(session.tokens[at]) for at in self._inquiry.spans[i])
            places.setdefault(text.strip().casefold(), []).append(i)
        said = [
            tuple(same)
            for word, same in places.items()
            if len(same) > 1 and any(map(str.isalnum, word)) and not self._measured.isdisjoint(same)
        ]
        if "blocked" not in self._inquiry.ways:
            return said
        losses = self._inquiry.losses(WAYS["blocked"], said)
        return [same for same, loss in zip(said, losses, strict=True) if loss > self._inquiry.question.least]

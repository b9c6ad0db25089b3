"""The default method: the few words without which the answer is least likely, found by taking words away.

What a word did is measured in two ways that differ: other likely words stand in its place, and it is hidden from all
others (blocked). A word counts for the mildest of those likely words: whichever stood there, the answer would be at
least so much less likely. Of a long text only the words that a quicker method proposes are measured, and the word from
which is asked only counts where it outweighs all others.

Then the set of words is looked for that both ways together put highest, one word at a time, the best few sets being
followed; words that are said more than once are also tried together, since each alone may be missed by none. As many
words are named as are needed for the check to mean something (`limelight.look.check`), and more if each adds much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import comb, log
from statistics import fmean
from types import MappingProxyType

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

HIDDEN = 12
"""Words that are hidden, too: those that do most when they are replaced, where that is not the only way."""

WEIGHTS = (1.0, 2.0)
"""What replacing and hiding count in the search for the words that are named: hiding twice, since deleting, by which
they are checked, agrees with it more often."""

FOLLOWED = 3
"""Sets of each size that are extended until they can be checked."""

PARTNERS = 8
"""Words by which those are extended, and a quarter of them afterwards: those that do most alone."""

ADDS = log(2)
"""What one more word must add, by every way, to be named beyond those that the check needs: the answer is half as
likely again."""

DECIDES = 3
"""How many times the smallest loss that can be told words must make together, taken away in the first way, to be named:
some half as likely again."""

OUTWEIGHS = 3
"""How many times what all others that are named do together the word that asks must do alone to count: whatever stands
in its place, another word is asked for."""

Losses = tuple[tuple[float, ...], ...]
"""What an answer loses without some words: for each way, by each of its variants."""

CERTAIN = 20
"""Sets of words among which the best is the best by chance at most once in twenty times."""

ENOUGH = 40
"""Words of a text of which one is enough to be named: it may be the second best, too."""


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
    search = _Search(inquiry, progress)
    alone = dict(zip(candidates, search.alone(candidates), strict=True))
    named = search.best(alone)
    if (asks := inquiry.asks) is not None:
        (loss,) = inquiry.alone([asks])
        if loss >= max(inquiry.question.least * DECIDES, OUTWEIGHS * _together(inquiry, named)):
            alone[asks] = loss  # it takes the place of the last of as many as the check needs
            named = (asks, *named[: max(0, smallest(len(inquiry.spans)) - 1)])
    return Found(tuple(alone.get(i) for i in range(len(inquiry.spans))), named)


def _together(inquiry: Inquiry, named: Sequence[int]) -> float:
    return inquiry.losses(WAYS[inquiry.ways[0]], [named])[0] if named else 0.0


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
    """The fewest of so many words that make `CERTAIN` sets, so that one can be checked, and a single one only of
    `ENOUGH`; 1 where none do."""
    few = 1 if words >= ENOUGH else 2
    return next((k for k in range(few, MOST + 1) if comb(words, k) >= CERTAIN), 1)


class _Search:
    """Sets of words, grown one word at a time."""

    def __init__(self, inquiry: Inquiry, progress: Progress | None) -> None:
        self._inquiry = inquiry
        self._progress = progress
        self._ways = inquiry.ways
        self._steps = 0
        self._measured: frozenset[int] = frozenset()

    def alone(self, words: Sequence[int]) -> list[float]:
        """What the answer loses without each word, taken away in the first way."""
        if self._ways[0] == "replaced":
            found = self._inquiry.alone(words, self._tell)
        else:
            found = self._inquiry.losses(WAYS[self._ways[0]], [(i,) for i in words], self._tell)
        self._steps += 1
        return found

    def _tell(self, done: int, all: int) -> None:
        """Tells how much of the search is done, when a part of a step is."""
        if self._progress is not None:
            most = MOST + 1  # steps, that all take about as long
            self._progress(min(round(100 * (self._steps + done / all)), 100 * most), 100 * most)

    def best(self, alone: Mapping[int, float]) -> tuple[int, ...]:
        """The set that is named, the word that does most alone first; none where no few words lower the answer.

        alone: what the answer loses without each word, taken away in the first way. Sets are ranked by the mean of
        their variants, which says more of other likely words than the mildest.
        """
        self._measured = frozenset(alone)
        likely = sorted(alone, key=lambda i: -alone[i])
        if len(self._ways) > 1:
            likely = likely[:HIDDEN]
        if not likely:
            return ()
        least = self._inquiry.question.least
        # Of a word that some likely word replaces at no loss no more of them are tried.
        weak: dict[tuple[int, ...], tuple[float, ...]] = {(i,): (alone[i],) for i in likely if alone[i] <= least}
        single = self._all_ways([(i,) for i in likely], weak)
        whole = least * DECIDES
        scale = [max(*map(fmean, losses), least) for losses in zip(*single.values(), strict=True)]

        def score(losses: Losses) -> float:
            return sum(weight * fmean(each) / most for weight, each, most in zip(WEIGHTS, losses, scale, strict=False))

        followed = sorted(single, key=lambda chosen: -score(single[chosen]))
        partners = [i for (i,) in followed]
        named, worth = followed[0], single[followed[0]]
        words = len(self._inquiry.others)
        needed = min(smallest(words), len(likely))
        sizes = {*range(2, min(MOST, len(likely)) + 1), *map(len, self._repeated)}
        for size in sorted(size for size in sizes if size <= words // 2):  # half of all words are no few
            if size <= needed:
                grown = self._grown(followed[:FOLLOWED], partners[:PARTNERS], size)
            else:
                one_less = [named] if len(named) == size - 1 else []
                grown = self._grown(one_less, partners[: PARTNERS // 4 + size - 1], size)
            if not grown:
                continue
            losses = self._all_ways(grown)
            followed = sorted(losses, key=lambda chosen: -score(losses[chosen]))
            best = next((chosen for chosen in followed if min(losses[chosen][0]) >= whole), followed[0])
            more, adds = losses[best], ADDS * (size - len(named))
            if size > needed and any(min(new) < min(old) + adds for new, old in zip(more, worth, strict=True)):
                continue  # words that are said thrice may do together what no two of them do
            named, worth = best, more
        if self._progress is not None:
            self._progress(1, 1)
        if min(worth[0]) < whole:  # though one of them may do as much alone
            strongest = max(likely, key=lambda i: alone[i])
            return (strongest,) if alone[strongest] >= whole else ()
        return tuple(sorted(named, key=lambda i: -score(single[i,]) if (i,) in single else -alone.get(i, 0.0)))

    def _all_ways(
        self, sets: Sequence[tuple[int, ...]], known: Mapping[tuple[int, ...], tuple[float, ...]] = MappingProxyType({})
    ) -> dict[tuple[int, ...], Losses]:
        """What the answer loses without each set, by every variant of every way; known: by the first way."""
        taken = [
            [[] if chosen in known and not n else WAYS[way](self._inquiry, chosen) for n, way in enumerate(self._ways)]
            for chosen in sets
        ]
        variants = [variant for each in taken for by_way in each for variant in by_way]
        found = iter(self._inquiry.drops(variants, self._tell))
        self._steps += 1
        return {
            chosen: tuple(tuple(islice(found, len(by_way))) or known[chosen] for by_way in each)
            for chosen, each in zip(sets, taken, strict=True)
        }

    def _grown(self, followed: Sequence[tuple[int, ...]], partners: Sequence[int], size: int) -> list[tuple[int, ...]]:
        """The sets made larger by one word, and all places of words that are said as often as the size."""
        grown = {tuple(sorted({*chosen, i})) for chosen in followed for i in partners if i not in chosen}
        grown = {chosen for chosen in grown if len(chosen) == size}
        return sorted(grown | {places for places in self._repeated if len(places) == size})

    @cached_property
    def _repeated(self) -> list[tuple[int, ...]]:
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
        if "blocked" not in self._ways:
            return said
        losses = self._inquiry.losses(WAYS["blocked"], said)
        return [same for same, loss in zip(said, losses, strict=True) if loss > self._inquiry.question.least]

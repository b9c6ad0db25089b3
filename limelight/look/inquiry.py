"""What a method of importance is handed: a text, a question about it, and the words that are judged; and the ways to
take words away, by which all is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from torch import Tensor

from limelight.look.question import Likelihood, Question
from limelight.look.session import Progress, Session, Variant

REPLACEMENTS = 3
"""Likely other words by which each word of a set is replaced."""

MORE = 6
"""Those and others, by which the few sets that do most are compared."""

AGAIN = 2
"""Further words by which a set is replaced again, to check it."""


@dataclass(frozen=True)
class Inquiry:
    """spans: the positions of each word that is judged, in the text's order. long: whether they are sentences and the
    like, in whose place no other word could stand."""

    session: Session
    question: Question
    spans: tuple[range, ...]
    long: bool = False

    @property
    def asks(self) -> int | None:
        """Which of the spans the model asks from; see `Session.asking`."""
        return None if self.long else self.session.asking(self.question, self.spans)

    @property
    def others(self) -> tuple[int, ...]:
        """The spans that can be taken away in every way: all but the one from which is asked."""
        return tuple(i for i in range(len(self.spans)) if i != self.asks)

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways of `WAYS` by which words are found; they are checked by another, if there is one. A recurrent model
        hides nothing."""
        found = (*([] if self.long else ["replaced"]), *(["blocked"] if self.session.blocks else []))
        return found or ("deleted",)

    @property
    def likelihood(self) -> Likelihood:
        """The question, where it is about how likely an answer is, as all that are asked of a decoder are."""
        assert isinstance(self.question, Likelihood)
        return self.question

    def replaced(self, chosen: Sequence[int]) -> list[Variant]:
        """The variants in which other likely words stand in the places of some of the spans, `REPLACEMENTS` of them or
        as many as there are; a span for which there is none is left out."""
        return self._with(chosen, slice(REPLACEMENTS))

    def replaced_by_more(self, chosen: Sequence[int]) -> list[Variant]:
        """The same by more of them, at most `MORE`, those of `replaced` first."""
        return self._with(chosen, slice(MORE))

    def replaced_again(self, chosen: Sequence[int]) -> list[Variant]:
        """The same by others, at most `AGAIN`; those tried before stand there only where there are no more."""
        return self._with(chosen, slice(MORE, None), slice(REPLACEMENTS, None), slice(None), most=AGAIN)

    def _with(self, chosen: Sequence[int], *parts: slice, most: int = MORE) -> list[Variant]:
        """The variants in which some of their likely words stand in the places of spans, as many as the span with most
        of them has; the same ones wherever the same word stands. parts: of the likely words, the first that is not
        empty."""
        found: dict[int, list[tuple[int, ...]]] = {}
        likely: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for i in chosen:
            tokens = self._tokens(i)
            if tokens not in likely:
                likely[tokens] = self._likely(i)
            found[i] = next((some for part in parts if (some := likely[tokens][part])), [])[:most]
        gone = tuple(self.spans[i] for i, others in found.items() if not others)
        rounds = range(max([1, *map(len, found.values())]))
        return [
            Variant(
                left_out=gone,
                replaced=tuple((self._bare(i), others[n % len(others)]) for i, others in found.items() if others),
            )
            for n in rounds
        ]

    def blocked(self, chosen: Sequence[int]) -> list[Variant]:
        """The variant in which no other position may attend to some of the spans; the one from which is asked is left
        out, since it cannot be hidden from itself, and so are all where nothing can be blocked."""
        gone = tuple(self.spans[i] for i in chosen if i == self.asks or not self.session.blocks)
        return [Variant(tuple(self.spans[i] for i in chosen if self.spans[i] not in gone), gone)]

    def deleted(self, chosen: Sequence[int]) -> list[Variant]:
        """The variant in which some of the spans are left out and what follows moves up."""
        return [Variant(left_out=tuple(self.spans[i] for i in chosen))]

    def losses(self, way: "Way", sets: Sequence[Sequence[int]], progress: Progress | None = None) -> list[float]:
        """What the answer loses when each set of spans is taken away, on average over the variants: over the likely
        words, one of which may leave the answer as it was by chance. Of probabilities their mean counts, as if it were
        not known which of those words stands there (input marginalization, Kim et al., 2020)."""
        return [self.question.average(each) for each in self.spread(way, sets, progress)]

    def spread(
        self, way: "Way", sets: Sequence[Sequence[int]], progress: Progress | None = None
    ) -> list[tuple[float, ...]]:
        """What the answer loses by each variant of a way to take each set of spans away."""
        variants = [way(self, tuple(sorted(chosen))) for chosen in sets]
        found = iter(self.drops([variant for each in variants for variant in each], progress))
        return [tuple(next(found) for _ in each) for each in variants]

    def drops(self, variants: Sequence[Variant], progress: Progress | None = None) -> list[float]:
        """By how much each variant lowers the question's value; kept with the text."""
        known: dict[Variant, float] = self.session.once(("drops", self.question), dict)
        wanted = [variant for variant in dict.fromkeys(variants) if variant not in known]
        known.update(zip(wanted, self.session.drops(self.question, wanted, progress), strict=True))
        return [known[variant] for variant in variants]

    def by_span(self, tokens: Tensor) -> list[float]:
        """What belongs to tokens [T], summed over each span."""
        return [float(tokens[span.start : span.stop].sum()) for span in self.spans]

    def _bare(self, i: int) -> range:
        """A span without the white space in front of it, where that is tokens of its own: it stays where it is."""
        span, session = self.spans[i], self.session
        spelled = (session.spell(session.tokens[at]) for at in span)
        blank = sum(1 for _ in takewhile(str.isspace, spelled))
        return span[blank:] or span

    def _tokens(self, i: int) -> tuple[int, ...]:
        span = self._bare(i)
        return self.session.tokens[span.start : span.stop]

    def _likely(self, i: int) -> list[tuple[int, ...]]:
        """All words by which a span is replaced, the first ones for sets."""
        span = self._bare(i)
        return self.session.once(("likely", span), lambda: self.session.likely(span, MORE + AGAIN))


Way = Callable[[Inquiry, Sequence[int]], list[Variant]]
"""``way(inquiry, chosen)`` → the variants in which those spans are taken away together."""

WAYS: dict[str, Way] = {"replaced": Inquiry.replaced, "blocked": Inquiry.blocked, "deleted": Inquiry.deleted}
"""All ways to take words away, by name."""

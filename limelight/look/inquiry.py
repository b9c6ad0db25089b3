"""What a method of importance is handed: a text, a question about it, and the words that are judged."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from limelight.look.question import Odds, Question
from limelight.look.session import Progress, Session, Variant


@dataclass(frozen=True)
class Inquiry:
    """spans: the positions of each word that is judged, in the text's order."""

    session: Session
    question: Question
    spans: tuple[range, ...]

    @property
    def asks(self) -> int | None:
        """Which of the spans the model asks from; see `Session.asking`."""
        return self.session.asking(self.question, self.spans)

    @property
    def odds(self) -> Odds:
        """The question, where it is about odds, as all that are asked of a decoder are."""
        assert isinstance(self.question, Odds)
        return self.question

    def knockout(self, chosen: Sequence[int]) -> Variant:
        """The variant that takes some of the spans away together: they are blocked, except that the one from which is
        asked is left out, since it cannot be hidden from itself; all are left out where nothing can be blocked."""
        gone = tuple(self.spans[i] for i in chosen if i == self.asks or not self.session.blocks)
        return Variant(tuple(self.spans[i] for i in chosen if self.spans[i] not in gone), gone)

    def drops(self, variants: Sequence[Variant], progress: Progress | None = None) -> list[float]:
        """By how much each variant lowers the question's value."""
        return self.session.drops(self.question, variants, progress)

    def by_span(self, tokens: Tensor) -> list[float]:
        """What belongs to tokens [T], summed over each span."""
        return [float(tokens[span.start : span.stop].sum()) for span in self.spans]

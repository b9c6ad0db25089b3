"""The answer to a question about a text: how much each word mattered, and whether that can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from limelight.look.check import Check
from limelight.look.importance import Measured
from limelight.look.links import Link
from limelight.look.tables import pandas
from limelight.look.wording import folded, sentences, times
from limelight.text.words import Word

if TYPE_CHECKING:
    from pandas import DataFrame


TAKING = frozenset(("measured", "leave-one-replaced", "blocking", "leave-one-out"))
"""The methods that take words away."""


@dataclass(frozen=True)
class Heard:
    """A word that was judged, its characters [start, end) counted from 0, and how much it mattered.

    importance: what the answer loses on average when another likely word stands there, or what else the method measures
    (`Importance.unit`); None where it was not measured, as of most words of a long text. asks: whether it is the word
    from which the model asks, the last before the one in question.
    """

    word: str
    start: int
    end: int
    importance: float | None
    asks: bool

    @property
    def times(self) -> float | None:
        """How many times less likely the answer is without the word, below 1 if it is likelier; None where it was not
        measured."""
        return None if self.importance is None else times(self.importance)


@dataclass(frozen=True, repr=False)
class Importance:
    """Which words mattered for `target`; printed, the answer in words and a table of them.

    logprob: natural logarithm of its probability where it stands, not a number where the head gives none. rank: its
    place among all that the model could have said there, from 1, the worst of its tokens'; expected: what the model
    found likeliest there. foil: what it was held against. label: what the target is labelled, where that is asked.
    words: all words that were judged, in the text's order. named: the places in `words` of those that together did
    most, the strongest first; none where no few words decide. losses: what the answer loses without those: on average,
    when they are "replaced" by other likely words; "blocked", hidden from all others; "deleted". check: see
    `limelight.look.check`; None where it was not asked for, or no word is named. links: the strongest single heads from
    later words to the words that are named. telling: the one that says most about it; see `links.behind`. unit: what
    the words' importance is measured in; answer_unit: what the losses and the check are. by: what was judged, "word" or
    what else stands in `words`.
    """

    target: Word
    logprob: float
    method: str
    words: tuple[Heard, ...]
    named: tuple[int, ...]
    losses: Mapping[str, float]
    check: Check | None
    links: tuple[Link, ...]
    telling: Link | None = None
    unit: str = "log-probability"
    answer_unit: str = "log-probability"
    by: str = "word"
    rank: int | None = None
    expected: str | None = None
    foil: str | None = None
    label: str | None = None

    @property
    def times(self) -> float | None:
        """How many times less likely the answer is without the words that are named: on average, when other likely
        words stand in their places, or when they are hidden if none can; None where none is named."""
        return times(next(iter(self.losses.values()))) if self.named else None

    @property
    def trusted(self) -> bool:
        """Whether words are named and their check holds."""
        return self.check is not None and self.check.holds

    def told(self) -> list[str]:
        """The answer in a few plain sentences."""
        return sentences(self)

    @property
    def folds(self) -> bool:
        """Whether the words' values are what the answer loses, which can be told as “30 times less likely”."""
        return self.method in TAKING

    def to_json(self) -> dict[str, Any]:
        """The answer as objects, lists, texts and numbers."""
        target, check = self.target, self.check
        return {
            "target": {"word": target.text, "start": target.start, "end": target.end},
            "logprob": self.logprob,
            "rank": self.rank,
            "expected": self.expected,
            "foil": self.foil,
            "method": self.method,
            "unit": self.unit,
            "words": [
                {
                    "word": heard.word,
                    "start": heard.start,
                    "end": heard.end,
                    "importance": heard.importance,
                    "times": heard.times if self.folds else None,
                    "asks": heard.asks,
                }
                for heard in self.words
            ],
            "named": list(self.named),
            "losses": dict(self.losses),
            "times": self.times,
            "told": self.told(),
            "check": None if check is None else {**asdict(check), "holds": check.holds, "short": check.short},
        }

    def ranked(self) -> list[Heard]:
        """The words that were measured, most important first."""
        measured = [heard for heard in self.words if heard.importance is not None]
        return sorted(measured, key=lambda heard: -(heard.importance or 0.0))

    def to_pandas(self) -> "DataFrame":
        """A pandas DataFrame with a row for each word in the text's order, by its number from 1; columns word, start,
        end, importance, asks. Raises RequestError if pandas is not installed."""
        numbers = pandas().RangeIndex(1, len(self.words) + 1, name="number")
        columns = [field.name for field in fields(Heard)]
        return pandas().DataFrame([vars(heard) for heard in self.words], numbers, columns)

    def __repr__(self) -> str:
        places = {heard.start: number for number, heard in enumerate(self.words, 1)}
        last, longest = len(str(len(self.words))), max((len(heard.word) for heard in self.words), default=0)
        rows = self.told()
        for heard in self.ranked():
            loss = heard.importance or 0.0
            value = f"{folded(loss):>20}" if self.folds else f"{loss: .2f}".replace("-", "−")
            rows.append(
                f"{places[heard.start]:>{last}}  {heard.word:<{longest}}  {value}{'  asks' if heard.asks else ''}"
            )
        return "\n".join(rows)


def answer_of(
    found: Measured,
    words: Sequence[Word],
    asks: int | None = None,
    *,
    target: Word,
    logprob: float,
    links: Sequence[Link] = (),
    telling: Link | None = None,
    by: str = "word",
    rank: int | None = None,
    expected: str | None = None,
    foil: str | None = None,
    label: str | None = None,
) -> Importance:
    """What was found of the words that were judged. asks: see `Inquiry.asks`."""
    return Importance(
        target=target,
        logprob=logprob,
        method=found.method,
        words=tuple(
            Heard(word.text, word.start, word.end, value, i == asks)
            for i, (word, value) in enumerate(zip(words, found.values, strict=True))
        ),
        named=found.named,
        losses=found.losses,
        check=found.check,
        links=tuple(links),
        telling=telling,
        unit=found.unit,
        answer_unit=found.answer_unit,
        by=by,
        rank=rank,
        expected=expected,
        foil=foil,
        label=label,
    )

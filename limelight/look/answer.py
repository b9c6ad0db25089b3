"""The answer to a question about a text: how much each word mattered, and whether that can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from limelight import given
from limelight.errors import RequestError
from limelight.look.check import Check
from limelight.look.importance import Measured
from limelight.look.links import Link
from limelight.text.words import Word

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Heard:
    """A word before the one in question, its characters [start, end) counted from 0, and how much it mattered.

    importance: what the answer loses without it, or what else the method measures (`Importance.unit`). asks: whether it
    is the word from which the model asks, the last before the one in question, which is left out instead of blocked.
    """

    word: str
    start: int
    end: int
    importance: float
    asks: bool


@dataclass(frozen=True, repr=False)
class Importance:
    """Which words mattered for `target`; printed, a table of them.

    logprob: natural logarithm of its probability where it stands, not a number where the head gives none. alternatives:
    what it was held against. words: all words that were judged, in the text's order. check: None where there are too
    few words. links: the strongest single heads from later words to the words that mattered most. telling: the one that
    says most about it; see `links.behind`. unit: what the words' importance is measured in.
    """

    target: Word
    logprob: float
    alternatives: tuple[str, ...]
    method: str
    words: tuple[Heard, ...]
    check: Check | None
    links: tuple[Link, ...]
    telling: Link | None = None
    unit: str = "log-odds"

    def ranked(self) -> list[Heard]:
        """The words, most important first."""
        return sorted(self.words, key=lambda heard: -heard.importance)

    def to_pandas(self) -> "DataFrame":
        """A pandas DataFrame with a row for each word in the text's order, by its number from 1; columns word, start,
        end, importance, asks. Raises RequestError if pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise RequestError("to_pandas needs pandas; install it with: pip install pandas") from None
        numbers = pandas.RangeIndex(1, len(self.words) + 1, name="number")
        columns = [field.name for field in fields(Heard)]
        return pandas.DataFrame([vars(heard) for heard in self.words], numbers, columns)

    def __repr__(self) -> str:
        numbered = sorted(enumerate(self.words, 1), key=lambda row: -row[1].importance)
        last, longest = len(str(len(numbered))), max((len(heard.word) for heard in self.words), default=0)
        check = "not checked" if self.check is None else "trusted" if self.check.holds else "not to be trusted"
        rows = [f"Importance for {given.shown(self.target.text)} by {self.method}, {check}"]
        for number, heard in numbered:
            value = f"{heard.importance: .2f}".replace("-", "−")
            rows.append(f"{number:>{last}}  {heard.word:<{longest}}  {value}{'  asks' if heard.asks else ''}")
        return "\n".join(rows)


def heard(words: Sequence[Word], measured: Measured, asks: int | None) -> tuple[Heard, ...]:
    """The words that were judged with what was measured of them; asks: see `Inquiry.asks`."""
    return tuple(
        Heard(word.text, word.start, word.end, value, i == asks)
        for i, (word, value) in enumerate(zip(words, measured.values, strict=True))
    )

"""The text of one answer, token by token: no half characters, nothing behind its stop; what is told of each token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from limelight.decode import StopStrings
from limelight.text.stream import TextStream

if TYPE_CHECKING:
    from limelight.decode import Token
    from limelight.text.tokenizer import Tokenizer

FLOOR = -9999.0
"""What stands for the logarithm of a probability of zero, as JSON has no number for it."""


@dataclass(frozen=True)
class Told:
    """A token with its log-probability (None where nothing stands before it), the likeliest in its place, and where
    in the text it begins."""

    id: int
    text: str
    logprob: float | None
    best: tuple[tuple[int, str, float], ...]
    offset: int
    rank: int | None = None


@dataclass
class Choice:
    """What became of one text so far.

    text: all that is certain. finish: why it ended, as the API says it; None while it goes on. told: tokens that
    nobody has taken yet. tokens: how many there were, all of them.
    """

    tokenizer: "Tokenizer"
    stops: Sequence[str]
    after: Sequence[int] = ()
    special: bool = False
    text: str = ""
    finish: str | None = None
    tokens: int = 0
    ids: list[int] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stream = TextStream(self.tokenizer, after=self.after, special=self.special)
        self._strings = StopStrings(self.stops)
        self._length = 0  # characters that came out of the stream, those that are held back among them

    def push(self, token: "Token") -> str:
        """The text that became certain with this token."""
        self.tokens += 1
        self.ids.append(token.id)
        piece = ""
        if token.finish != "stop":
            offset = self._length
            piece = self._add(self._stream.push(token.id))
            if token.logprob is not None:
                spell = self.tokenizer.spell
                best = tuple((id, spell(id), max(value, FLOOR)) for id, value in token.best)
                self.told.append(Told(token.id, spell(token.id), max(token.logprob, FLOOR), best, offset))
        if token.finish is not None and not self._strings.stopped:
            piece += self._add(self._stream.close()) + self._strings.flush()
        self.text += piece
        if self._strings.stopped:
            self.finish = "stop"
            self.told = [told for told in self.told if told.offset < len(self.text)]
        elif token.finish is not None:
            self.finish = "stop" if token.finish == "stop" else "length"
        return piece

    def take(self) -> list[Told]:
        """The tokens that were not taken yet and whose text is out."""
        if not self.told:
            return []
        ready = [told for told in self.told if self.finish or told.offset < len(self.text)]
        self.told = self.told[len(ready) :]
        return ready

    def _add(self, text: str) -> str:
        self._length += len(text)
        return self._strings.push(text)

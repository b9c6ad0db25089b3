"""The text of one choice, token by token: no half characters, nothing behind its stop; what is told of each token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

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
        ready = [told for told in self.told if self.finish or told.offset < len(self.text)]
        self.told = self.told[len(ready) :]
        return ready

    def _add(self, text: str) -> str:
        self._length += len(text)
        return self._strings.push(text)


def legacy(told: Sequence[Told], start: int = 0) -> dict[str, Any]:
    """Tokens as /v1/completions tells them. start: characters in front of them."""
    return {
        "tokens": [each.text for each in told],
        "token_logprobs": [each.logprob for each in told],
        "top_logprobs": [None if each.logprob is None else _best(each) for each in told],
        "text_offset": [start + each.offset for each in told],
    }


def _best(told: Told) -> dict[str, float]:
    found: dict[str, float] = {}
    for _, text, value in told.best:
        found.setdefault(text, value)
    if told.logprob is not None:
        found.setdefault(told.text, told.logprob)
    return found


def modern(told: Sequence[Told]) -> dict[str, Any]:
    """Tokens as /v1/chat/completions tells them."""
    content = [
        {
            **_token(each.text, each.logprob),
            "top_logprobs": [_token(text, value) for _, text, value in each.best],
        }
        for each in told
    ]
    return {"content": content, "refusal": None}


def _token(text: str, logprob: float | None) -> dict[str, Any]:
    whole = "\ufffd" not in text  # part of a character has bytes that its spelling does not show
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()) if whole else None}


def prompt_told(told: Sequence[Told]) -> list[dict[str, Any] | None]:
    """The tokens of a prompt as vLLM tells them: by id, with rank."""
    found: list[dict[str, Any] | None] = []
    for each in told:
        if each.logprob is None:
            found.append(None)
            continue
        places = {id: (value, place, text) for place, (id, text, value) in enumerate(each.best, 1)}
        places.setdefault(each.id, (each.logprob, each.rank or 0, each.text))
        found.append(
            {
                str(id): {"logprob": value, "rank": rank, "decoded_token": text}
                for id, (value, rank, text) in places.items()
            }
        )
    return found

"""Texts that a model adds to a prompt, or writes behind a source: piece by piece, or whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limelight import given

if TYPE_CHECKING:
    from limelight.decode import Drafting, Engine, Finish, Request, Rules, Sampling, StopStrings
    from limelight.models.api import LanguageModel
    from limelight.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Completion:
    """text: what the model added. finish: why it ended, "stop", "length" or "context". tokens: how many it made.
    steps: how often the model ran for them, which is less where a draft was right. logprobs: for each token its text
    and the natural logarithm of its probability; empty unless asked for."""

    text: str
    finish: Finish | None
    tokens: int
    steps: int
    logprobs: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Opening:
    """What stands before a text that a model writes, in token ids.

    prompt: what the decoder reads first. source: what the encoder reads, where there is one. after: the tokens that the
    text goes on from; none where it is a text of its own. rules: what the model wants of the text, if anything.
    """

    prompt: Sequence[int]
    source: Sequence[int] = ()
    after: Sequence[int] = ()
    rules: Rules | None = None


def stream(
    network: LanguageModel,
    tokenizer: Tokenizer,
    opening: Opening,
    *,
    max_tokens: int,
    sampling: Sampling | None,
    stop: Sequence[str],
    draft: Drafting | None,
) -> Iterator[str]:
    """What the network writes behind one opening, in pieces; see `limelight.Model.stream`."""
    engine, requests, rows = _started(
        network, tokenizer, [opening], max_tokens, sampling, stop, draft=draft, logprobs=False
    )

    def pieces() -> Iterator[str]:
        for step in _run(engine, requests, rows):
            if piece := "".join(step):
                yield piece

    return pieces()


def complete(
    network: LanguageModel,
    tokenizer: Tokenizer,
    openings: Sequence[Opening],
    *,
    max_tokens: int,
    sampling: Sampling | None,
    stop: Sequence[str],
    logprobs: bool,
    draft: Drafting | None,
) -> list[Completion]:
    """What the network writes behind each opening; see `limelight.Model.complete_all`."""
    engine, requests, rows = _started(
        network, tokenizer, openings, max_tokens, sampling, stop, draft=draft, logprobs=logprobs
    )
    for _ in _run(engine, requests, rows):
        pass
    return [row.completion() for row in rows]


def _started(
    network: LanguageModel,
    tokenizer: Tokenizer,
    openings: Sequence[Opening],
    max_tokens: int,
    sampling: Sampling | None,
    stop: Sequence[str],
    *,
    draft: Drafting | None,
    logprobs: bool,
) -> tuple[Engine, list[Request], list[_Row]]:
    from limelight.decode import Rules, Sampling, StopStrings
    from limelight.decode.loop import start

    engine, requests = start(
        network,
        [opening.prompt for opening in openings],
        sources=[opening.source for opening in openings],
        max_tokens=max_tokens,
        sampling=Sampling() if sampling is None else given.a(Sampling, "sampling", sampling, "a limelight.Sampling"),
        stop=tokenizer.eos,
        logprobs=0 if given.flag("logprobs", logprobs) else None,
        draft=draft,
        rules=[opening.rules or Rules() for opening in openings],
    )
    return engine, requests, [_Row(tokenizer, opening.after, StopStrings(stop)) for opening in openings]


def _run(engine: Engine, requests: list[Request], rows: list[_Row]) -> Iterator[list[str]]:
    """The pieces of text that each step makes certain."""
    for step in engine.run():
        for row in {token.row for token in step}:
            rows[row].steps += 1
        yield [rows[token.row].push(token.id, token.finish, token.logprob) for token in step]
        for row in {token.row for token in step}:
            if rows[row].finish is not None:  # perhaps by a stop string, of which the engine does not know
                engine.cancel(requests[row])


class _Row:
    """The text of one row, token by token: half characters and possible stop strings are held back."""

    def __init__(self, tokenizer: Tokenizer, after: Sequence[int], stops: StopStrings) -> None:
        from limelight.text.stream import TextStream

        self._tokenizer = tokenizer
        self._stream = TextStream(tokenizer, after=after)
        self._stops = stops
        self._pieces: list[str] = []
        self._logprobs: list[tuple[str, float]] = []
        self._tokens = 0
        self.steps = 0
        self.finish: Finish | None = None

    def push(self, id: int, finish: Finish | None, logprob: float | None = None) -> str:
        """The text that became certain with this token."""
        if self.finish is not None:  # ended by a stop string, with more tokens in the same step
            return ""
        piece = ""
        if finish != "stop":
            self._tokens += 1
            piece = self._stops.push(self._stream.push(id))
            if logprob is not None:
                self._logprobs.append((self._tokenizer.spell(id), logprob))
        if finish is not None and not self._stops.stopped:
            piece += self._stops.push(self._stream.close()) + self._stops.flush()
        self.finish = "stop" if self._stops.stopped else finish
        self._pieces.append(piece)
        return piece

    def completion(self) -> Completion:
        """All of it."""
        return Completion("".join(self._pieces), self.finish, self._tokens, self.steps, tuple(self._logprobs))

"""Which earlier bars of a tune a bar, or a note of it, is listening to: measured by hiding them, and checked."""

import re
from dataclasses import dataclass

from torch import Tensor, stack

from limelight.errors import RequestError
from limelight.look import importance
from limelight.look.answer import Importance, answer_of
from limelight.look.inquiry import WAYS, Inquiry
from limelight.look.question import GivenWord
from limelight.look.session import CausalSession, Progress, session
from limelight.look.text import sink_tokens, speller
from limelight.models.api import Decoder
from limelight.music import abc
from limelight.music.tune import Tune
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import Word

_BAR = re.compile(r"(?<=\s)(?!\[[12] )[^\s|:]+")
_NOTE = re.compile(r'"[^"]*"|\(\d|(?P<note>(?:\[[^\]]*\]|[_^=]*[A-Ga-gz][,\']*)[\d/]*-?)')


@dataclass(frozen=True)
class Played:
    """A bar as it stands in the text, and its notes and rests."""

    word: Word
    notes: tuple[Word, ...]


def _named(name: str, word: Word) -> Word:
    return Word(f"{name}: {word.text.strip()}", word.start, word.end, word.tokens)


class SeenTune:
    """A tune under a model that learned to compose.

    text: the tune as the model reads it. bars: in the order in which they stand. parts: what can be listened to: the
    header, and the bars by their numbers from 1.
    """

    def __init__(self, network: Decoder, tokenizer: Tokenizer, tune: Tune, quick: Decoder | None = None) -> None:
        """quick: see `limelight.Seen`. Raises RequestError for a tune that is longer than the model reads."""
        self.text = abc.write(tune)
        front = sink_tokens(tokenizer)
        coded = tokenizer.encode(self.text)
        if len(front) + len(coded.ids) > network.context:
            raise RequestError(f"the tune has {len(coded.ids):,} tokens, and the model reads {network.context:,}")
        self._offsets, self._shift = coded.offsets, len(front)
        read: CausalSession = session(network, (*front, *coded.ids), speller(tokenizer), quick)
        self.session = read
        head = self.text.index("%")
        head = self.text.index("\n", head) + 1
        places = [(each.start(), each.end()) for each in _BAR.finditer(self.text, head)]
        ends = [*(start for start, _ in places[1:]), len(self.text)]
        self.bars = tuple(
            Played(
                self._word(start, end, after),
                tuple(
                    self._word(*found.span("note")) for found in _NOTE.finditer(self.text, start, end) if found["note"]
                ),
            )
            for (start, end), after in zip(places, ends, strict=True)
        )
        header = self._word(0, places[0][0])
        self.parts = (
            _named("header", header),
            *(_named(f"bar {number}", bar.word) for number, bar in enumerate(self.bars, 1)),
        )

    def _word(self, start: int, end: int, after: int = 0) -> Word:
        """Characters as a word; after: where what is hidden with it ends."""
        inside = [at for at, (a, b) in enumerate(self._offsets) if a < max(end, after) and b > start]
        return Word(self.text[start:end], start, end, range(inside[0] + self._shift, inside[-1] + 1 + self._shift))

    def importance(self, bar: int, note: int | None = None, progress: Progress | None = None) -> Importance:
        """What in front of a bar, or of a note of it (both from 1), made the model write it: the header and the bars
        before are hidden, one by one and together, and what is found is checked by deleting them. Raises RequestError
        for a bar or a note that there is not."""
        target = self._asked(bar, note)
        parts = self.parts[:bar]
        question = self._question(target)
        found = importance.measure(
            Inquiry(self.session, question, tuple(p.tokens for p in parts), long=True), None, progress
        )
        return answer_of(
            found,
            parts,
            target=target if note is not None else _named(f"bar {bar}", target),
            logprob=float(self.session.whole(question)),
            by="bar",
        )

    def _asked(self, bar: int, note: int | None) -> Word:
        if not 1 <= bar <= len(self.bars):
            raise RequestError(f"there is no bar {bar}; the tune has {len(self.bars)}, upbeats and endings counted")
        asked = self.bars[bar - 1]
        if note is None:
            shown = asked.word
            return Word(shown.text, shown.start, shown.end, range(shown.tokens.start, asked.notes[-1].tokens.stop))
        if not 1 <= note <= len(asked.notes):
            raise RequestError(f"there is no note {note} in bar {bar}; it has {len(asked.notes)}")
        return asked.notes[note - 1]

    def _question(self, asked: Word) -> GivenWord:
        at = tuple(range(asked.tokens.start - 1, asked.tokens.stop - 1))
        return GivenWord(at, tuple(self.session.tokens[place + 1] for place in at))

    def matrix(self, progress: Progress | None = None) -> Tensor:
        """How much less likely each note is (nats) without the header, and without each bar: [notes, 1 + bars]."""
        first, last = self.bars[0].word.tokens.start, self.bars[-1].notes[-1].tokens.stop
        question = self._question(Word("", 0, 0, range(first, last)))
        inquiry = Inquiry(self.session, question, tuple(part.tokens for part in self.parts), long=True)
        way = WAYS[inquiry.ways[0]]
        variants = [variant for i in range(len(self.parts)) for variant in way(inquiry, [i])]
        whole = self.session.logprobs(question, [*way(inquiry, [])])[0]
        lost = whole - self.session.logprobs(question, variants, progress)  # [1 + bars, n]
        notes = [note for bar in self.bars for note in bar.notes]
        return stack([lost[:, n.tokens.start - first : n.tokens.stop - first].sum(-1) for n in notes])

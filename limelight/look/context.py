"""A whole answer looked at: which message, document or sentence it rests on, then which words (context attribution;
compare Cohen-Wang et al. 2024, ContextCite, which fits a model to random ablations where this measures each part).

A part of the prompt is taken away by hiding it: no other position may attend to it, and all others stay where they are.
What the answer loses is a sum over its tokens, so that it is told for each of its words and sentences as well.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from limelight import given
from limelight.errors import RequestError
from limelight.look import importance
from limelight.look.answer import Importance, answer_of
from limelight.look.inquiry import WAYS, Inquiry
from limelight.look.question import GivenWord
from limelight.look.session import CausalSession, Progress, session
from limelight.look.tables import pandas
from limelight.look.text import Reading, sink_tokens, speller
from limelight.look.view import View
from limelight.look.wording import folded, quoted
from limelight.models.api import Decoder
from limelight.text.stream import TextStream
from limelight.text.tokenizer import Encoding, Tokenizer
from limelight.text.words import Word, find, words

if TYPE_CHECKING:
    from pandas import DataFrame

Level = Literal["message", "sentence", "word"]
"""What a text is cut into. A prompt that is no conversation has paragraphs where that has messages."""

ENDS = frozenset(".!?…。！？")
"""Signs behind which a sentence ends."""

WITHIN = 2
"""Sentences in whose words those of a long prompt are looked for."""


@dataclass(frozen=True)
class Segment:
    """A message, sentence or word. text: as it stands; start, end: its characters in the whole text. tokens: their
    places. role: who said it; None where nobody did."""

    text: str
    start: int
    end: int
    tokens: range
    role: str | None

    @property
    def word(self) -> Word:
        """The same, as what is asked for or judged."""
        return Word(self.text, self.start, self.end, self.tokens)


@dataclass(frozen=True, repr=False)
class Matrix:
    """What each part of an answer owes to each part of the prompt: values [R, C], by how much its log-probability falls
    without it. rows: parts of the answer. columns: parts of the prompt."""

    rows: tuple[Segment, ...]
    columns: tuple[Segment, ...]
    values: Tensor

    def whole(self) -> Tensor:
        """What the whole answer owes to each part of the prompt: [C]."""
        return self.values.sum(0)

    def to_pandas(self) -> "DataFrame":
        """A pandas DataFrame with a row for each part of the answer and a column for each part of the prompt. Raises
        RequestError if pandas is not installed."""
        names = [[part.text for part in side] for side in (self.rows, self.columns)]
        return pandas().DataFrame(self.values.tolist(), *names)

    def __repr__(self) -> str:
        lines = []
        for part, row in zip(self.rows, self.values, strict=True):
            most = int(row.argmax())
            told = f"{folded(float(row[most]))} likely without {quoted(self.columns[most].text)}"
            lines.append(f"{quoted(part.text)}: {told}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Prompted:
    """A prompt and an answer as one text. front: tokens in front of it. parts: the messages or paragraphs, characters
    [start, end) and whose they are; the last one is the answer. special: whether control tokens in it are ones. coded:
    its tokens, where they are known already."""

    text: str
    parts: tuple[tuple[int, int, str | None], ...]
    front: tuple[int, ...] = ()
    special: bool = False
    coded: Encoding | None = None


def conversation(
    tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], answer: str, most: int | None = None
) -> Prompted:
    """Messages by the model's own chat template, with its answer behind them; of that only as much as makes at most
    `most` tokens in all. Raises TextError as `Tokenizer.chat` does, RequestError where the template does not show a
    message as it is."""
    opened = tokenizer.chat(messages)
    parts = _turns(opened, messages)
    said = answer.rstrip()
    while most is not None and said and len(tokenizer.encode(opened + said, special=True).ids) > most:
        said = said[: 9 * len(said) // 10].rstrip()
    return Prompted(opened + said, (*parts, (len(opened), len(opened) + len(said), "assistant")), special=True)


def _turns(opened: str, messages: Sequence[Mapping[str, Any]]) -> list[tuple[int, int, str | None]]:
    """Where messages stand in a prompt, and whose they are."""
    parts: list[tuple[int, int, str | None]] = []
    at = 0
    for number, message in given.many("messages", messages, "messages"):
        given.mapping(f"message {number}", message, "a role and a content")
        content = str(message.get("content") or "").strip()
        start = opened.find(content, at)
        if start < 0:
            raise RequestError(f"the model's chat template changes message {number}, so that its words cannot be found")
        at = start + len(content)
        if content:
            parts.append((start, at, str(message.get("role"))))
    return parts


def generated(
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    answer: Sequence[int],
    messages: Sequence[Mapping[str, Any]] | None = None,
) -> Prompted:
    """A prompt and the answer that was generated behind it, by the tokens that they were; without `messages` a plain
    text, which is looked at behind the model's document separator. Raises as `conversation` does."""
    special = messages is not None
    front = () if special else sink_tokens(tokenizer)
    if not special and tuple(prompt[: len(tokenizer.prefix)]) == tokenizer.prefix:
        prompt = prompt[len(tokenizer.prefix) :]
    stream = TextStream(tokenizer, special=special)
    ids = [*prompt, *answer]
    pieces = [stream.push(id) for id in ids]
    pieces[-1] += stream.close()
    ends = list(accumulate(map(len, pieces)))
    text = "".join(pieces)
    offsets: list[tuple[int, int]] = []
    end = 0
    for place in reversed(range(len(ids))):  # a token without text is a part of the character that comes next
        silent = not pieces[place] and ids[place] in tokenizer.controls
        end = ends[place] if pieces[place] or silent else max(end, ends[place])
        offsets.append((ends[place] - len(pieces[place]), end))
    opened = text[: ends[len(prompt) - 1]] if prompt else ""
    parts = _paragraphs(opened) if messages is None else _turns(opened, messages)
    whole = (*parts, (len(opened), len(text), "assistant" if special else None))
    return Prompted(text, whole, front, special, Encoding(ids, offsets[::-1]))


def _paragraphs(text: str) -> list[tuple[int, int, str | None]]:
    return [(each.start(), each.end(), None) for each in re.finditer(r"\S(?:.|\n(?!\s*\n))*", text)]


def passage(tokenizer: Tokenizer, text: str, answer: str) -> Prompted:
    """A plain text, cut into paragraphs at its empty lines, with what is said behind it."""
    parts = _paragraphs(text)
    end = len(text) + len(answer.rstrip())
    return Prompted(text + answer.rstrip(), (*parts, (len(text), end, None)), sink_tokens(tokenizer))


class SeenAnswer(View[CausalSession]):
    """A prompt and the answer to it, looked at by the model that is asked. Made by `limelight.Model.look`.

    answer: the answer's text. words: those of the prompt and of the answer.
    """

    def __init__(
        self,
        network: Decoder,
        tokenizer: Tokenizer,
        prompted: Prompted,
        title: str = "the model",
        quick: Decoder | None = None,
    ) -> None:
        """quick: see `limelight.Seen`. Raises RequestError if the prompt or the answer has no words, or both are more
        than the model reads."""
        coded = prompted.coded or tokenizer.encode(prompted.text, special=prompted.special)
        shift = len(prompted.front)
        found = [
            Word(word.text, word.start, word.end, range(word.tokens.start + shift, word.tokens.stop + shift))
            for word in words(prompted.text, coded.offsets)
            if word.text.strip()
        ]
        self._messages = [
            (role, [word for word in found if start <= word.start and word.end <= end])
            for start, end, role in prompted.parts
        ]
        self._messages = [(role, inside) for role, inside in self._messages[:-1] if inside] + self._messages[-1:]
        if len(self._messages) < 2 or not self._messages[-1][1]:
            raise RequestError("a prompt and an answer need at least one word each to be looked at")
        reading = Reading(
            prompted.text,
            (*prompted.front, *coded.ids),
            tuple(word for _, inside in self._messages for word in inside),
            tokenizer.spell,
        )
        self.answer = prompted.text[self._messages[-1][1][0].start :].strip()
        super().__init__(session(network, reading.tokens, speller(tokenizer), quick), tokenizer, reading, title)

    def prompt(self, by: Level = "sentence") -> tuple[Segment, ...]:
        """The prompt cut into messages, sentences or words."""
        given.one_of("by", by, get_args(Level))
        return tuple(part for message in self._messages[:-1] for part in self._cut(message, by))

    def parts(self, by: Level = "sentence") -> tuple[Segment, ...]:
        """The answer cut into sentences or words, or whole."""
        given.one_of("by", by, get_args(Level))
        return tuple(self._cut(self._messages[-1], by))

    def matrix(self, rows: Level = "sentence", columns: Level = "sentence", progress: Progress | None = None) -> Matrix:
        """What each part of the answer owes to each part of the prompt, each part of the prompt being hidden whole (or
        left out, in a recurrent model): one variant of the text for each of them."""
        given.callback("progress", progress)
        parts, prompt = self.parts(rows), self.prompt(columns)
        question = self._question(self._whole())
        inquiry = Inquiry(self.session, question, tuple(part.tokens for part in prompt), long=True)
        way = WAYS[inquiry.ways[0]]
        variants = [variant for i in range(len(prompt)) for variant in way(inquiry, [i])]
        whole = self.session.logprobs(question, [*way(inquiry, [])])[0]  # [n]
        lost = whole - self.session.logprobs(question, variants, progress)  # [C, n]
        first = question.at[0] + 1
        values = [lost[:, part.tokens.start - first : part.tokens.stop - first].sum(-1) for part in parts]
        return Matrix(parts, prompt, torch.stack(values))

    def importance(
        self,
        part: str | int | None = None,
        *,
        of: Level = "sentence",
        by: Level = "sentence",
        check: bool = True,
        progress: Progress | None = None,
    ) -> Importance:
        """What in the prompt made the model give its answer, or a part of that.

        part: which of the answer's parts by `of`: its number from 1, or its text; None for the whole answer. by: what
        of the prompt is judged: messages, sentences, or words; of a prompt with more words than are all measured those
        of the `WITHIN` sentences without which the answer loses most. check, progress: as in `Seen.importance`. Raises
        RequestError for a part that there is not.
        """
        given.one_of("of", of, get_args(Level))
        given.one_of("by", by, get_args(Level))
        given.flag("check", check)
        given.callback("progress", progress)
        asked = self._whole() if part is None else self._part(part, of)
        prompt, question = self.prompt(by), self._question(asked)
        if by == "word" and len(prompt) > importance.ALL:
            prompt = self._within(question)
        inquiry = Inquiry(self.session, question, tuple(each.tokens for each in prompt), long=by != "word")
        found = importance.measure(inquiry, None, progress, check)
        target, *_ = self._words(asked)
        logits = self.session.logits(slice(question.at[0], question.at[0] + 1))[0]
        return answer_of(
            found,
            [each.word for each in prompt],
            target=asked.word,
            logprob=float(self.session.whole(question)),
            rank=1 + int((logits > logits[question.answer[0]]).sum())
            if len(asked.tokens) == len(target.tokens)
            else None,
            by=by,
        )

    def _within(self, question: GivenWord) -> tuple[Segment, ...]:
        """The words of those sentences of the prompt that matter most."""
        sentences = self.prompt("sentence")
        inquiry = Inquiry(self.session, question, tuple(each.tokens for each in sentences), long=True)
        losses = inquiry.losses(WAYS[inquiry.ways[0]], [(i,) for i in range(len(sentences))])
        parts = self.prompt("word")
        best = sorted(sorted(range(len(sentences)), key=lambda i: -losses[i])[:WITHIN])
        return tuple(
            word for i in best for word in parts if sentences[i].start <= word.start and word.end <= sentences[i].end
        )

    def _whole(self) -> Segment:
        (whole,) = self.parts("message")
        return whole

    def _part(self, part: str | int, of: Level) -> Segment:
        parts = self.parts(of)
        return parts[find([each.word for each in parts], part, of)]

    def _question(self, asked: Segment) -> GivenWord:
        """How likely a part of the answer is behind all that is in front of it."""
        at = tuple(range(asked.tokens.start - 1, asked.tokens.stop - 1))
        return GivenWord(at, tuple(self.session.tokens[place + 1] for place in at))

    def _words(self, part: Segment) -> list[Word]:
        return [word for word in self.words if part.start <= word.start and word.end <= part.end]

    def _cut(self, message: tuple[str | None, list[Word]], by: Level) -> list[Segment]:
        role, inside = message
        groups = {"message": [inside], "word": [[word] for word in inside]}.get(by) or self._sentences(inside)
        return [
            Segment(
                self.text[group[0].start : group[-1].end],
                group[0].start,
                group[-1].end,
                range(group[0].tokens.start, group[-1].tokens.stop),
                role,
            )
            for group in groups
        ]

    def _sentences(self, inside: Sequence[Word]) -> list[list[Word]]:
        """Words by sentence: cut behind the signs that end one, and where a line ends."""
        groups: list[list[Word]] = [[]]
        for word in inside:
            before = groups[-1][-1] if groups[-1] else None
            if before is not None:
                ended = before.text[-1] in ENDS and word.text[0] not in ENDS
                if ended or "\n" in self.text[before.end : word.start]:
                    groups.append([])
            groups[-1].append(word)
        return groups

    def __repr__(self) -> str:
        return (
            f"SeenAnswer({given.shown(self.answer)}, {len(self.prompt('message'))} messages before it, by {self.title})"
        )

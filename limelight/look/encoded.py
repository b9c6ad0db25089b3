"""A text looked at by an encoder: what its head answers, and which words made it answer that."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from limelight import given
from limelight.errors import RequestError
from limelight.look import importance, links
from limelight.look.answer import Importance, answer_of
from limelight.look.encoder import EncoderSession
from limelight.look.inquiry import Inquiry
from limelight.look.question import Class, Likelihood, MaskedWord, Question, Score, Similarity, Span, Tag
from limelight.look.session import Progress
from limelight.look.text import Reading, known, read, speller
from limelight.look.view import View
from limelight.models.api import Encoder
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import Word


class SeenEncoded(View[EncoderSession]):
    """A text looked at by an encoder, between the marks that the model expects around it. Words are asked for and
    numbered as in `limelight.Seen`."""

    def __init__(
        self, network: Encoder, tokenizer: Tokenizer, text: str, title: str = "the model", question: str | None = None
    ) -> None:
        """question: what stands in front of the text, for a model that marks the answer in it."""
        given.a(Encoder, "network", network, "the network of an encoder")
        given.a(Tokenizer, "tokenizer", tokenizer, "a Tokenizer")
        reading, ahead = _between(text, tokenizer), 0
        if question is not None:
            asked = tokenizer.encode(given.text("question", question)).ids
            reading = _between(text, tokenizer, (*tokenizer.prefix, *asked, *tokenizer.between))
            ahead = len(tokenizer.prefix) + len(asked) + len(tokenizer.between)
        self._asked = question is not None
        super().__init__(_session(network, tokenizer, reading.tokens, ahead), tokenizer, reading, title)

    def importance(
        self,
        asked: str | int | None = None,
        *,
        foil: str | None = None,
        method: str | None = None,
        check: bool = True,
        progress: Progress | None = None,
    ) -> Importance:
        """Which words made the model give its answer.

        asked, by the model's head: a word of the text, which is masked, by its text or its number from 1 (the last one
        if None); a word whose tag is asked for; one of the labels of a text (the likeliest one if None); another text,
        to which this one is near; or the part of the text that answers its question (the likeliest one if None). foil:
        what might have been the answer instead: another word, label, text or part of it;
        method: one of `limelight.look.METHODS` that fits an encoder; without it the words are measured, see
        `limelight.look.measured`. Raises RequestError for an answer or a method that there is not.
        """
        given.flag("check", check)
        given.callback("progress", progress)
        if foil is not None:
            given.text("foil", foil)
        if method is not None:
            importance.chosen(method, self.session)
        session, question, target, whole = self.asking(asked, foil)
        asks = tuple(i for i, word in enumerate(self.words) if set(word.tokens) & set(target.tokens))
        places = [i for i in range(len(self.words)) if i not in asks]
        if not places:
            raise RequestError(f"{target.text!r} is the only word: no other could have mattered")
        inquiry = Inquiry(session, question, tuple(self.words[i].tokens for i in places))
        found = importance.measure(inquiry, method, progress, check)
        behind = []
        if asks and found.named:
            others = tuple(places[i] for i in found.named)
            behind = session.once(
                ("links", asks, others), lambda: links.strongest(session, self.reading, asks, others, 5)
            )
        logprob, rank, expected = session.once(("said", whole), lambda: self._said(session, whole))
        return answer_of(
            found,
            [self.words[i] for i in places],
            target=target,
            logprob=logprob,
            rank=rank,
            expected=expected,
            foil=foil,
            label=expected if isinstance(whole, Tag) else None,
            links=behind,
            telling=next(iter(behind), None),
        )

    def asking(
        self, asked: str | int | None = None, foil: str | None = None
    ) -> tuple[EncoderSession, Question, Word, Question]:
        """The text that is read, the question about it, what it is about, and the same without a foil."""
        kinds = self.session.questions
        if MaskedWord in kinds:
            return self._masked_word(self.words[self.place(asked)], foil)
        if Tag in kinds and self.session.labels:
            word = self.words[self.place(asked)]
            return self.session, *self._label(Tag, (word.tokens.start,), None, foil, word)
        if Similarity in kinds:
            if asked is None:
                raise RequestError("this model makes vectors of texts; name another text to hold this one against")
            near = Similarity(
                (), self._vector(given.text("asked", asked)), None if foil is None else self._vector(foil)
            )
            return self.session, near, Word(str(asked), 0, 0, range(0)), near
        if Span in kinds and not self.session.labels:
            return self.session, *self._marked(asked, foil)
        if len(self.session.labels) == 1:
            if asked is not None or foil is not None:
                raise RequestError("this model gives a text one score and has no labels to choose from; name none")
            return self.session, Score(()), Word(self.session.labels[0], 0, 0, range(0)), Score(())
        label = None if asked is None else given.one_of("asked", asked, self.session.labels)
        if self.session.several:
            if foil is not None:
                raise RequestError("each of this model's labels fits or does not; it chooses none rather than another")
            scores = self.session.answers(Score(()))[0]  # [C]
            score = Score((), int(scores.argmax()) if label is None else self.session.labels.index(label))
            return self.session, score, Word(self.session.labels[score.label], 0, 0, range(0)), score
        return self.session, *self._label(Class, (), label, foil, None)

    def _masked_word(self, word: Word, foil: str | None) -> tuple[EncoderSession, Question, Word, Question]:
        mask = self._tokenizer.mask
        if mask is None:
            raise RequestError("this model's tokenizer has no mask to put in a word's place")
        network, at, tokens = self.session.network, word.tokens, list(self.session.tokens)
        answer = tokens[at.start : at.stop]
        tokens[at.start : at.stop] = [mask] * len(at)
        session = self.session.once(("masked", at), lambda: _session(network, self._tokenizer, tokens))
        whole = question = MaskedWord(tuple(at), tuple(answer))
        if foil is not None:
            spaced = self.text[: word.start][len(self.text[: word.start].rstrip()) :] + foil.strip()
            other = known(self._tokenizer.encode(spaced).ids, self._tokenizer, network.vocab)
            question = MaskedWord.against(at, answer, other, foil)
        return session, question, word, whole

    def _label(
        self, kind: type[Tag] | type[Class], at: tuple[int, ...], label: str | None, foil: str | None, word: Word | None
    ) -> tuple[Question, Word, Question]:
        """A label (the likeliest if None) of the text or of a word, against all others or a foil."""
        labels = self.session.labels
        scores = self.session.answers(kind(at, (0,)))[0].flatten()  # [C]
        chosen = int(scores.argmax()) if label is None else labels.index(label)
        whole = question = kind(at, (chosen,))
        if foil is not None:
            other = labels.index(given.one_of("foil", foil, labels))
            if other == chosen:
                raise RequestError(f"{foil!r} is the answer itself; name another label as the foil")
            question = kind(at, (chosen,), other)
        return question, word or Word(labels[chosen], 0, 0, range(0)), whole

    def _marked(self, asked: str | int | None, foil: str | None) -> tuple[Question, Word, Question]:
        """The likeliest span of whole words, or one that is named, against all other places or a foil."""
        if not self._asked:
            raise RequestError("this model marks an answer in a text; name the question, too")
        places = tuple(range(self.words[0].tokens.start, self.words[-1].tokens.stop))
        if asked is not None:
            span = self._span(given.text("asked", str(asked)))
        else:
            start, end = self.session.answers(Span(places, places[0], places[0]))[0].unbind(-1)  # [n]
            both = (start[:, None] + end).masked_fill(~torch.ones(len(places), len(places)).triu().bool(), -torch.inf)
            first, last = divmod(int(both.argmax()), len(places))
            span = self._words(places[first], places[last])
        other = None if foil is None else self._span(given.text("foil", foil))
        if other is not None and (other.tokens.start == span.tokens.start or other.tokens.stop == span.tokens.stop):
            raise RequestError(f"{foil!r} begins or ends where the answer does; name another part of the text")
        against = None if other is None else (other.tokens.start, other.tokens.stop - 1)
        question = Span(places, span.tokens.start, span.tokens.stop - 1, against)
        return question, span, replace(question, foil=None)

    def _span(self, text: str) -> Word:
        """The words that a part of the text touches. Raises RequestError for what does not stand in it."""
        start = self.text.find(text)
        inside = [word.tokens for word in self.words if word.start < start + len(text) and word.end > start]
        if start < 0 or not inside:
            raise RequestError(f"{text!r} does not stand in the text")
        return self._words(inside[0].start, inside[-1].stop - 1)

    def _words(self, first: int, last: int) -> Word:
        """The whole words of two tokens and all between."""
        inside = [word for word in self.words if word.tokens.start <= last and word.tokens.stop > first]
        start, end = inside[0].start, inside[-1].end
        return Word(self.text[start:end], start, end, range(inside[0].tokens.start, inside[-1].tokens.stop))

    def _vector(self, text: str) -> Tensor:
        session = _session(self.session.network, self._tokenizer, _between(text, self._tokenizer).tokens)
        vector: Tensor = session.answers(Similarity((), Tensor()))[0]
        return vector

    def _said(self, session: EncoderSession, question: Question) -> tuple[float, int | None, str | None]:
        """The answer's log-probability, its rank and what is likeliest; where the head gives no probabilities, not a
        number, and None."""
        if not isinstance(question, Likelihood):
            return math.nan, None, None
        answers = session.answers(question)
        scores = answers.flatten(0, -2)[0]  # [C], of the first place
        likeliest = int(scores.argmax())
        spell = self._tokenizer.spell if isinstance(question, MaskedWord) else self.session.labels.__getitem__
        rank = 1 + int((scores > scores[question.answer[0]]).sum())
        return float(question.logprob(answers)[0]), rank, spell(likeliest).strip()

    def __repr__(self) -> str:
        return f"SeenEncoded({given.shown(self.text)}, {len(self.words)} words, by {self.title})"


def _between(text: str, tokenizer: Tokenizer, front: Sequence[int] | None = None) -> Reading:
    """The text with the model's own marks around it. front: what stands in front of it, if not these alone."""
    reading = read(text, tokenizer, tokenizer.prefix if front is None else front)
    return replace(reading, tokens=(*reading.tokens, *tokenizer.suffix))


def _session(network: Encoder, tokenizer: Tokenizer, tokens: Sequence[int], ahead: int = 0) -> EncoderSession:
    """ahead: how many of the tokens are a first text."""
    types = [0] * ahead + [tokenizer.second] * (len(tokens) - ahead) if ahead else None
    return EncoderSession(network, tokens, speller(tokenizer), types=types, mask=tokenizer.mask)

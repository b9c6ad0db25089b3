"""Opened encoders with labels: for whole texts, for words, and for where an answer stands. None cuts a text: what is
longer than the model reads is read in windows that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limelight import given
from limelight.encoder import Embedder, EncoderModel, MaskedModel
from limelight.errors import RequestError
from limelight.text.windows import windows

if TYPE_CHECKING:
    from torch import Tensor

    from limelight.look.encoded import SeenEncoded
    from limelight.models.api import Encoder

ENTAILMENT = "entailment"
"""What a model of entailment calls the label of two texts the second of which follows from the first."""

HYPOTHESIS = "This text is about {}."
LONGEST_ANSWER = 30
"""The most tokens of an answer that is marked in a text, as SQuAD's own readers have it."""


@dataclass(frozen=True)
class Span:
    """Words of a text that have a label together: its characters `[start, end)`, and the mean probability."""

    text: str
    start: int
    end: int
    label: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """Where an answer stands in a text: its characters `[start, end)`. probability: that it is this one, of all that
    the text could give and of none. none: that the text does not say. text is empty where none is likelier."""

    text: str
    start: int
    end: int
    probability: float
    none: float


@dataclass(frozen=True, repr=False)
class Classifier(EncoderModel):
    """An opened model that says which of its labels fits a text."""

    kind = "classifies texts"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the model's order."""
        from limelight.models.config import SequenceClassifier

        head = self.config.head
        assert isinstance(head, SequenceClassifier)
        return head.labels

    @property
    def scores(self) -> bool:
        """Whether it is a cross-encoder, which gives two texts one score."""
        return len(self.labels) == 1 and not self.several

    @property
    def several(self) -> bool:
        """Whether any number of its labels may fit a text, each with a probability of its own."""
        from limelight.models.config import SequenceClassifier

        head = self.config.head
        assert isinstance(head, SequenceClassifier)
        return head.several

    def classify(
        self, texts: Sequence[str], labels: Sequence[str] = (), *, hypothesis: str = HYPOTHESIS
    ) -> list[dict[str, float]]:
        """For each text its labels and their probabilities, likeliest first; of a text that is read in windows the mean
        over its tokens. Where several may fit a text, each has a probability of its own, of windows the highest.

        labels: others than the model's own, which a model of entailment chooses from: those of which the `hypothesis`,
        with the label in place of {}, follows from the text. Raises RequestError for any other model, or no words.
        """
        import torch

        texts, named = self._texts(texts), given.texts("labels", labels)
        given.text("hypothesis", hypothesis)
        if named:
            return self._entailed(texts, named, hypothesis)
        tokens = [self.tokenizer.encode(text).ids for text in texts]
        room = self.network.context - len(self.tokenizer.prefix) - len(self.tokenizer.suffix)
        parts = [(row, part) for row, ids in enumerate(tokens) for part in windows(len(ids), room, room // 8)]
        framed = [[*self.tokenizer.prefix, *tokens[row][p.start : p.stop], *self.tokenizer.suffix] for row, p in parts]
        sums = torch.zeros(len(texts), len(self.labels))
        for (row, part), scores in zip(parts, self._answers(framed), strict=True):
            if self.several:
                sums[row] = torch.maximum(sums[row], scores.sigmoid())
            else:
                sums[row] += scores.softmax(-1) * max(len(part), 1)
        if self.several:
            return [_sorted(self.labels, row) for row in sums]
        return [_sorted(self.labels, row / row.sum()) for row in sums]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The one score that a cross-encoder gives each pair of texts. Raises RequestError for a model of labels."""
        if not self.scores:
            raise RequestError(f"{self.name} has {len(self.labels)} labels and scores no pairs; name a cross-encoder")
        return [float(scores[0]) for scores in self._of_pairs(given.pairs("pairs", pairs))]

    def rerank(self, query: str, texts: Sequence[str]) -> list[tuple[int, float]]:
        """The places of the texts and their scores beside the query, best first. See `score`."""
        return _ranked(self.score([(given.text("query", query), text) for text in self._texts(texts)]))

    def _of_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Tensor]:
        read = [self.encode_pair(given.text("text", one), given.text("text", other)) for one, other in pairs]
        return self._answers([ids for ids, _ in read], [types for _, types in read])

    def _entailed(self, texts: list[str], labels: list[str], hypothesis: str) -> list[dict[str, float]]:
        import torch

        own = [label.casefold() for label in self.labels]
        if ENTAILMENT not in own:
            raise RequestError(
                f"{self.name} chooses from labels of its own ({', '.join(self.labels[:20])}); for others name a model"
                " of entailment, or a language model"
            )
        if "{}" not in hypothesis:
            raise RequestError(f"hypothesis is {given.shown(hypothesis)}; it must hold {{}}, where the label goes")
        pairs = [(text, hypothesis.replace("{}", label)) for text in texts for label in labels]
        scores = torch.stack(self._of_pairs(pairs))[:, own.index(ENTAILMENT)].view(len(texts), len(labels))
        return [_sorted(labels, row.softmax(-1)) for row in scores]


@dataclass(frozen=True, repr=False)
class Tagger(EncoderModel):
    """An opened model that labels the words of a text."""

    kind = "labels words"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the model's order."""
        from limelight.models.config import TokenClassifier

        head = self.config.head
        assert isinstance(head, TokenClassifier)
        return head.labels

    def tag(self, texts: Sequence[str]) -> list[list[Span]]:
        """The spans of each text: whole words, as the labels' scheme (IOB, BIOES, …) joins them, or each word alone
        where they have none. A word has the label of its first token; what is labelled O is left out."""
        from limelight.tasks.evaluation.measures import spans
        from limelight.text.words import words

        texts = self._texts(texts)
        coded = [self.tokenizer.encode(text) for text in texts]
        found = []
        for text, each, of in zip(texts, coded, self._likely([each.ids for each in coded]), strict=True):
            there = words(text, each.offsets)
            best = [of[word.tokens.start].max(-1) for word in there]
            tags = [self.labels[int(label)] for _, label in best]
            found.append(
                [
                    Span(
                        text[there[first].start : there[last - 1].end],
                        there[first].start,
                        there[last - 1].end,
                        label,
                        sum(float(best[at][0]) for at in range(first, last)) / (last - first),
                    )
                    for first, last, label in spans(tags)
                ]
            )
        return found

    def tags(self, text: str, words: Sequence[tuple[int, int]]) -> list[str]:
        """The label of each of some words of a text, given by their characters `[start, end)`: that of its first token,
        and of a word without one the first of the model's labels."""
        from limelight.text.words import firsts

        coded = self.tokenizer.encode(given.text("text", text))
        (likely,) = self._likely([coded.ids])
        places = firsts(given.places("words", words), coded.offsets)
        return [self.labels[0 if place is None else int(likely[place].argmax())] for place in places]

    def _likely(self, texts: Sequence[Sequence[int]]) -> list[dict[int, Tensor]]:
        """For each token of some texts the probabilities of the labels, [C]: from the window in which it stands
        farthest from where that is cut."""
        ahead = len(self.tokenizer.prefix)
        room = self.network.context - ahead - len(self.tokenizer.suffix)
        parts = [(row, part) for row, ids in enumerate(texts) for part in windows(len(ids), room, room // 4)]
        framed = [[*self.tokenizer.prefix, *texts[row][p.start : p.stop], *self.tokenizer.suffix] for row, p in parts]
        likely: list[dict[int, Tensor]] = [{} for _ in texts]
        inside: list[dict[int, int]] = [{} for _ in texts]
        for (row, part), scores in zip(parts, self._answers(framed), strict=True):
            for at, shares in zip(part, scores.softmax(-1)[ahead:], strict=False):
                left = at - part.start if part.start else room
                right = part.stop - 1 - at if part.stop < len(texts[row]) else room
                if min(left, right) > inside[row].get(at, -1):
                    likely[row][at], inside[row][at] = shares, min(left, right)
        return likely


@dataclass(frozen=True, repr=False)
class SpanModel(EncoderModel):
    """An opened model that marks the answer to a question in a text."""

    kind = "marks answers in a text"

    def answer(self, question: str, texts: Sequence[str]) -> list[Answer]:
        """The likeliest answer in each text, or none.

        What the model scores at its first mark speaks for none, as in SQuAD 2 (Rajpurkar et al., 2018). Raises
        RequestError for an empty question or one that leaves no room for a text.
        """
        asked = self.tokenizer.encode(given.text("question", question)).ids
        ahead = len(self.tokenizer.prefix) + len(asked) + len(self.tokenizer.between)
        room = self.network.context - ahead - len(self.tokenizer.suffix)
        if not asked or room < 2:
            raise RequestError(f"the question has {len(asked)} tokens; it must have some, and leave room for a text")
        return [self._answer(asked, text, ahead, room) for text in self._texts(texts)]

    def look(self, text: str, question: str | None = None) -> SeenEncoded:
        """Looks at `text`: which of its words made the model mark the answer to `question` where it does."""
        from limelight.look.encoded import SeenEncoded

        return SeenEncoded(self.opened, self.tokenizer, text, self.name, question)

    def _answer(self, asked: list[int], text: str, ahead: int, room: int) -> Answer:
        import torch

        coded = self.tokenizer.encode(text)
        parts = list(windows(len(coded.ids), room, room // 2))
        read = [self._joined(asked, coded.ids[part.start : part.stop]) for part in parts]
        spans: dict[tuple[int, int], float] = {}
        none = float("inf")
        for part, scores in zip(
            parts, self._answers([ids for ids, _ in read], [types for _, types in read]), strict=True
        ):
            none = min(none, float(scores[0].sum()))  # a window without the answer says none, and the text may have it
            start, end = scores[ahead : ahead + len(part)].unbind(-1)  # [n]
            both = start[:, None] + end[None]
            near = torch.ones_like(both).triu().tril(LONGEST_ANSWER - 1).bool()
            values, places = both.masked_fill(~near, -torch.inf).flatten().topk(min(50, int(near.sum())))
            for value, place in zip(values.tolist(), places.tolist(), strict=True):
                at = part.start + place // len(part), part.start + place % len(part)
                spans[at] = max(value, spans.get(at, -torch.inf))
        if not spans:
            return Answer("", 0, 0, 0.0, 1.0)
        shares = torch.tensor([none, *spans.values()]).softmax(-1).tolist()
        best = max(range(1, len(shares)), key=shares.__getitem__)
        first, last = list(spans)[best - 1]
        place = (0, 0) if shares[0] > shares[best] else (coded.offsets[first][0], coded.offsets[last][1])
        return Answer(text[slice(*place)], *place, shares[best], shares[0])


def kind_of(network: Encoder) -> type[EncoderModel]:
    """The class for an encoder's kind of answer."""
    from limelight.models import config as c

    kinds: dict[type, type[EncoderModel]] = {
        c.Pooling: Embedder,
        c.MaskedLMHead: MaskedModel,
        c.SequenceClassifier: Classifier,
        c.TokenClassifier: Tagger,
        c.SpanHead: SpanModel,
    }
    return kinds.get(type(network.config.head), EncoderModel)


def _sorted(labels: Sequence[str], shares: Tensor) -> dict[str, float]:
    return dict(sorted(zip(labels, shares.tolist(), strict=True), key=lambda pair: -pair[1]))


def _ranked(scores: Sequence[float]) -> list[tuple[int, float]]:
    return sorted(enumerate(scores), key=lambda pair: -pair[1])

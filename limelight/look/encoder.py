"""A text under an encoder, which reads it both ways and answers by its head."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from limelight.look import replacements
from limelight.look.question import Class, MaskedWord, Question, Score, Similarity, Span, Tag
from limelight.look.session import StackSession, Variant
from limelight.models.api import Encoder
from limelight.nn.heads import MaskedLMHead, Pooling, SequenceClassifier, TokenClassifier
from limelight.nn.stack import Stack


class EncoderSession(StackSession):
    """A text with the marks that the model expects around it; where a word is asked for, its positions hold masks.

    Blocked positions are attended to by nobody and are no part of what is pooled. Every variant is read anew, since
    every position sees it.
    """

    network: Encoder
    kind = "an encoder"
    causal = False

    def __init__(
        self,
        network: Encoder,
        tokens: Sequence[int],
        spell: Callable[[int], str] = str,
        *,
        types: Sequence[int] | None = None,
        mask: int | None = None,
    ) -> None:
        """types: the type of each token (None: all 0). mask: the token that stands for a missing word, if there is
        one."""
        super().__init__(network, tokens, spell)
        self._types = [0] * len(self.tokens) if types is None else list(types)
        self._mask = mask
        self.questions = _questions(network)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the head's classes or tags; none where it has none."""
        return tuple(getattr(self.network.config.head, "labels", ()))

    @property
    def several(self) -> bool:
        """Whether any number of the labels may fit."""
        return getattr(self.network.config.head, "several", False)

    def asking(self, question: Question, spans: Sequence[range]) -> None:
        """None: what asks is a mask, a mark or all of the text, and no word that is judged."""
        return

    def answers(self, question: Question, variants: Sequence[Variant] = (Variant(),)) -> Tensor:
        """What the head says at the places of a question, [B, n, C], or of the text, [B, C]; -inf at a place that was
        left out."""
        network, device = self.network, self.network.device
        kept = [variant.places(len(self.tokens)) for variant in variants]
        tokens = pad_sequence([torch.tensor(variant.tokens(self.tokens)) for variant in variants], batch_first=True)
        types = pad_sequence([torch.tensor([self._types[at] for at in places]) for places in kept], batch_first=True)
        visible = torch.arange(tokens.shape[1]) < torch.tensor([len(places) for places in kept])[:, None]  # [B, T]
        lengths = visible.sum(-1)
        for row, variant in zip(visible, variants, strict=True):
            for part in variant.blocked:
                at = variant.moved(part.start)
                row[at : at + len(part)] = False
        with torch.inference_mode():
            hidden = network.read(tokens.to(device), lengths, visible.to(device), types.to(device))
            if not question.at:
                return self._of_texts(hidden, visible)
            return self._at(hidden, question, kept)

    def _values(self, question: Question, variants: Sequence[Variant]) -> Tensor:
        return question.value(self.answers(question, variants))

    def _of_texts(self, hidden: Tensor, visible: Tensor) -> Tensor:
        """The head's answers [B, C] to hidden states [B, T, W], those that are visible [B, T]."""
        rows = pad_sequence([row[seen.to(row.device)] for row, seen in zip(hidden, visible, strict=True)], True)
        answers: Tensor = self.network.head(rows, visible.sum(-1))
        return answers

    def _at(self, hidden: Tensor, question: Question, kept: Sequence[list[int]]) -> Tensor:
        """The head's answers [B, n, C] at a question's places; kept: what each row has of the text, place by place."""
        found = [{place: i for i, place in enumerate(places)} for places in kept]
        places = torch.tensor([[row.get(at, 0) for at in question.at] for row in found])
        gone = torch.tensor([[at not in row for at in question.at] for row in found])
        answers: Tensor = self.network.head(hidden[torch.arange(len(kept))[:, None], places])
        return answers.masked_fill(gone.to(answers.device)[..., None], float("-inf"))

    @property
    def stack(self) -> Stack:
        return self.network.encoder

    def read(self, network: Any, question: Question | None = None) -> Tensor:
        device = network.device
        tokens, types = (torch.tensor([ids], device=device) for ids in (self.tokens, self._types))
        hidden: Tensor = network.read(tokens, types=types)
        return hidden

    def askers(self, question: Question) -> list[int]:
        """The question's places, or those that are pooled."""
        if question.at:
            return [question.start, question.end] if isinstance(question, Span) else list(question.at)
        head = self.network.head
        assert isinstance(head, SequenceClassifier | Pooling)
        last = len(self.tokens) - 1
        return {"first": [0], "last": [last]}.get(head.pooled, list(range(last + 1)))

    def embedded(self, question: Question) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            vectors: Tensor = self.network.embed(torch.tensor(self.tokens, device=self.network.device))
        return vectors

    def value_from(self, question: Question, embedded: Tensor) -> Tensor:
        lengths = torch.full((len(embedded),), embedded.shape[1])
        types = torch.tensor([self._types], device=embedded.device).expand(len(embedded), -1)
        hidden = self.network.encoder.encode(embedded, lengths, None, types).hidden
        if question.at:
            return question.value(self.network.head(hidden[:, list(question.at)]))
        return question.value(self.network.head(hidden, lengths))

    def likely(self, span: range, n: int) -> list[tuple[int, ...]]:
        """Of the words that the model finds likely behind a mask; by a head that says no words those that mean much the
        same. See `limelight.look.replacements`."""
        own = self.tokens[span.start : span.stop]
        if self._mask is None or not isinstance(self.network.head, MaskedLMHead):
            return replacements.near(self.network.embed, self.network.vocab, self.network.device, self.spell, own, n)
        masked = Variant(replaced=((span, (self._mask,)),))
        scores = self.answers(MaskedWord((span.start,), (0,)), [masked])[0, 0]
        return replacements.fitting(self.network, self.spell, own, scores, n)


def _questions(network: Encoder) -> tuple[type[Question], ...]:
    """What an encoder's head can be asked."""
    match network.head:
        case MaskedLMHead():
            return (MaskedWord,)
        case SequenceClassifier():
            return (Class, Score)
        case TokenClassifier():
            return (Tag, Span)
        case _:
            return (Similarity,)

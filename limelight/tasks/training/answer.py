"""To answer: where the answer to a question stands in a text, or that it does not."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from limelight.errors import RequestError
from limelight.models.config import SpanHead
from limelight.tasks.training.labelling import Example, Labelling, decoded
from limelight.text.windows import windows
from limelight.train.batches import Batch, Corpus, padded
from limelight.train.loss import Learning, marking
from limelight.train.questions import questions
from limelight.train.settings import Settings
from limelight.train.tokenfile import Ints, TokenFile

LONGEST = 384
"""Tokens of a question with its part of the text, as in Devlin et al. (2019)."""


class Answer(Labelling):
    """A question and its text, whose tokens are asked where the answer begins and ends (Rajpurkar et al., 2016). A text
    that is too long is read in windows that overlap; of those without the answer the first mark is right."""

    does = "answer questions"
    head = SpanHead
    metrics = ("exact",)

    def found(self, settings: Settings) -> Settings:
        longest = self.given.get("longest") or min(LONGEST, self.base.network.context)
        if not any(each.answers for each in questions(settings.train)):
            raise RequestError(f"{settings.train[0]}: no question has an answer, so there is nothing to learn")
        return replace(settings, longest=longest)

    def examples(self, settings: Settings, files: Sequence[str]) -> Iterator[Example | None]:
        tokenizer = self.base.tokenizer
        for each in questions(files):
            asked = tokenizer.encode(each.question).ids
            coded = tokenizer.encode(each.text)
            ahead = [*tokenizer.prefix, *asked, *tokenizer.between]
            room = settings.longest - len(ahead) - len(tokenizer.suffix)
            if not asked or not coded.ids or room < settings.longest // 4:
                yield None
                continue
            place = None
            if each.answers:
                start, answer = each.answers[0]
                inside = [i for i, (a, b) in enumerate(coded.offsets) if a < start + len(answer) and b > start]
                place = (inside[0], inside[-1]) if inside else None
            for part in windows(len(coded.ids), room, room // 3):
                said = [0, 0]
                if place is not None and part.start <= place[0] and place[1] < part.stop:
                    said = [at - part.start + len(ahead) for at in place]
                yield [*ahead, *coded.ids[part.start : part.stop], *tokenizer.suffix], [*said, len(ahead)]

    def corpus(self, settings: Settings, file: TokenFile) -> Corpus:
        return Marked(file, self.base.tokenizer.pad or 0, self.base.tokenizer.second)

    def objective(self, settings: Settings) -> Learning:
        return marking

    def said(self, settings: Settings) -> list[str]:
        return []

    def score(self, settings: Settings, answered: Iterable[tuple[Tensor, Batch]]) -> float:
        """The share of windows whose answer begins and ends at the right tokens, or is rightly none."""
        right: list[bool] = []
        for scores, batch in answered:
            right += (_likeliest(scores) == batch.targets).all(-1).tolist()
        return 100 * sum(right) / len(right)

    def shown(self, settings: Settings, answers: Tensor, batch: Batch) -> list[str]:
        told = []
        for text, ours, theirs in zip(batch.texts(), _likeliest(answers), batch.targets, strict=True):
            one, other = (
                decoded(self.base.tokenizer, text[start : end + 1]) if start else "none"
                for start, end in (ours.tolist(), theirs.tolist())
            )
            told.append(f"{decoded(self.base.tokenizer, text)[:200]} → {one} (right: {other})")
        return told


def _likeliest(scores: Tensor) -> Tensor:
    """The likeliest places [B, 2], each by itself, by scores [B, T, 2]."""
    return scores.argmax(1)


@final
class Marked:
    """Pairs of texts for an encoder, in the frame of its marks, and the two places that are right. file: tokens, and
    the two places with the one where the second text begins. second: the type of its tokens."""

    def __init__(self, file: TokenFile, pad: int, second: int) -> None:
        self.file = file
        self.pad = pad
        self.second = second

    def __len__(self) -> int:
        return len(self.file) // 2

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        return self.file.lengths(2 * indices), np.ones_like(indices)

    def batch(self, indices: Ints, epoch: int) -> Batch:
        texts = [self.file[2 * int(i)] for i in indices]
        said = torch.tensor([self.file[2 * int(i) + 1].tolist() for i in indices])  # [B, 3]
        tokens = padded([tuple(text.tolist()) for text in texts], self.pad)
        lengths = torch.tensor([len(text) for text in texts])
        places = torch.arange(tokens.shape[1])
        types = ((places >= said[:, 2:]) & (places < lengths[:, None])) * self.second
        return Batch(tokens, said[:, :2].contiguous(), None, lengths, types=types)

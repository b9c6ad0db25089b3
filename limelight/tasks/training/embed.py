"""To embed: vectors that are near each other where texts belong together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from limelight.errors import FileError, RequestError
from limelight.models.api import Encoder
from limelight.models.build import build
from limelight.models.config import Pooling
from limelight.models.presets import with_dropout
from limelight.tasks.evaluation.measures import nearest, spearman
from limelight.tasks.training.labelling import Example, Labelling, decoded
from limelight.train.batches import Batch, Corpus, padded
from limelight.train.contrast import pairing
from limelight.train.examples import headless
from limelight.train.loop import Hooks
from limelight.train.loss import Learning
from limelight.train.prepare import save_as
from limelight.train.settings import Settings
from limelight.train.similar import beside, columns
from limelight.train.tokenfile import Ints, TokenFile

LEVELS = 10_000
"""What scores are rounded to, from the lowest to the highest; only their order is learned."""


class Embed(Labelling):
    """Two texts that belong together, and perhaps one that does not, against all others of a batch; or two texts and
    how near they are, of which the order is learned."""

    does = "embed texts"
    head = Pooling
    metrics = ("ranked", "spearman")
    highest = LEVELS

    def __init__(self, given: Mapping[str, Any], before: Settings | None) -> None:
        super().__init__(given, before)
        if not isinstance(self.base.network.config.head, Pooling):
            raise RequestError(f"{self.name} makes no vectors of texts; name a model that does, such as minilm")

    def found(self, settings: Settings) -> Settings:
        return replace(settings, columns=columns(settings.train, settings.columns))

    def examples(self, settings: Settings, files: Sequence[str]) -> Iterator[Example | None]:
        scores = [each.score for each in beside(files, settings.columns) if each and each.score is not None]
        low, high = min(scores, default=0.0), max(scores, default=0.0)
        if scores and low == high:
            raise FileError(f"{files[0]}: all scores are {low:g}, so there is no order to learn")
        for each in beside(files, settings.columns):
            if each is None:
                yield None
                continue
            texts = [self.frame(settings, ids) for ids in self.base.tokenizer.encode_many(list(each.texts))]
            said = [len(texts), *map(len, texts)]
            if each.score is not None:
                said.append(round((each.score - low) / (high - low) * LEVELS))
            yield [id for text in texts for id in text], said

    def corpus(self, settings: Settings, file: TokenFile) -> Corpus:
        return Together(file, self.base.tokenizer.pad or 0)

    def network(self, settings: Settings) -> Encoder:
        made = build(with_dropout(self.base.network.config, settings.dropout))
        assert isinstance(made, Encoder)
        made.load_state_dict(self.base.network.state_dict())
        return made

    def objective(self, settings: Settings) -> Learning:
        return pairing

    def metric(self, settings: Settings, corpus: Corpus) -> str:
        return "ranked" if corpus.batch(np.zeros(1, np.int64), 0).reference is None else "spearman"

    def said(self, settings: Settings) -> list[str]:
        return [f"columns: {', '.join(settings.columns)}{headless(settings.columns)}"]

    def hooks(self, settings: Settings, training: Corpus, validation: Corpus) -> Hooks:
        save = partial(save_as, said=self.base.sentences)
        return replace(super().hooks(settings, training, validation), save=save(self.base.tokenizer))

    def score(self, settings: Settings, answered: Iterable[tuple[Tensor, Batch]]) -> float:
        """The share of first texts whose second is the nearest of all; of scored pairs the rank correlation × 100."""
        firsts, seconds, scores = [], [], []
        for found, batch in answered:
            one, other, *_ = F.normalize(found, dim=-1).view(-1, len(batch.targets), found.shape[-1])
            firsts.append(one)
            seconds.append(other)
            if batch.reference is not None:
                scores.append(batch.reference)
        first, second = torch.cat(firsts), torch.cat(seconds)
        if scores:
            return spearman((first * second).sum(-1).numpy(), torch.cat(scores).numpy(), sampled=False).value
        return nearest((first @ second.T).numpy(), sampled=False).value

    def shown(self, settings: Settings, answers: Tensor, batch: Batch) -> list[str]:
        count = len(batch.targets)
        texts = [decoded(self.base.tokenizer, text) for text in batch.texts()]
        near = F.cosine_similarity(answers[:count], answers[count : 2 * count])
        return [f"{texts[i]} ~ {texts[count + i]}: {cosine:.2f}" for i, cosine in enumerate(near.tolist())]


@final
class Together:
    """Texts that belong together: in a batch all first texts, then all second ones, then, if there are any, the third.

    file: the tokens of an example's texts, and how many texts, how long each, and a score where there are scores.
    """

    def __init__(self, file: TokenFile, pad: int) -> None:
        self.file = file
        self.pad = pad

    def __len__(self) -> int:
        return len(self.file) // 2

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        said = [self.file[2 * int(i) + 1].tolist() for i in indices]
        return np.array([each[0] * max(each[1 : 1 + each[0]]) for each in said], np.int64), np.ones_like(indices)

    def batch(self, indices: Ints, epoch: int) -> Batch:
        said = [self.file[2 * int(i) + 1].tolist() for i in indices]
        rows: list[list[tuple[int, ...]]] = []
        for i, (count, *rest) in zip(indices, said, strict=True):
            ends = np.cumsum(rest[:count])
            tokens = self.file[2 * int(i)].tolist()
            rows.append([tuple(tokens[end - size : end]) for end, size in zip(ends, rest, strict=False)])
        texts = [text for side in zip(*rows, strict=True) for text in side]
        scored = len(said[0]) == said[0][0] + 2
        reference = torch.tensor([float(each[-1]) for each in said]) if scored else None
        lengths = torch.tensor([len(text) for text in texts])
        targets = torch.zeros(len(said), dtype=torch.int64)
        return Batch(padded(texts, self.pad), targets, None, lengths, reference)

"""To classify: one of some labels for a whole text, or any number of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from limelight.errors import FileError, RequestError
from limelight.models.api import Encoder, Network
from limelight.models.config import Pooling, SequenceClassifier
from limelight.nn.heads import Pooled
from limelight.tasks.evaluation.measures import f1
from limelight.tasks.training.labelling import Example, Labelling, decoded, enough, with_head
from limelight.train.batches import Answered, Batch, Batches, Corpus
from limelight.train.contrast import contrasting, fit, vectors
from limelight.train.examples import columns, headless, labelled
from limelight.train.loop import Hooks
from limelight.train.loss import Learning, answering
from limelight.train.settings import Settings
from limelight.train.tokenfile import TokenFile

CHUNK = 1024  # texts that are made tokens at once
FEW = 16  # texts a label up to which pairs are learned from
TOGETHER = 64  # texts of a batch of which all pairs are looked at
ROUNDS = 1.25, 60  # how often each is read in pairs: so many times for each text that there is, and at most
PAIRS_RATE = 1.5e-2
"""Learning rate times the width, where pairs are learned from. At a higher one the texts that are learned from soon lie
closer together than others of their label ever will, and say less of where the border between two labels is."""


class Classify(Labelling):
    """A text and its label, from two columns of a table.

    Where labels have few texts, pairs of them are learned from, and then a head from the vectors (SetFit, Tunstall et
    al., 2022).
    """

    does = "classify texts"
    head = SequenceClassifier
    metrics = ("accuracy", "f1")

    def found(self, settings: Settings) -> Settings:
        named = columns(settings.train, settings.columns)
        cells = [labels for _, labels in labelled(settings.train, named) if labels is not None]
        several = settings.several or any(len(labels) != 1 for labels in cells)
        labels = settings.labels or in_order({label for labels in cells for label in labels})
        few = len(cells) <= FEW * len(labels) and not several and self._pooled is not None
        learns = settings.learns if settings.learns != "auto" else "pairs" if few else "labels"
        if learns == "pairs" and several:
            raise RequestError("pairs are learned from where each text has one label; here some have several")
        if learns == "pairs" and self._pooled is None:
            raise RequestError(
                f"{self.name} makes no vectors of texts, from whose pairs it could learn; name a model that does"
            )
        settings = replace(settings, columns=named, several=several, learns=learns)
        return replace(settings, labels=labels if several and labels else enough(settings, labels))

    def examples(self, settings: Settings, files: Sequence[str]) -> Iterator[Example | None]:
        numbers = {label: number for number, label in enumerate(settings.labels)}
        rest = labelled(files, settings.columns)
        while chunk := list(islice(rest, CHUNK)):
            tokens = self.base.tokenizer.encode_many([text for text, _ in chunk])
            for ids, (_, labels) in zip(tokens, chunk, strict=True):
                if unknown := [label for label in labels or () if label not in numbers]:
                    known = ", ".join(settings.labels[:20])
                    raise FileError(f"{files[0]}: the label {unknown[0]!r} is none of those that are learned ({known})")
                if labels is not None and len(labels) != 1 and not settings.several:
                    raise FileError(
                        f"{files[0]}: a text has {len(labels)} labels; those that are learned from have one"
                    )
                yield None if not ids or labels is None else (self.frame(settings, ids), [numbers[x] for x in labels])

    def corpus(self, settings: Settings, file: TokenFile) -> Corpus:
        return Answered(file, self.base.tokenizer.pad or 0, several=len(settings.labels) if settings.several else 0)

    def network(self, settings: Settings) -> Encoder:
        pooled = self._pooled if settings.learns == "pairs" else None
        labels, dropout, seed = settings.labels, settings.dropout, settings.seed
        return with_head(self.base, self.head, labels, dropout, seed, pooled=pooled, several=settings.several)

    def objective(self, settings: Settings) -> Learning:
        return contrasting if settings.learns == "pairs" else answering

    def metric(self, settings: Settings, corpus: Corpus) -> str:
        return "f1" if settings.several else "accuracy"

    def few(self, settings: Settings, count: int) -> bool:
        return settings.learns == "pairs"

    def said(self, settings: Settings) -> list[str]:
        text, label = settings.columns
        said = [f"columns: {text} holds the texts, {label} the labels{headless(settings.columns)}"]
        said += super().said(settings)
        if settings.several:
            said.append("several labels may fit a text")
        if settings.learns == "pairs":
            said.append("few texts a label: it learns from pairs of them, which are of one label or of two")
        return said

    def chosen(self, settings: Settings, file: TokenFile) -> Settings:
        if settings.learns != "pairs":
            return super().chosen(settings, file)
        count, width = len(file) // 2, self.base.network.config.width
        longest = int(file.lengths(np.arange(0, len(file), 2)).max())
        batch = settings.batch_tokens or longest * min(count, TOGETHER)
        rounds = settings.epochs or min(ROUNDS[0] * count, ROUNDS[1])
        steps = settings.steps or max(1, round(rounds * -(-count // TOGETHER)))
        rate, every = settings.lr or PAIRS_RATE / width, settings.every or steps
        settings = replace(settings, batch_tokens=batch, steps=steps, lr=rate, every=every)
        settings = super().chosen(settings, file)
        if not settings.valid and self.given.get("watch", "loss") != "loss":
            raise RequestError("few texts are learned from and none kept back to watch; name others with --valid")
        return settings if settings.valid else replace(settings, watch="loss")

    def hooks(self, settings: Settings, training: Corpus, validation: Corpus) -> Hooks:
        plain = super().hooks(settings, training, validation)
        if settings.learns != "pairs":
            return plain

        def measures(network: Network) -> Mapping[str, float]:
            _fit(network, training, settings)
            assert plain.measures is not None
            return plain.measures(network)

        def save(network: Network, folder: Path) -> None:
            _fit(network, training, settings)
            plain.save(network, folder)

        return replace(plain, measures=measures, save=save)

    def score(self, settings: Settings, answered: Iterable[tuple[Tensor, Batch]]) -> float:
        """The share of texts whose label is right; of several labels F1."""
        right = count = 0
        hits: list[tuple[int, int, int]] = []
        for scores, batch in answered:
            if settings.several:
                ours, theirs = scores > 0, batch.targets > 0
                hits.append((int((ours & theirs).sum()), int(ours.sum()), int(theirs.sum())))
            else:
                right, count = right + int((scores.argmax(-1) == batch.targets).sum()), count + len(scores)
        return f1(np.array(hits), sampled=False).value if settings.several else 100 * right / count

    def shown(self, settings: Settings, answers: Tensor, batch: Batch) -> list[str]:
        told = []
        for text, scores, right in zip(batch.texts(), answers, batch.targets, strict=True):
            fits = (
                [(scores > 0).nonzero()[:, 0], right.nonzero()[:, 0]] if settings.several else [scores.argmax(), right]
            )
            ours, theirs = (
                " + ".join(settings.labels[i] for i in each.reshape(-1).tolist()) or "none" for each in fits
            )
            told.append(f"{decoded(self.base.tokenizer, text)} → {ours} (right: {theirs})")
        return told

    @property
    def _pooled(self) -> Pooled | None:
        """How the base makes a vector of a text; None if it does not."""
        head = self.base.network.config.head
        return head.pooled if isinstance(head, Pooling) and head.hidden is None else None


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Numbers by their value, all else by the alphabet."""
    found = list(labels)
    numbers = all(label.lstrip("+-").isdecimal() for label in found)
    return tuple(sorted(found, key=(lambda label: (int(label), label)) if numbers else None))


@torch.no_grad()
def _fit(network: Network, training: Corpus, settings: Settings) -> None:
    """Gives the head the weights of a logistic regression from the vectors of the texts that are learned from."""
    assert isinstance(network, Encoder)
    rows, sizes, labels = [], [], []
    for indices in Batches(training, settings.batch_tokens, 0).epoch():
        batch = training.batch(indices, 0).to(network.device)
        found, size = vectors(network, batch)
        rows.append(found)
        sizes.append(size)
        labels.append(batch.targets)
    weights, biases = fit(torch.cat(rows), torch.cat(labels), len(settings.labels))
    # The head reads vectors of any length, and those of a model are all about as long.
    proj = network.head.proj
    assert isinstance(proj, nn.Linear)
    proj.weight.copy_(weights / torch.cat(sizes).mean())
    proj.bias.copy_(biases)

"""To classify: one of some labels for a whole text."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from torch import Tensor

from limelight.errors import FileError
from limelight.models.config import SequenceClassifier
from limelight.tasks.training.labelling import Example, Labelling, decoded
from limelight.train.examples import columns, labelled
from limelight.train.settings import Settings

CHUNK = 1024  # texts that are made tokens at once


class Classify(Labelling):
    """A text and its label, from two columns of a table."""

    head = SequenceClassifier
    metric = "accuracy"
    placed = False

    def found(self, settings: Settings) -> Settings:
        named = columns(settings.train, settings.columns)
        labels = settings.labels or in_order({label for _, label in labelled(settings.train, named) if label})
        return replace(settings, columns=named, labels=labels)

    def examples(self, settings: Settings, files: Sequence[str]) -> Iterator[Example | None]:
        numbers = {label: number for number, label in enumerate(settings.labels)}
        rest = labelled(files, settings.columns)
        while chunk := list(islice(rest, CHUNK)):
            tokens = self.base.tokenizer.encode_many([text for text, _ in chunk])
            for ids, (_, label) in zip(tokens, chunk, strict=True):
                if label and label not in numbers:
                    known = ", ".join(settings.labels[:20])
                    raise FileError(f"{files[0]}: the label {label!r} is none of those that are learned ({known})")
                yield (self.frame(settings, ids), [numbers[label]]) if ids and label else None

    def score(self, settings: Settings, answered: Iterable[tuple[Tensor, Tensor]]) -> float:
        """The share of texts whose label is right."""
        right = count = 0
        for ours, theirs in answered:
            right, count = right + int((ours == theirs).sum()), count + len(theirs)
        return 100 * right / count

    def shown(self, settings: Settings, text: list[int], found: Tensor, right: Tensor) -> str:
        ours, theirs = settings.labels[int(found)], settings.labels[int(right)]
        return f"{decoded(self.base.tokenizer, text)} → {ours} (right: {theirs})"


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Numbers by their value, all else by the alphabet."""
    found = list(labels)
    numbers = all(label.lstrip("+-").isdecimal() for label in found)
    return tuple(sorted(found, key=(lambda label: (int(label), label)) if numbers else None))

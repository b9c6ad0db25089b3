"""To tag: a label for each word of a text; spans of words where the labels follow one of the BIO schemes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from limelight.errors import FileError
from limelight.models.config import TokenClassifier
from limelight.tasks.measures import span_f1
from limelight.tasks.training.labelling import Example, Labelling, decoded
from limelight.text.words import firsts
from limelight.train.batches import IGNORE
from limelight.train.examples import tagged
from limelight.train.settings import Settings


class Tag(Labelling):
    """A text whose words have tags. The first token of a word has its tag, from the others none is asked for."""

    head = TokenClassifier
    metric = "f1"
    placed = True

    def found(self, settings: Settings) -> Settings:
        found = {tag for each in tagged(settings.train) for tag in each.tags}
        labels = settings.labels or tuple(sorted(found, key=lambda tag: (tag != "O", tag.partition("-")[::-1])))
        return replace(settings, labels=labels)

    def examples(self, settings: Settings, files: Sequence[str]) -> Iterator[Example | None]:
        numbers = {label: number for number, label in enumerate(settings.labels)}
        ahead = len(self.base.tokenizer.prefix)
        for each in tagged(files):
            if unknown := [tag for tag in each.tags if tag not in numbers]:
                known = ", ".join(settings.labels[:20])
                raise FileError(f"{files[0]}: the tag {unknown[0]!r} is none of those that are learned ({known})")
            coded = self.base.tokenizer.encode(each.text)
            ids = self.frame(settings, coded.ids)
            last = len(ids) - len(self.base.tokenizer.suffix) - ahead
            said = [
                number
                for token, tag in zip(firsts(each.words, coded.offsets), each.tags, strict=True)
                if token is not None and token < last
                for number in (token + ahead, numbers[tag])
            ]
            yield (ids, said) if said else None

    def score(self, settings: Settings, answered: Iterable[tuple[Tensor, Tensor]]) -> float:
        """F1 of spans, by the rules of conlleval."""
        found: list[list[str]] = []
        right: list[list[str]] = []
        for ours, theirs in answered:
            for row, wanted in zip(ours, theirs, strict=True):
                asked = wanted != IGNORE
                found.append([settings.labels[i] for i in row[asked].tolist()])
                right.append([settings.labels[i] for i in wanted[asked].tolist()])
        return span_f1(found, right, sampled=False).value

    def shown(self, settings: Settings, text: list[int], found: Tensor, right: Tensor) -> str:
        asked = (right != IGNORE).nonzero()[:, 0].tolist()
        tags = " ".join(settings.labels[int(found[at])] for at in asked)
        return f"{decoded(self.base.tokenizer, text)} → {tags}"

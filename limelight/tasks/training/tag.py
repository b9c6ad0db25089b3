"""To tag: a label for each word of a text."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from limelight.errors import FileError
from limelight.models.config import TokenClassifier
from limelight.tasks.evaluation.measures import span_f1
from limelight.tasks.training.labelling import Example, Labelling, decoded, enough
from limelight.text.words import firsts
from limelight.train.batches import IGNORE, Answered, Batch, Corpus
from limelight.train.examples import tagged
from limelight.train.settings import Settings
from limelight.train.tokenfile import TokenFile


class Tag(Labelling):
    """A text whose words have tags. The first token of a word has its tag, from the others none is asked for."""

    does = "tag texts"
    head = TokenClassifier
    metrics = ("f1",)

    def found(self, settings: Settings) -> Settings:
        found = {tag for each in tagged(settings.train) for tag in each.tags}
        labels = settings.labels or tuple(sorted(found, key=lambda tag: (tag != "O", tag.partition("-")[::-1])))
        return replace(settings, labels=enough(settings, labels))

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

    def corpus(self, settings: Settings, file: TokenFile) -> Corpus:
        return Answered(file, self.base.tokenizer.pad or 0, placed=True)

    def score(self, settings: Settings, answered: Iterable[tuple[Tensor, Batch]]) -> float:
        """F1 of spans, by the rules of conlleval."""
        found: list[list[str]] = []
        right: list[list[str]] = []
        for scores, batch in answered:
            for row, wanted in zip(scores.argmax(-1), batch.targets, strict=True):
                asked = wanted != IGNORE
                found.append([settings.labels[i] for i in row[asked].tolist()])
                right.append([settings.labels[i] for i in wanted[asked].tolist()])
        return span_f1(found, right, sampled=False).value

    def shown(self, settings: Settings, answers: Tensor, batch: Batch) -> list[str]:
        told = []
        for text, row, wanted in zip(batch.texts(), answers.argmax(-1), batch.targets, strict=True):
            tags = " ".join(settings.labels[i] for i in row[wanted != IGNORE].tolist())
            told.append(f"{decoded(self.base.tokenizer, text)} → {tags}")
        return told

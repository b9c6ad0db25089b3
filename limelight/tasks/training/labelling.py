"""What tasks share whose model is an encoder with a head of its own, put on one that is there."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from limelight.checkpoints.open import Opened, open_checkpoint
from limelight.errors import RequestError
from limelight.models.api import Encoder, Network
from limelight.models.build import build
from limelight.models.config import Pooling, SequenceClassifier
from limelight.models.hf import SEVERAL
from limelight.models.init import initialise
from limelight.models.presets import PRESETS, with_dropout
from limelight.models.registry import config_from_hf, config_to_hf, family
from limelight.nn.heads import Pooled
from limelight.tasks.training.task import Ready, Task, prepared
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import Batch, Batches, Corpus, Part
from limelight.train.loop import Hooks
from limelight.train.lora import tune
from limelight.train.loss import Learning, answering
from limelight.train.parallel import World
from limelight.train.prepare import Material, begin, held_out, save_as, there
from limelight.train.run import Run, recorded
from limelight.train.settings import Settings, chosen
from limelight.train.tokenfile import TokenFile, fingerprint, prepare_examples

BASE = "minilm"
"""The encoder that a head is put on where none is named."""

RATE = 4e-2
"""Learning rate times the width: 1e-4 for MiniLM, 5e-5 for BERT."""

SHOWN = 5  # texts in samples.jsonl
LONGEST = 256  # tokens of a text that are read, unless somebody says otherwise
EPOCHS = ((500, 20.0), (3000, 10.0), (20_000, 5.0), (float("inf"), 3.0))
"""How often data sets of fewer examples are read."""

Example = tuple[list[int], list[int]]


class Labelling(Task):
    """does: what the model learns, in words. head: the kind of head, as `limelight.models.config` has it. metrics: what
    a model may be scored by, the first unless the data says otherwise. highest: of the numbers beside its tokens."""

    does: ClassVar[str]
    head: ClassVar[type]
    metrics: ClassVar[tuple[str, ...]]
    highest: ClassVar[int] = 0

    def __init__(self, given: Mapping[str, Any], before: Settings | None) -> None:
        name = before.model if before else given.get("model", BASE)
        if name in PRESETS:
            raise RequestError(f"{name} begins at nothing; to {self.does} train an encoder further, such as {BASE}")
        self.base = open_checkpoint(name, dtype="float32")
        if not isinstance(self.base.network, Encoder):
            raise RequestError(f"{name} writes text; to {self.does} train an encoder, such as {BASE}")
        self._watched(given.get("watch", "loss"), *self.metrics)
        if given.get("longest", 0) > self.base.network.context:
            raise RequestError(f"{name} reads at most {self.base.network.context} tokens; set longest to no more")
        self.given, self.name = given, name

    @abstractmethod
    def found(self, settings: Settings) -> Settings:
        """The settings with columns and labels as the files have them. Raises RequestError where there is no choice."""

    @abstractmethod
    def examples(self, settings: Settings, files: Sequence[str]) -> Iterator[Example | None]:
        """What the files hold as tokens, with the model's marks, and what is to be said of them, see `corpus`."""

    @abstractmethod
    def corpus(self, settings: Settings, file: TokenFile) -> Corpus:
        """The batches of what `examples` gave."""

    @abstractmethod
    def score(self, settings: Settings, answered: Iterable[tuple[Tensor, Batch]]) -> float:
        """How good a network is, from 0 to 100, by what its head answers to each batch."""

    @abstractmethod
    def shown(self, settings: Settings, answers: Tensor, batch: Batch) -> list[str]:
        """The texts of a batch with what the head answers to them, for people."""

    def network(self, settings: Settings) -> Encoder:
        """The base's layers below the head that is to learn."""
        return with_head(self.base, self.head, settings.labels, settings.dropout, settings.seed)

    def objective(self, settings: Settings) -> Learning:
        """What is learned from."""
        return answering

    def answers(self, network: Network, batch: Batch) -> Tensor:
        """What the head answers to a batch, on the CPU."""
        types = None if batch.types is None else batch.types.to(network.device)
        answers: Tensor = network(batch.tokens.to(network.device), batch.lengths, types=types).cpu()
        return answers

    def metric(self, settings: Settings, corpus: Corpus) -> str:
        """What the model is scored by."""
        return self.metrics[0]

    def said(self, settings: Settings) -> list[str]:
        """What was found in the data, for people."""
        return [f"labels: {', '.join(settings.labels[:20])}{', …' if settings.labels[20:] else ''}"]

    def few(self, settings: Settings, count: int) -> bool:
        """Whether so many examples are too few to keep any of them from training."""
        return False

    def ready(self, folder: Path, world: World) -> Ready:
        """As `Task` has it; the base's weights below a head of the task's own."""
        settings = prepared(self._prepare, folder, self.given, world)
        train = TokenFile(folder / "data" / "train")
        training = self.corpus(settings, train)
        said = self.said(settings)
        if train.dropped:
            said.append(f"left out: {train.dropped:,} rows in which something is missing")
        judged = True
        if settings.valid:
            validation = self.corpus(settings, TokenFile(folder / "data" / "valid"))
        elif self.few(settings, len(training)):
            validation, judged = training, False
            said.append("too few to keep any back: how good it is, eval says on others")
        else:
            held = held_out(settings, len(training))
            validation, training = Part(training, 0, held), Part(training, held, len(training))
        network = self.network(settings)
        tune(network, settings.lora)
        network.head.requires_grad_(True)
        hooks = self.hooks(settings, training, validation)
        hooks = hooks if judged else replace(hooks, measures=None)
        return Ready(Run(folder, settings), network, training, validation, hooks, self.objective(settings), tuple(said))

    def frame(self, settings: Settings, ids: list[int]) -> list[int]:
        """A text's tokens between the model's marks, cut to the longest that is read."""
        front, back = self.base.tokenizer.prefix, self.base.tokenizer.suffix
        return [*front, *ids[: settings.longest - len(front) - len(back)], *back]

    def hooks(self, settings: Settings, training: Corpus, validation: Corpus) -> Hooks:
        """How good a network is, and what it answers."""
        metric = self.metric(settings, validation)

        def measures(network: Network) -> dict[str, float]:
            return {metric: self.score(settings, self._answered(network, validation, settings.batch_tokens))}

        def samples(network: Network) -> list[str]:
            batch = validation.batch(torch.arange(min(SHOWN, len(validation))).numpy(), 0)
            with torch.inference_mode():
                return self.shown(settings, self.answers(network, batch), batch)

        return Hooks(save_as(self.base.tokenizer), measures, samples, metric=metric)

    def _answered(self, network: Network, corpus: Corpus, budget: int) -> Iterator[tuple[Tensor, Batch]]:
        """What the head answers to each batch of a corpus."""
        with torch.inference_mode():
            for indices in Batches(corpus, budget, 0).epoch():
                batch = corpus.batch(indices, 0)
                yield self.answers(network, batch), batch

    def _prepare(self, folder: Path) -> None:
        settings = recorded(folder, self.given)
        if settings is not None:
            self._material(settings).unchanged(settings, self.given, folder)
            return
        if not self.given.get("train"):
            raise RequestError("a training needs files to learn from")
        settings = Settings(**self.given)
        there(settings)
        longest = settings.longest or min(LONGEST, self.base.network.context)
        settings = self.found(replace(settings, model=self.name, longest=longest))
        material = self._material(settings)
        file = material.file(settings.train, folder / "data" / "train")
        if settings.valid:
            material.file(settings.valid, folder / "data" / "valid")
        begin(folder, self.chosen(settings, file))

    def _watched(self, watch: str, *metrics: str) -> None:
        """Raises RequestError for what this cannot be watched by."""
        if watch not in {"loss", *metrics}:
            named = " or ".join((*metrics, "loss"))
            raise RequestError(f'watch is "{watch}"; what learns to {self.does} is watched by {named}')

    def _material(self, settings: Settings) -> Material:
        tokenizer = self.base.tokenizer
        limit = max(tokenizer.vocab, len(settings.labels), settings.longest + 1, self.highest + 1)

        def origin(files: Sequence[str]) -> str:
            choices = (settings.task, settings.columns, settings.labels, settings.longest)
            return fingerprint(files, (tokenizer,), *choices)

        def write(files: Sequence[str], place: Path, origin: str) -> TokenFile:
            return prepare_examples(self.examples(settings, files), limit, place, origin)

        return Material(origin, write)

    def chosen(self, settings: Settings, file: TokenFile) -> Settings:
        """The settings with every open one filled in, as suits an encoder that knows much already."""
        corpus = self.corpus(settings, file)
        metric = self.metric(settings, corpus)
        self._watched(self.given.get("watch", "loss"), metric)
        count, mean = len(corpus), len(file.tokens) / len(corpus)
        rows = 16 if count < 1000 else 32
        batch = settings.batch_tokens or max(256, round(rows * mean / 64) * 64)
        epochs = settings.epochs or next(epochs for most, epochs in EPOCHS if count < most)
        epoch = max(1, round(count * mean / batch))
        steps = settings.steps or max(1, round(epochs * epoch))
        assert isinstance(self.base.network, Encoder)
        open_ones: dict[str, Any] = {
            "optimizer": "adamw",
            "lr": settings.lr or RATE / self.base.network.config.width,
            "dropout": 0.1 if settings.dropout < 0 else settings.dropout,
            "smoothing": max(settings.smoothing, 0.0),
            "warmup": settings.warmup or max(1, steps // 10),
            "every": settings.every or max(10, min(epoch, steps // 3)),
        }
        if "watch" not in self.given:
            open_ones["watch"] = metric
        for name in ("keep", "average"):  # a checkpoint is as large as the encoder
            if name not in self.given:
                open_ones[name] = 1
        settings = replace(settings, batch_tokens=batch, epochs=round(steps / epoch, 2), steps=steps, **open_ones)
        return chosen(settings, len(file.tokens), torch.get_num_threads())


def with_head(
    base: Opened,
    head: type,
    labels: Sequence[str],
    dropout: float,
    seed: int,
    *,
    pooled: Pooled | None = None,
    several: bool = False,
) -> Encoder:
    """An opened encoder's layers below a head of its family's own for these labels, drawn anew; one that already has
    this head and these labels keeps it. Raises RequestError for a family that has no such head.

    pooled: in place of the family's own classifier, one layer behind its positions pooled so. several: whether any
    number of the labels may fit a text.
    """
    network = base.network
    assert isinstance(network, Encoder)
    kinds, wanted = family(network.config.family).architectures, head if pooled is None else Pooling
    if wanted not in kinds:
        raise RequestError(f"limelight puts no head of this kind on a model of the family {network.config.family}")
    said = config_to_hf(network.config) | {"architectures": [kinds[wanted]]}
    if labels:
        numbered = dict(enumerate(labels))
        said |= {"id2label": numbered, "label2id": {label: number for number, label in numbered.items()}}
    if head is SequenceClassifier:
        said["problem_type"] = SEVERAL if several else "single_label_classification"
    config = config_from_hf(said)
    if pooled is not None:
        config = replace(config, head=SequenceClassifier(tuple(labels), pooled, None, several=several))
    made = build(with_dropout(config, dropout))
    assert isinstance(made, Encoder)
    initialise(made, torch.Generator().manual_seed(seed))
    same = config.head == network.config.head
    made.load_state_dict(
        {name: weight for name, weight in network.state_dict().items() if same or not name.startswith("head.")},
        strict=False,
    )
    return made


def enough(settings: Settings, labels: tuple[str, ...]) -> tuple[str, ...]:
    """The labels. Raises RequestError where there is nothing to choose from."""
    if len(labels) < 2:
        raise RequestError(f"{settings.train[0]}: all texts have one label, so there is nothing to tell apart")
    return labels


def decoded(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of an example, its marks left out, on one line."""
    return " ".join(tokenizer.decode(ids).split())

"""What tasks share whose model is an encoder with a head of labels, put on one that is there."""

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
from limelight.models.init import initialise
from limelight.models.presets import PRESETS, with_dropout
from limelight.models.registry import config_from_hf, config_to_hf, family
from limelight.tasks.training.task import Ready, Task
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import Answered, Batches, Corpus, Part
from limelight.train.loop import Hooks
from limelight.train.lora import tune
from limelight.train.loss import answering
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
    """head: the kind of head, as `limelight.models.config` has it. metric: what a model is scored by. placed: whether
    tokens have labels, and not a text."""

    head: ClassVar[type]
    metric: ClassVar[str]
    placed: ClassVar[bool]

    def __init__(self, given: Mapping[str, Any], before: Settings | None) -> None:
        name = before.model if before else given.get("model", BASE)
        task = before.task if before else given["task"]
        if name in PRESETS:
            raise RequestError(f"{name} begins at nothing; to {task} texts train an encoder further, such as {BASE}")
        self.base = open_checkpoint(name, dtype="float32")
        if not isinstance(self.base.network, Encoder):
            raise RequestError(f"{name} writes text; to {task} texts train an encoder, such as {BASE}")
        if given.get("watch", "loss") not in {"loss", self.metric}:
            raise RequestError(
                f'watch is "{given["watch"]}"; what learns to {task} is watched by {self.metric} or loss'
            )
        if given.get("longest", 0) > self.base.network.context:
            raise RequestError(f"{name} reads at most {self.base.network.context} tokens; set longest to no more")
        self.given, self.name = given, name

    @abstractmethod
    def found(self, settings: Settings) -> Settings:
        """The settings with columns and labels as the files have them."""

    @abstractmethod
    def examples(self, settings: Settings, files: Sequence[str]) -> Iterator[Example | None]:
        """What the files hold as tokens, with the model's marks, and what is to be said of them, see `Answered`."""

    @abstractmethod
    def score(self, settings: Settings, answered: Iterable[tuple[Tensor, Tensor]]) -> float:
        """How good answers are, from 0 to 100: for each batch the likeliest labels and the right ones, alike in shape,
        IGNORE where none is right."""

    @abstractmethod
    def shown(self, settings: Settings, text: list[int], found: Tensor, right: Tensor) -> str:
        """An answer, for people. found, right: labels of the text [], or of its tokens [T]."""

    def ready(self, folder: Path, world: World) -> Ready:
        """As `Task` has it; the base's weights below a head for the labels."""
        if world.main:
            self._prepare(folder)
        world.wait()
        settings = recorded(folder, self.given)
        assert settings is not None
        pad = self.base.tokenizer.pad or 0
        train = TokenFile(folder / "data" / "train")
        training: Corpus = Answered(train, pad, placed=self.placed)
        if settings.valid:
            validation: Corpus = Answered(TokenFile(folder / "data" / "valid"), pad, placed=self.placed)
        else:
            held = held_out(settings, len(training))
            validation, training = Part(training, 0, held), Part(training, held, len(training))
        network = with_head(self.base, self.head, settings.labels, settings.dropout, settings.seed)
        tune(network, settings.lora)
        network.head.requires_grad_(True)
        said = [f"labels: {', '.join(settings.labels[:20])}{', …' if settings.labels[20:] else ''}"]
        if settings.columns:
            said.insert(0, f"columns: {settings.columns[0]} holds the texts, {settings.columns[1]} the labels")
        if train.dropped:
            said.append(f"left out: {train.dropped:,} rows without a text or a label")
        hooks = self._hooks(settings, validation)
        return Ready(Run(folder, settings), network, training, validation, hooks, answering, tuple(said))

    def frame(self, settings: Settings, ids: list[int]) -> list[int]:
        """A text's tokens between the model's marks, cut to the longest that is read."""
        front, back = self.base.tokenizer.prefix, self.base.tokenizer.suffix
        return [*front, *ids[: settings.longest - len(front) - len(back)], *back]

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
        if len(settings.labels) < 2:
            raise RequestError(f"{settings.train[0]}: all texts have one label, so there is nothing to tell apart")
        material = self._material(settings)
        file = material.file(settings.train, folder / "data" / "train")
        if settings.valid:
            material.file(settings.valid, folder / "data" / "valid")
        begin(folder, self._chosen(settings, file))

    def _material(self, settings: Settings) -> Material:
        tokenizer = self.base.tokenizer
        limit = max(tokenizer.vocab, len(settings.labels), settings.longest + 1)

        def origin(files: Sequence[str]) -> str:
            choices = (settings.task, settings.columns, settings.labels, settings.longest)
            return fingerprint(files, (tokenizer,), *choices)

        def write(files: Sequence[str], place: Path, origin: str) -> TokenFile:
            return prepare_examples(self.examples(settings, files), limit, place, origin)

        return Material(origin, write)

    def _chosen(self, settings: Settings, file: TokenFile) -> Settings:
        """The settings with every open one filled in, as suits an encoder that knows much already."""
        corpus = Answered(file, 0, placed=self.placed)
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
            open_ones["watch"] = self.metric
        for name in ("keep", "average"):  # a checkpoint is as large as the encoder
            if name not in self.given:
                open_ones[name] = 1
        settings = replace(settings, batch_tokens=batch, epochs=round(steps / epoch, 2), steps=steps, **open_ones)
        return chosen(settings, len(file.tokens), torch.get_num_threads())

    def _hooks(self, settings: Settings, validation: Corpus) -> Hooks:
        def score(network: Network) -> float:
            return self.score(settings, _answered(network, validation, settings.batch_tokens))

        def samples(network: Network) -> list[str]:
            count = min(SHOWN, len(validation))
            batch = validation.batch(torch.arange(count).numpy(), 0)
            with torch.inference_mode():
                found = network(batch.tokens.to(network.device), batch.lengths).argmax(-1).cpu()
            assert batch.lengths is not None
            texts = [row[:length].tolist() for row, length in zip(batch.tokens, batch.lengths, strict=True)]
            return [
                self.shown(settings, text, ours, theirs)
                for text, ours, theirs in zip(texts, found, batch.targets, strict=True)
            ]

        return Hooks(save_as(self.base.tokenizer), score, samples, metric=self.metric)


def with_head(base: Opened, head: type, labels: Sequence[str], dropout: float, seed: int) -> Encoder:
    """An opened encoder's layers below a head of its family's own for these labels, drawn anew; one that already has
    this head and these labels keeps it. Raises RequestError for a family that has no such head."""
    network = base.network
    assert isinstance(network, Encoder)
    kinds = family(network.config.family).architectures
    if head not in kinds:
        raise RequestError(f"limelight puts no head of labels on a model of the family {network.config.family}")
    numbered = dict(enumerate(labels))
    said = config_to_hf(network.config) | {"architectures": [kinds[head]], "id2label": numbered}
    said["label2id"] = {label: number for number, label in numbered.items()}
    config = config_from_hf(said)
    made = build(with_dropout(config, dropout))
    assert isinstance(made, Encoder)
    initialise(made, torch.Generator().manual_seed(seed))
    same = config.head == network.config.head
    made.load_state_dict(
        {name: weight for name, weight in network.state_dict().items() if same or not name.startswith("head.")},
        strict=False,
    )
    return made


def decoded(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of an example, its marks left out, on one line."""
    return " ".join(tokenizer.decode(ids).split())


def _answered(network: Network, corpus: Corpus, budget: int) -> Iterator[tuple[Tensor, Tensor]]:
    with torch.inference_mode():
        for indices in Batches(corpus, budget, 0).epoch():
            batch = corpus.batch(indices, 0)
            yield network(batch.tokens.to(network.device), batch.lengths).argmax(-1).cpu(), batch.targets

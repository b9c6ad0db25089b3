"""What tasks share whose model is a language model that learns from conversations."""

import shutil
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from limelight.checkpoints.open import open_checkpoint
from limelight.decode import generate
from limelight.errors import FileError, RequestError
from limelight.models.api import Decoder, Network
from limelight.models.presets import PRESETS
from limelight.tasks.training.task import Ready, Task, prepared
from limelight.train.batches import Corpus, Part
from limelight.train.chats import Chat, Preference, conversing
from limelight.train.hub import PREFIX
from limelight.train.loop import Hooks
from limelight.train.lora import save_peft, tune
from limelight.train.loss import Learning
from limelight.train.parallel import World
from limelight.train.prepare import Material, begin, held_out, save_as, there
from limelight.train.run import Run, recorded
from limelight.train.settings import Settings, chosen
from limelight.train.tokenfile import TokenFile, fingerprint, prepare_examples

RANK = 16
LONGEST = 1024  # tokens of a conversation
ROWS = 8  # conversations in a step
EPOCHS = 3.0
"""What TRL takes, where the user says nothing else."""

SHRINK = 0.3
"""For a new assistant; measured with Gemma 3 270M in docs/results.md."""

FEW = 1000  # conversations, below which more of them are held out
SHOWN = 5  # answers in samples.jsonl
ANSWER = 64  # tokens of each

Row = tuple[list[int], list[int]]


class Dialogue(Task):
    """unit: what a row of the data is called. wide: rows of tokens that an example has. rates: learning rates of a
    whole model, and by LoRA."""

    unit: ClassVar[str]
    wide: ClassVar[int] = 1
    rates: ClassVar[tuple[float, float]]

    def __init__(self, given: Mapping[str, Any], before: Settings | None) -> None:
        self.name = name = before.model if before else given.get("model", "")
        task = before.task if before else given["task"]
        if not name or name in PRESETS:
            raise RequestError(
                f"name the model that becomes an {'assistant' if task == 'assistant' else 'better one'}"
                " with --model, such as smollm2; it must be one that knows a language already"
            )
        self.base = base = open_checkpoint(name, dtype="float32")  # other types cannot take small steps
        if not isinstance(base.network, Decoder):
            raise RequestError(f"{name} is no language model, and only those learn to converse; name one as model")
        if given.get("longest", 0) > base.network.context:
            raise RequestError(f"{name} reads at most {base.network.context} tokens; set longest to no more")
        self.tokenizer = conversing(base.tokenizer)
        if self.tokenizer.vocab > base.network.vocab:
            raise RequestError(
                f"{name} knows {base.network.vocab:,} tokens, and its tokenizer {self.tokenizer.vocab:,}"
            )
        lora = given.get("lora", RANK)
        if given.get("shrink") and not lora:
            raise RequestError("shrink makes smaller what LoRA learned; leave it out, or name a rank with --lora")
        usual = {"lora": RANK, **({"shrink": SHRINK} if task == "assistant" and lora else {})}
        self.given = given if before else usual | dict(given)
        self.found: tuple[str, ...] = ()

    @property
    @abstractmethod
    def objective(self) -> Learning:
        """What is learned from."""

    def settled(self, settings: Settings) -> Settings:
        """The settings with what the files say of themselves. Raises RequestError where that is not plain."""
        return settings

    @abstractmethod
    def read(self, settings: Settings, files: Sequence[str]) -> Iterator[Chat] | Iterator[Preference]:
        """What the files hold."""

    @abstractmethod
    def rows(self, each: Any) -> list[list[Row]]:
        """What is learned from one of them: the rows of tokens of each example, with the places of answers."""

    @abstractmethod
    def corpus(self, file: TokenFile, folder: Path, name: str) -> Corpus:
        """The examples of a token file of the run in `folder`; name: what they are for, "train" or "valid"."""

    @abstractmethod
    def begun(self, folder: Path, settings: Settings) -> None:
        """What is to be done once, before the first step, in process 0."""

    @abstractmethod
    def hooks(self, settings: Settings, validation: Corpus) -> Hooks:
        """How good a network is."""

    def ready(self, folder: Path, world: World) -> Ready:
        """As `Task` has it; the base's weights, with adapters beside its attention unless all of it learns."""
        settings = prepared(self._prepare, folder, self.given, world)
        if world.main:
            self.begun(folder, settings)
        world.wait()
        training = self.corpus(TokenFile(folder / "data" / "train"), folder, "train")
        if settings.valid:
            validation = self.corpus(TokenFile(folder / "data" / "valid"), folder, "valid")
        else:
            held = held_out(settings, len(training))
            validation, training = Part(training, 0, held), Part(training, held, len(training))
        torch.manual_seed(settings.seed)
        tune(self.base.network, settings.lora, settings.shrink)
        run, hooks = Run(folder, settings), self.hooks(settings, validation)
        return Ready(run, self.base.network, training, validation, hooks, self.objective, self.found)

    def samples(self, validation: Corpus, network: Network) -> list[str]:
        """What the model answers to questions that were held out, always its likeliest token."""
        assert isinstance(network, Decoder)
        batch = validation.batch(torch.arange(min(SHOWN, len(validation))).numpy(), 0)
        firsts = (batch.targets >= 0).int().argmax(1)
        prompts = [row[: int(first) + 1].tolist() for row, first in zip(batch.tokens, firsts, strict=True)]
        said: list[list[int]] = [[] for _ in prompts]
        room = network.context - max(map(len, prompts))
        for step in generate(network, prompts, max_tokens=max(1, min(ANSWER, room)), stop=self.tokenizer.eos):
            for token in step:
                said[token.row].append(token.id)
        both = ((self.tokenizer.decode(ids) for ids in each) for each in zip(prompts, said, strict=True))
        return [" → ".join(" ".join(text.split()) for text in each) for each in both]

    def _prepare(self, folder: Path) -> None:
        settings = recorded(folder, self.given)
        if settings is not None:
            self._material(settings).unchanged(settings, self.given, folder)
            return
        if not self.given.get("train"):
            raise RequestError("a training needs files to learn from")
        settings = replace(Settings(**self.given), model=self.name)
        there(settings)
        longest = settings.longest or min(LONGEST, self.base.network.context)
        settings = self.settled(replace(settings, longest=longest))
        material = self._material(settings)
        shutil.rmtree(folder / "data", ignore_errors=True)  # what a start with other options may have left
        file = material.write(settings.train, folder / "data" / "train", material.origin(settings.train))
        if settings.valid:
            self.found, kept = (), self.found
            material.write(settings.valid, folder / "data" / "valid", material.origin(settings.valid))
            self.found = kept
        begin(folder, self._chosen(settings, file))

    def _material(self, settings: Settings) -> Material:
        def origin(files: Sequence[str]) -> str:
            choices = (settings.task, *settings.columns, settings.longest, self.tokenizer.template)
            if settings.constraints:
                choices += (settings.constraints, settings.seed)
            plain = [each for each in files if each.startswith(PREFIX)]
            return fingerprint(files, (self.tokenizer,), *choices, *plain)

        def write(files: Sequence[str], place: Path, origin: str) -> TokenFile:
            limit = max(self.base.network.vocab, settings.longest + 1)
            return prepare_examples(self._checked(settings, files), limit, place, origin)

        return Material(origin, write)

    def _checked(self, settings: Settings, files: Sequence[str]) -> Iterator[Row | None]:
        """The rows of all that can be learned from; leaves in `found` what was seen, and what was left out and why."""
        forms, faults, seen = Counter[str](), Counter[str](), set[str]()
        shares: list[tuple[int, int]] = []
        for each in self.read(settings, files):
            forms[each.form] += 1
            key = repr(each)
            fault = each.fault or ("that are there already" if key in seen else None)
            seen.add(key)
            examples = [] if fault else self.rows(each)
            short = [rows for rows in examples if all(len(tokens) <= settings.longest for tokens, _ in rows)]
            if fault or not short:
                faults[fault or f"of more than {settings.longest:,} tokens"] += 1
                yield None
            for rows in short:
                for tokens, places in rows:
                    shares.append((sum(places[1::2]) - sum(places[::2]), len(tokens)))
                    yield tokens, places
        left = ", ".join(f"{count:,} {fault}" for fault, count in faults.items())
        if not shares:
            raise FileError(
                f"{' and '.join(map(str, files))}: nothing to learn from in {sum(forms.values())} rows ({left})"
            )
        said, tokens = (sum(side) for side in zip(*shares, strict=True))
        least, most = (100 * pick(part / whole for part, whole in shares) for pick in (min, max))
        told = [f"{count:,} {self.unit} written as {form}" for form, count in forms.items()]
        told += [f"left out: {left}"] if left else []
        told.append(
            f"{said:,} of {tokens:,} tokens are answers, which alone are learned from ({least:.0f} to {most:.0f} % of a"
            " row)"
        )
        own = self.base.tokenizer.template is not None
        told.append(f"chat template: {'the model’s own' if own else 'a plain one, which is saved with the model'}")
        self.found = tuple(told)

    def _chosen(self, settings: Settings, file: TokenFile) -> Settings:
        """The settings with every open one filled in."""
        count = len(file) // (2 * self.wide)
        mean = float(file.lengths(torch.arange(0, len(file), 2).numpy()).mean()) * self.wide
        batch = settings.batch_tokens or max(256, round(ROWS * mean / 64) * 64)
        epoch = max(1, round(count * mean / batch))
        epochs = settings.epochs or EPOCHS
        steps = settings.steps or max(1, round(epochs * epoch))
        every = settings.every or max(10, min(-(-epoch // 2), -(-steps // 3)))
        usual = {"decay": 0.0, "beta2": 0.999, "eps": 1e-8, "keep": 1, "average": 1, "patience": 3}
        usual |= {"held_out": 0.1} if count < FEW else {}
        settings = replace(
            settings,
            optimizer="adamw" if settings.optimizer == "auto" else settings.optimizer,
            lr=settings.lr or self.rates[bool(settings.lora)],
            dropout=max(settings.dropout, 0.0),
            smoothing=max(settings.smoothing, 0.0),
            warmup=settings.warmup or max(1, steps // 10),
            batch_tokens=batch,
            epochs=round(steps / epoch, 2),
            steps=steps,
            every=every,
            **{name: value for name, value in usual.items() if name not in self.given},  # type: ignore[arg-type]
        )
        return chosen(settings, len(file.tokens), torch.get_num_threads())

    def saving(self) -> Any:
        """How the model is written: with the template that it converses by, and beside it the adapters alone."""
        whole = save_as(self.tokenizer)

        def save(network: Network, folder: Path) -> None:
            whole(network, folder)
            save_peft(network, self.name, folder / "adapter")

        return save

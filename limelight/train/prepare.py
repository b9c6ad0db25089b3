"""From options and the user's files to everything that a training needs, with what is wrong told first."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from limelight.checkpoints.save import save_checkpoint
from limelight.checkpoints.sentences import Sentences
from limelight.errors import RequestError
from limelight.models.api import Network
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import Corpus, Marks, Pairs, Part, Stream
from limelight.train.data import Pair, existing, read_pairs, read_texts
from limelight.train.disk import intact, seal, written
from limelight.train.hub import PREFIX
from limelight.train.lora import merged
from limelight.train.parallel import World
from limelight.train.run import Run, located, record, recorded
from limelight.train.settings import PAIRED, Settings, asked, chosen, vocabulary
from limelight.train.summaries import columns, shorts
from limelight.train.tokenfile import TokenFile, fingerprint, prepare_pairs, prepare_texts, prepared_from
from limelight.train.tokenizers import train_tokenizer

LONGEST = {"summarise": 1024}  # tokens of a text where it is more than a sentence

HELD_OUT = 2000  # examples at most that are kept from training where no validation files are given


@dataclass(frozen=True)
class Material:
    """What a task makes of its files. origin: the fingerprint of what so many files become. write: makes the token file
    of some files at a place, with that fingerprint."""

    origin: Callable[[Sequence[str]], str]
    write: Callable[[Sequence[str], Path, str], TokenFile]

    def file(self, files: Sequence[str], place: Path) -> TokenFile:
        """The token file of the files, made if the one that is there is not of them."""
        origin = self.origin(files)
        if prepared_from(place) == origin and (place / "tokens.bin").exists():
            return TokenFile(place)
        return self.write(files, place, origin)

    def unchanged(self, settings: Settings, given: Mapping[str, Any], folder: Path) -> None:
        """Holds the files against those that the run in `folder` began with, wherever they are now; it can go on
        without them.

        A token file that is damaged and was deleted is made anew. Raises RequestError if the files hold something else.
        """
        for name in ("train", "valid"):
            files = given.get(name) or getattr(settings, name)
            if not files:
                continue
            place = folder / "data" / name
            intact(place, "about.json", "name a new folder")
            if not given.get(name) and not all(each.startswith(PREFIX) or os.path.exists(each) for each in files):
                continue
            if (origin := self.origin(files)) != prepared_from(place):
                raise RequestError(f"{' and '.join(files)} changed since the run in {folder} began; name a new folder")
            if not (place / "tokens.bin").exists():
                self.write(files, place, origin)


@dataclass(frozen=True)
class Prepared:
    """A run whose data is ready. tokenizers: of the source and of the target; they may be one. highest: the largest id
    that a model will be given. dropped: pairs for training that were left out."""

    run: Run
    tokenizers: tuple[Tokenizer, Tokenizer]
    training: Corpus
    validation: Corpus
    highest: int
    dropped: int = 0


def prepare(
    options: Mapping[str, Any],
    folder: Path,
    world: World,
    *,
    tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
    joined: bool = False,
    front: str = "",
) -> Prepared:
    """Reads and checks all data, trains the tokenizers, writes the token files, and settles every option.

    options: what the user asked for, by the names of `Settings`; all else is chosen from the data. folder: of the run;
    one that was begun before goes on with its own settings. tokenizers: of the checkpoint that is trained further.
    joined: the model is a decoder that reads source and target as one. front: what stands in front of each source.
    Raises FileError, RequestError or ConfigError.
    """
    given = asked(options, "options")
    if world.main:  # the others find everything in the folder
        _prepare(given, folder, tokenizers, front)
    world.wait()
    settings = recorded(folder, given)
    assert settings is not None
    tokenizers = tokenizers or _tokenizers(folder)
    train = TokenFile(folder / "data" / "train")
    valid = TokenFile(folder / "data" / "valid") if settings.valid else None
    marks = Marks.of(tokenizers[1])
    training: Corpus
    validation: Corpus
    if settings.task in PAIRED:
        training = Pairs(train, marks, joined=joined)
        if valid is not None:
            validation = Pairs(valid, marks, joined=joined)
        else:
            held = held_out(settings, len(training))
            validation, training = Part(training, 0, held), Part(training, held, len(training))
    else:
        tokens = train.tokens
        if valid is not None:
            training, validation = Stream(tokens, settings.context), Stream(valid.tokens, settings.context)
        else:
            cut = len(tokens) - held_out(settings, len(tokens) // settings.context) * settings.context - 1
            training, validation = Stream(tokens[:cut], settings.context), Stream(tokens[cut:], settings.context)
    highest = max(train.highest, 0 if valid is None else valid.highest, marks.start, marks.end, marks.pad)
    return Prepared(Run(folder, settings), tokenizers, training, validation, highest, train.dropped)


def save_as(tokenizer: Tokenizer, source: Tokenizer | None = None, said: Sentences | None = None) -> Any:
    """What `Hooks.save` takes: writes a network, its adapters merged, with this tokenizer.

    source: the tokenizer of a translator's source, where that is another one. said: of texts, by what makes vectors.
    """

    def save(network: Network, folder: Path) -> None:
        with merged(network):
            save_checkpoint(network, tokenizer, folder, source=source, said=said)

    return save


def _prepare(given: Mapping[str, Any], folder: Path, kept: tuple[Tokenizer, Tokenizer] | None, front: str) -> None:
    """Leaves settings, tokenizers and token files in the folder: all, or what is missing where a run goes on."""
    settings = recorded(folder, given)
    if settings is not None:
        _material(settings, kept or _tokenizers(folder), front).unchanged(settings, given, folder)
        return
    if "task" not in given or not given.get("train"):
        raise RequestError("a training needs a task such as translate or classify, and files to learn from")
    settings = Settings(**given)
    there(settings)
    if settings.task == "summarise":
        settings = replace(settings, columns=columns(settings.train, settings.columns))
    settings = vocabulary(settings, sum(len(text) for text in _texts(settings, settings.train)))
    tokenizers = kept or _trained(settings, folder)
    settings = replace(settings, longest=settings.longest or LONGEST.get(settings.task, 256))
    material = _material(settings, tokenizers, front)
    file = material.file(settings.train, folder / "data" / "train")
    if settings.valid:
        material.file(settings.valid, folder / "data" / "valid")
    tokens = len(file.tokens) // 2 if settings.task in PAIRED else len(file.tokens)
    begin(folder, chosen(settings, tokens, torch.get_num_threads()))


def there(settings: Settings) -> None:
    """Raises FileError if one of the files that are learned from does not exist."""
    for named in (*settings.train, *settings.valid):
        if not named.startswith(PREFIX):
            existing(named)


def begin(folder: Path, settings: Settings) -> None:
    """Records the settings of a new run, with files and model named so that they are found from anywhere."""
    train, valid = (
        tuple(each if each.startswith(PREFIX) else os.path.abspath(each) for each in files)
        for files in (settings.train, settings.valid)
    )
    record(folder, replace(settings, model=located(settings.model), train=train, valid=valid))


def _texts(settings: Settings, files: Sequence[str], sides: Sequence[int] = (0, 1)) -> Iterator[str]:
    if settings.task in PAIRED:
        return (pair[side] for pair in _pairs(settings, files) for side in sides)
    return (text for text, _ in read_texts(files))


def _trained(settings: Settings, folder: Path) -> tuple[Tokenizer, Tokenizer]:
    assert settings.tokenizer != "auto"
    document = settings.task == "generate"
    separate = not settings.shared and not document
    sides = ((0,), (1,)) if separate else ((0, 1),)
    made = [
        train_tokenizer(
            _texts(settings, settings.train, side),
            settings.tokenizer,
            settings.vocab,
            lower=settings.lower,
            document=document,
        )
        for side in sides
    ]
    for name, each in zip(("tokenizer", "tokenizer-target"), made, strict=False):
        with written(folder / name) as beside:
            each.save(beside)
            seal(beside)
    return _tokenizers(folder)


def _tokenizers(folder: Path) -> tuple[Tokenizer, Tokenizer]:
    def read(name: str) -> Tokenizer:
        return Tokenizer.from_folder(intact(folder / name, "", "name a new folder"))

    source = read("tokenizer")
    return source, read("tokenizer-target") if (folder / "tokenizer-target").exists() else source


def _pairs(settings: Settings, files: Sequence[str], front: str = "") -> Iterator[Pair]:
    """What is read and what is to be written; of several summaries of a text the first."""
    if settings.task == "translate":
        return read_pairs(files, settings.columns)
    return ((front + each.text, each.summaries[0]) for each in shorts(files, settings.columns) if each)


def _material(settings: Settings, tokenizers: tuple[Tokenizer, Tokenizer], front: str) -> Material:
    translate = settings.task in PAIRED
    longest = settings.longest if translate else 0

    def write(files: Sequence[str], place: Path, origin: str) -> TokenFile:
        if translate:
            return prepare_pairs(_pairs(settings, files, front), tokenizers, place, longest, origin)
        return prepare_texts(read_texts(files), tokenizers[0], place, Marks.of(tokenizers[0]).end, origin)

    return Material(lambda files: fingerprint(files, tokenizers, settings.task, settings.columns, longest), write)


def held_out(settings: Settings, examples: int) -> int:
    """How many of the examples are kept from training. Raises RequestError if that would be all."""
    held = min(HELD_OUT, max(1, round(examples * settings.held_out)))
    if held >= examples:
        raise RequestError(
            f"the text makes too few examples ({examples}) to keep some from training; name validation files, or lower"
            " context if a window of text is an example"
        )
    return held

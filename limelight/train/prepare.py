"""From options and the user's files to everything that a training needs, with what is wrong told first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from limelight.checkpoints.open import SOURCE_TOKENIZER
from limelight.checkpoints.save import save_checkpoint
from limelight.errors import RequestError
from limelight.models.api import Network
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import Corpus, Marks, Pairs, Part, Stream
from limelight.train.data import read_pairs, read_texts
from limelight.train.lora import merged
from limelight.train.parallel import World
from limelight.train.run import Run, record, recorded
from limelight.train.settings import Settings, checked, chosen, vocabulary
from limelight.train.tokenfile import TokenFile, fingerprint, prepare_pairs, prepare_texts
from limelight.train.tokenizers import train_tokenizer

HELD_OUT = 2000  # examples at most that are kept from training where no validation files are given


@dataclass(frozen=True)
class Prepared:
    """A run whose data is ready. tokenizers: of the source and of the target; they may be one."""

    run: Run
    tokenizers: tuple[Tokenizer, Tokenizer]
    training: Corpus
    validation: Corpus


def prepare(
    options: Mapping[str, Any],
    folder: Path,
    world: World,
    *,
    tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
    joined: bool = False,
) -> Prepared:
    """Reads and checks all data, trains the tokenizers, writes the token files, and settles every option.

    options: what the user asked for, by the names of `Settings`; all else is chosen from the data. folder: of the run;
    one that was begun before goes on with its own settings. tokenizers: of the checkpoint that is trained further.
    joined: the model is a decoder that reads source and target as one. Raises FileError, RequestError or ConfigError.
    """
    given = checked(options, "options")
    if world.main:  # the others find everything in the folder
        _prepare(given, folder, tokenizers)
    world.wait()
    settings, tokenizers = _prepare(given, folder, tokenizers)
    train, valid = (_token_file(settings, tokenizers, folder, name) for name in ("train", "valid"))
    marks = Marks.of(tokenizers[1])
    training: Corpus
    validation: Corpus
    if settings.task == "translate":
        assert train is not None
        training = Pairs(train, marks, joined=joined)
        if valid is not None:
            validation = Pairs(valid, marks, joined=joined)
        else:
            held = _held(settings, len(training))
            validation, training = Part(training, 0, held), Part(training, held, len(training))
    else:
        assert train is not None
        tokens = train.tokens
        if valid is not None:
            training, validation = Stream(tokens, settings.context), Stream(valid.tokens, settings.context)
        else:
            cut = len(tokens) - _held(settings, len(tokens) // settings.context) * settings.context - 1
            training, validation = Stream(tokens[:cut], settings.context), Stream(tokens[cut:], settings.context)
    return Prepared(Run(folder, settings), tokenizers, training, validation)


def save_as(tokenizer: Tokenizer, source: Tokenizer | None = None) -> Any:
    """What `Hooks.save` takes: writes a network, its adapters merged, with this tokenizer.

    source: the tokenizer of a translator's source, where that is another one.
    """

    def save(network: Network, folder: Path) -> None:
        with merged(network):
            save_checkpoint(network, tokenizer, folder)
        if source is not None and source is not tokenizer:
            source.save(folder / SOURCE_TOKENIZER)

    return save


def _prepare(
    given: Mapping[str, Any], folder: Path, kept: tuple[Tokenizer, Tokenizer] | None
) -> tuple[Settings, tuple[Tokenizer, Tokenizer]]:
    settings = recorded(folder, given)
    if settings is not None:
        return settings, kept or _tokenizers(folder)
    if "task" not in given or not given.get("train"):
        raise RequestError("a training needs a task (translate or generate) and files to learn from")
    settings = Settings(**given)
    settings = vocabulary(settings, sum(len(text) for text in _texts(settings, settings.train)))
    tokenizers = kept or _trained(settings, folder)
    settings = replace(settings, longest=settings.longest or 256)
    file = _token_file(settings, tokenizers, folder, "train")
    _token_file(settings, tokenizers, folder, "valid")
    assert file is not None
    tokens = len(file.tokens) // 2 if settings.task == "translate" else len(file.tokens)
    settings = chosen(settings, tokens, torch.get_num_threads())
    record(folder, settings)
    return settings, tokenizers


def _texts(settings: Settings, files: Sequence[str], sides: Sequence[int] = (0, 1)) -> Iterator[str]:
    if settings.task == "translate":
        return (pair[side] for pair in read_pairs(files, settings.columns) for side in sides)
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
        each.save(folder / name)
    return _tokenizers(folder)


def _tokenizers(folder: Path) -> tuple[Tokenizer, Tokenizer]:
    source = Tokenizer.from_folder(folder / "tokenizer")
    other = folder / "tokenizer-target"
    return source, Tokenizer.from_folder(other) if other.exists() else source


def _token_file(
    settings: Settings, tokenizers: tuple[Tokenizer, Tokenizer], folder: Path, name: str
) -> TokenFile | None:
    """The token file of the training or validation files, made if it is not there; None without such files."""
    files = settings.train if name == "train" else settings.valid
    if not files:
        return None
    longest = settings.longest if settings.task == "translate" else 0
    mark = fingerprint(files, tokenizers, settings.task, settings.columns, longest)
    place = folder / "data" / f"{name}-{mark}"
    if place.exists():
        return TokenFile(place)
    if (folder / "settings.toml").exists() and list((folder / "data").glob(f"{name}-*")):
        raise RequestError(f"{' and '.join(files)} changed since the run in {folder} began; name a new folder")
    if settings.task == "translate":
        return prepare_pairs(read_pairs(files, settings.columns), tokenizers, place, longest)
    return prepare_texts(read_texts(files), tokenizers[0], place, Marks.of(tokenizers[0]).end)


def _held(settings: Settings, examples: int) -> int:
    held = min(HELD_OUT, max(1, round(examples * settings.held_out)))
    if held >= examples:
        raise RequestError(f"{examples} examples are too few to keep some from training; name validation files")
    return held

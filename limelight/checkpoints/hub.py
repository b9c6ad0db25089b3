"""Models of the Hugging Face hub, through `huggingface_hub` and in its own cache, so that other programs share them.

Nothing but the hub that the user's settings name (`HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`) is ever asked, and not even
that one once a model is there.
"""

import contextlib
import glob
import hashlib
import json
import os
import re
import socket
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from limelight.checkpoints.cache import Progress, sha256, watched
from limelight.checkpoints.files import gguf_parts
from limelight.errors import SourceError

_SMALL = (".json", ".jinja", ".model", ".spm", ".txt")  # configs, tokenizers, chat templates
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "source.spm")


@dataclass(frozen=True, slots=True)
class Cached:
    """A model of the hub that is on this machine; `size` in bytes, `family` as its config says, if it does."""

    repo: str
    path: Path
    size: int
    family: str


def cached(repo: str, file: str | None = None) -> Path | None:
    """The model on this machine, without asking anybody: its folder, or its GGUF file; `None` if it is not all there.

    A folder is all there when it has a config, a tokenizer and every part of its weights.
    """
    _quiet()
    folder = _folder(repo)
    # Not by asking the library for a snapshot: that would demand the files which were left out on purpose as well.
    try:
        snapshot = folder / "snapshots" / (folder / "refs" / "main").read_text("utf-8").strip()
    except OSError:
        return None
    return _whole(snapshot, file)


def every() -> Iterator[Cached]:
    """All models of the hub's cache that are whole."""
    _quiet()
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, ValueError, OSError):  # there is none, or it is no folder, or not ours to read
        return
    for repo in sorted(repos, key=lambda repo: repo.repo_id):
        snapshot = repo.refs.get("main")
        if repo.repo_type == "model" and snapshot and (path := _whole(snapshot.snapshot_path)):
            yield Cached(repo.repo_id, path, snapshot.size_on_disk, _family(path))


def fetch(repo: str, file: str | None = None, progress: Progress | None = None) -> Path:
    """The folder of `org/name`, or its one GGUF file; downloaded if it is not on this machine yet.

    Of the weights only one form is taken: safetensors, else torch's, else the GGUF file if there is just one. `file`
    asks for one GGUF file by name. Files that arrived whole are kept when a download breaks.

    Raises `SourceError` when the hub cannot be reached, refuses, or has no such model.
    """
    if path := cached(repo, file):
        return path
    _quiet()
    from huggingface_hub import HfApi, snapshot_download

    with _explained(repo):
        siblings = HfApi().model_info(repo, files_metadata=True).siblings or []
    wanted = _choose(repo, [sibling.rfilename for sibling in siblings], file)
    taken = [sibling for sibling in siblings if sibling.rfilename in wanted]
    blobs = tuple((s.lfs.sha256 if s.lfs else s.blob_id) or s.rfilename for s in taken)  # their names in the cache
    total = sum(s.size or 0 for s in taken)
    with _explained(repo), _no_bars(), watched(_folder(repo) / "blobs", blobs, total, "downloading", progress):
        snapshot = Path(snapshot_download(repo, allow_patterns=[glob.escape(name) for name in wanted]))
    for sibling in taken:
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        _check(repo, snapshot / sibling.rfilename, digest)
    # A folder without a tokenizer is not whole, but it is all there is; only, the hub is asked again next time.
    return _whole(snapshot, file) or snapshot


def _check(repo: str, path: Path, digest: str | None) -> None:
    """Holds a file against the hash that the hub gives for it; one that differs is thrown away, with its place.

    Large files have a sha256, small ones git's: a sha1 over a header and the content.
    """
    if digest is None or re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", digest) is None:
        return
    blob = path.resolve()
    if len(digest) == 64:
        found = sha256(blob)
    else:
        git = hashlib.sha1(b"blob %d\0" % blob.stat().st_size, usedforsecurity=False)
        with blob.open("rb") as file:
            while chunk := file.read(1 << 20):
                git.update(chunk)
        found = git.hexdigest()
    if found != digest:
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
        raise SourceError(
            f"{repo} arrived damaged: the hash of {path.name} is not the hub's; it was thrown away, so fetch again"
        )


def _folder(repo: str) -> Path:
    """Where the library keeps this repository; the cache's layout is documented."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def _whole(snapshot: Path, file: str | None = None) -> Path | None:
    """The model in a snapshot folder, or `None` if a part is missing."""
    if file is not None:
        return snapshot / file if all((snapshot / part).is_file() for part in _with_parts(file)) else None
    if not snapshot.is_dir():
        return None
    names = {path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()}
    weights = _weights(names)
    if not weights:
        return None
    if weights[0].endswith(".gguf"):
        return snapshot / weights[0] if set(weights) == set(_with_parts(weights[0])) else None
    whole = "config.json" in names and names.issuperset(weights) and not names.isdisjoint(_TOKENIZERS)
    return snapshot if whole else None


def _choose(repo: str, names: Collection[str], file: str | None) -> list[str]:
    """Which of a repository's files to fetch."""
    if file is not None:
        if file not in names:
            there = ", ".join(sorted(name for name in names if name.endswith(".gguf"))) or "no GGUF file at all"
            raise SourceError(f"{repo} has no {file}; it has {there}")
        return list(_with_parts(file))
    weights = _weights(names)
    if not weights:
        raise SourceError(f"{repo} holds no weights that limelight opens (safetensors, torch's .bin, or .gguf)")
    if not weights[0].endswith(".gguf"):
        return [*weights, *sorted(name for name in names if name.endswith(_SMALL) and "/" not in name)]
    if set(weights) != set(_with_parts(weights[0])):
        raise SourceError(
            f"{repo} holds several GGUF files; name one, as in {repo}:{weights[0]} ({', '.join(weights)})"
        )
    return weights


def _with_parts(file: str) -> tuple[str, ...]:
    """A GGUF file of a repository and, where its model lies in several, all of them in order."""
    folder, slash, name = file.rpartition("/")
    return tuple(f"{folder}{slash}{part}" for part in gguf_parts(name)) or (file,)


def _weights(names: Collection[str]) -> list[str]:
    """The files that make up one copy of the weights; GGUF files are a choice, not parts."""
    for stem, kind in (("model", "safetensors"), ("pytorch_model", "bin")):
        single = f"{stem}.{kind}"
        if single in names:
            return [single]
        shards = [(name, re.fullmatch(rf"{stem}-\d+-of-(\d+)\.{kind}", name)) for name in sorted(names)]
        found = [(name, int(match[1])) for name, match in shards if match]
        if found and len(found) == found[0][1]:
            return [*(name for name, _ in found), f"{single}.index.json"]
    return sorted(name for name in names if name.endswith(".gguf"))


def _family(path: Path) -> str:
    """The `model_type` of a folder's config; nothing if it does not say."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return str(json.loads((path / "config.json").read_bytes()).get("model_type", ""))
    return ""


def _quiet() -> None:
    """No telemetry from our calls, unless the user has decided about it; the library reads this when it is imported."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """The library's own progress bars off for a while; ours shows the same."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    before = are_progress_bars_disabled()
    if not before:
        disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


@contextlib.contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Turn whatever the library raises into a sentence."""
    try:
        yield
    # The transport's exceptions have another base in each version of the library (requests, httpx, its successor).
    except Exception as error:
        raise SourceError(
            f"{repo} is not on this machine and could not be fetched: {_reason(repo, error)}. To provide it by hand, "
            f"run `hf download {repo} --local-dir FOLDER` on a machine that can, bring the folder here, and name it"
        ) from error


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(repo: str, error: BaseException) -> str:
    """What went wrong, in one clause."""
    from huggingface_hub import constants, errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    match error:
        case errors.GatedRepoError():
            return (
                f"its terms must be accepted first at https://huggingface.co/{repo}, then log in with `hf auth login`"
            )
        case errors.RepositoryNotFoundError():
            return "the hub knows no such model, or it is private and `hf auth login` is needed"
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set"
        case errors.HfHubHTTPError() if status in (401, 403):
            return "the hub refused access; log in with `hf auth login`, or unset HF_TOKEN if it is out of date"
        case errors.LocalEntryNotFoundError() if error.__cause__:  # "not here either", after the failure that matters
            return _reason(repo, error.__cause__)
        case errors.HfHubHTTPError():
            return f"the hub answered with status {status}"
        case OSError(filename=str()):  # a file's, not a connection's
            return f"{error.filename} cannot be written ({error.strerror}); HF_HOME names another folder for the cache"
        case _ if any(isinstance(each, socket.gaierror) for each in _behind(error)):
            host = urlsplit(constants.ENDPOINT).hostname
            return f"no host called {host} can be found; check the network, or HF_ENDPOINT where that is set"
        case _:
            text = next(iter(str(error).splitlines()), "") or type(error).__name__
            return f"the transfer from the hub failed: {text}"

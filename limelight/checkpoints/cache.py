"""The folder of fetched models: where it is, who may write to it, and whether a file in it is the right one."""

import contextlib
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

Progress = Callable[[int, int, str], None]
"""Called with `(done bytes, total bytes, what is being done)`, often, and not always from the caller's own thread."""


def home() -> Path:
    """Where limelight keeps what it fetched: `$LIMELIGHT_HOME`, or the platform's folder for caches."""
    if chosen := os.environ.get("LIMELIGHT_HOME"):
        return Path(chosen).expanduser().absolute()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser().absolute() / "limelight"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "limelight"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "limelight" / "Cache"
    return Path.home() / ".cache" / "limelight"


def model_folder(name: str) -> Path:
    """The folder of one named model."""
    return home() / "models" / name


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(path: Path, size: int, digest: str) -> bool:
    """Whether `path` is the file of this size (bytes) and sha256.

    The file is hashed once; a marker beside it remembers that, and for which modification time, so that opening a
    model costs two look-ups in the file system.
    """
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != size:
        return False
    with contextlib.suppress(OSError, ValueError):  # no marker yet, or not one of ours
        if json.loads(_marker(path).read_text("utf-8")) == {"sha256": digest, "mtime_ns": stat.st_mtime_ns}:
            return True
    if sha256(path) != digest:
        return False
    mark(path, digest)
    return True


def mark(path: Path, digest: str) -> None:
    """Remember that `path`, as it is now, has this sha256."""
    with contextlib.suppress(OSError):  # a cache that cannot be written to still serves; it is hashed at each opening
        _marker(path).write_text(json.dumps({"sha256": digest, "mtime_ns": path.stat().st_mtime_ns}), "utf-8")


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.verified.json")


if sys.platform == "win32":
    import msvcrt

    def _try_lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def locked(folder: Path, waiting: Callable[[], object]) -> Iterator[None]:
    """Hold `folder` for one process at a time; `waiting` is called once if another one has it.

    The system drops the lock with the process that held it, so a crash leaves nothing to clean up; the file stays,
    since removing it would let two processes lock two files of the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as file:
        if not _try_lock(file.fileno()):
            waiting()
            while not _try_lock(file.fileno()):
                time.sleep(0.2)
        yield


@contextlib.contextmanager
def watched(
    folder: Path, prefixes: tuple[str, ...], total: int, note: str, progress: Progress | None
) -> Iterator[None]:
    """Report how far the files of these name prefixes under `folder` have grown, while someone else writes them.

    pip and huggingface_hub each draw progress in their own way, which changes from version to version; the size of the
    file on disk is the one thing they all have in common.
    """
    if progress is None:
        yield
        return
    finished = threading.Event()

    def report() -> None:
        while not finished.wait(0.1):
            progress(min(_grown(folder, prefixes), total), total, note)

    progress(min(_grown(folder, prefixes), total), total, note)
    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
    progress(total, total, note)


def _grown(folder: Path, prefixes: tuple[str, ...]) -> int:
    done = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            if name.startswith(prefixes):
                with contextlib.suppress(OSError):  # moved away between the listing and the question
                    done += os.stat(os.path.join(parent, name)).st_size
    return done

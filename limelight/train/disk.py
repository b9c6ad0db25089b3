"""What a run keeps on disk, so that it outlives its process, a power cut and a flipped bit.

Files are written beside their place, are on the disk before they take their name, and what is read back is held against
the sums that were written with it (`SHA256SUMS`, as sha256sum writes and checks them). A lock keeps a second training
out of the folder of the first; it goes with its process, however that ends.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from limelight.errors import FileError, RequestError

SUMS = "SHA256SUMS"
LOCK = ".lock"


def write(path: Path, data: str | bytes) -> None:
    """A whole file, in place of one that had the name. Raises FileError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise unwritten(path, error) from None
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


@contextmanager
def written(place: Path) -> Iterator[Path]:
    """A new folder to fill; it takes its name, in place of one that had it, when it is whole and on the disk.

    Raises FileError for whatever the file system refuses, with the folder that had the name before untouched.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as error:
        raise unwritten(place, error) from None
    try:
        yield beside
        for each in (*beside.rglob("*"), beside):
            _sync(each)
        beside.chmod(0o755)
        if place.exists():
            shutil.rmtree(place)
        os.replace(beside, place)
        _sync(place.parent)
    except (OSError, SafetensorError) as error:  # the second is what a full disk is to safetensors
        raise unwritten(place, error) from None
    except FileError as error:
        raise (unwritten(place, error) if str(beside) in str(error) else error) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def seal(folder: Path) -> None:
    """Writes the sums of all files in a folder."""
    files = sorted(each for each in folder.rglob("*") if each.is_file() and each.name != SUMS)
    sums = "".join(f"{sha256(each)}  {each.relative_to(folder).as_posix()}\n" for each in files)
    (folder / SUMS).write_text(sums, encoding="utf-8")


def intact(folder: Path, prefix: str, cure: str) -> Path:
    """The files of a sealed folder whose names begin with `prefix`, once they are found to be as they were written.

    Raises FileError that names what is damaged and ends in `cure`, which says what to do.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise FileError(f"{folder / SUMS} is missing or damaged; {cure}") from None
    sums = {line[66:]: line[:64] for line in lines if line[66:].startswith(prefix)}
    if not sums:
        raise FileError(f"{folder / SUMS} has no sum of {prefix}; {cure}")
    for name, known in sums.items():
        path = folder / name
        try:
            found = sha256(path)
        except OSError as error:
            raise FileError(f"{path} cannot be read ({error.strerror}); {cure}") from None
        if found != known:
            raise FileError(f"{path} is damaged: it is no longer what was written, by its sha256; {cure}")
    return folder / prefix


def sha256(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone; one that was made and stayed empty goes again.

    Raises RequestError if another process has it, FileError if it cannot be written.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise FileError(f"{folder} cannot be written ({error.strerror}); name another folder") from None
    try:
        if not taken(file) or os.fstat(file).st_nlink == 0:  # the other one has just removed it
            raise RequestError(f"another training is at work in {folder}; wait for it to end, or name another folder")
        yield
    finally:
        if made and [each.name for each in folder.iterdir()] == [LOCK]:
            with suppress(OSError):
                (folder / LOCK).unlink()
                folder.rmdir()
        os.close(file)


def unwritten(place: Path, error: Exception) -> FileError:
    """What a refusal of the file system is to the user."""
    why = getattr(error, "strerror", None) or error
    return FileError(
        f"{place} cannot be written ({why}); what was written before is whole: put that right and start the same"
        " command again, and it goes on from there"
    )


def taken(file: int) -> bool:
    """Whether an open file is now locked for this process; not if another one has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # a file system that knows no locks
        return True
    return True


def _sync(path: Path) -> None:
    """Until a file or folder is on the disk; Windows opens no folders."""
    if sys.platform == "win32" and path.is_dir():
        return
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)

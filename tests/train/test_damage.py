"""What a run goes on from is as it was written, or is refused by name; it goes on from any place; only one trains."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_tiny import run
from small_models import letters

from limelight.errors import FileError, RequestError
from limelight.train.batches import Batches, Position
from limelight.train.disk import intact, locked, seal, write, written
from limelight.train.tokenfile import TokenFile

OPTIONS: dict[str, Any] = {
    "model": "gpt",
    "tokenizer": "word",
    "batch_tokens": 128,
    "steps": 12,
    "every": 6,
    "average": 1,
    "keep": 2,
    "threads": 1,
}
TOLD = {"log.jsonl", "samples.jsonl", "curve.png"}  # what a run tells and does not go on from


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return letters(tmp_path_factory.mktemp("data") / "pairs.tsv", 100, turned=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A run to its end."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    run(folder, data, OPTIONS)
    return folder


@pytest.fixture
def stopped(tmp_path: Path, whole: Path) -> Path:
    """The same run as it was after its first checkpoint."""
    folder = tmp_path / "stopped"
    shutil.copytree(whole, folder)
    for name in ("model", "checkpoints/step-000012", "events"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "result.json").unlink()
    return folder


def flip(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_every_damaged_file_is_refused_by_name(
    stopped: Path, data: Path, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    names = sorted(path.relative_to(stopped) for path in stopped.rglob("*") if path.is_file() and path.name not in TOLD)
    assert len(names) >= 14
    before = (stopped / "log.jsonl").read_bytes()
    for name in names:
        if damage is Path.unlink and name.name in {"settings.toml", "tokens.bin"}:
            continue  # that is how a run is begun, and how a token file is made anew
        kept = (stopped / name).read_bytes()
        damage(stopped / name)
        with pytest.raises(FileError) as refusal:
            run(stopped, data, OPTIONS)
        assert str(stopped / name) in str(refusal.value) or name.name == "SHA256SUMS", name
        assert str(stopped) in str(refusal.value)
        (stopped / name).write_bytes(kept)
    assert (stopped / "log.jsonl").read_bytes() == before
    assert run(stopped, data, OPTIONS).steps == 12


def test_a_deleted_token_file_is_made_anew(stopped: Path, whole: Path, data: Path) -> None:
    (stopped / "data/train/tokens.bin").unlink()
    run(stopped, data, OPTIONS)
    assert (stopped / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


def test_sums_are_those_of_sha256sum(whole: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not installed")
    for folder in (whole, whole / "checkpoints/step-000012", whole / "data/train", whole / "tokenizer"):
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


@pytest.mark.parametrize(
    "position",
    [{"pool": 1}, {"batch": 10_000}, {"epoch": -1}, {"batch": -1}, {"batch": 1.5}, {"epoch": None}, {"page": 1}],
)
def test_a_position_that_is_not_in_the_text(stopped: Path, data: Path, position: dict[str, Any]) -> None:
    place = stopped / "checkpoints/step-000006"
    facts = json.loads((place / "state.json").read_text())
    (place / "state.json").write_text(json.dumps(facts | {"position": facts["position"] | position}))
    seal(place)
    with pytest.raises(FileError, match=r"step-000006 is of another model or run"):
        run(stopped, data, OPTIONS)


def test_positions(whole: Path) -> None:
    class Ten:
        def __len__(self) -> int:
            return 10

        def lengths(self, indices: Any) -> Any:
            return np.zeros_like(indices), np.full_like(indices, 5)

    batches = Batches(Ten(), 10, 1)  # type: ignore[arg-type]
    end, first = len(batches.pool(3, 0)), Position()
    assert all(batches.has(place) for place in (first, Position(3, 0, end)))
    assert not any(batches.has(place) for place in (Position(3, 0, end + 1), Position(0, 1, 0), Position(0, 0, -1)))


def test_a_state_of_another_network(stopped: Path, tmp_path: Path, data: Path) -> None:
    other = {"model": "transformer2017-tiny"}
    run(tmp_path / "other", data, OPTIONS | other)
    for step in (6, 12):
        shutil.rmtree(stopped / f"checkpoints/step-{step:06d}", ignore_errors=True)
    shutil.copytree(tmp_path / "other/checkpoints", stopped / "checkpoints", dirs_exist_ok=True)
    with pytest.raises(FileError, match=r"step-000012 is of another model or run"):
        run(stopped, data, OPTIONS)


@pytest.mark.parametrize(
    ("name", "dtype", "values", "message"),
    [
        ("tokens.bin", "<u2", [1, 2, 9, 3], "the token 9 is beyond a vocabulary of 9"),
        ("offsets.bin", "<i8", [0, 3, 2, 4], "a sequence ends before it begins"),
        ("offsets.bin", "<i8", [-1, 2, 4], "a sequence ends before it begins"),
        ("offsets.bin", "<i8", [0, 2, 1 << 40], "the sequences have 1,099,511,627,776 tokens, and 4 are there"),
        ("about.json", "u1", list(b'{"dtype": "<u2"}'), "'dropped'"),
        ("about.json", "u1", list(b'{"dtype": "O", "dropped": 0, "vocab": 9}'), "is no token file"),
    ],
)
def test_token_files_that_do_not_fit(tmp_path: Path, name: str, dtype: str, values: list[int], message: str) -> None:
    (tmp_path / "about.json").write_text('{"dtype": "<u2", "dropped": 0, "vocab": 9}')
    (tmp_path / "tokens.bin").write_bytes(np.array([1, 2, 8, 3], "<u2").tobytes())
    (tmp_path / "offsets.bin").write_bytes(np.array([0, 2, 4], "<i8").tobytes())
    seal(tmp_path)
    assert TokenFile(tmp_path)[1].tolist() == [8, 3]
    (tmp_path / name).write_bytes(np.array(values, dtype).tobytes())
    seal(tmp_path)
    with pytest.raises(FileError, match="is no token file") as refusal:
        TokenFile(tmp_path)
    assert message in str(refusal.value)


def test_a_run_goes_on_from_anywhere(stopped: Path, whole: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = stopped.parent / "elsewhere"
    elsewhere.mkdir()
    copied = elsewhere / "other-name.tsv"
    shutil.copyfile(data, copied)
    monkeypatch.chdir(elsewhere)
    for path in (Path("other-name.tsv"), data, copied):  # a copy, by relative and whole paths
        again = stopped.with_name(f"again-{len(str(path))}")
        shutil.copytree(stopped, again)
        run(Path(os.path.relpath(again)), path, OPTIONS)
        assert (again / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()
    letters(copied, 101, turned=True)
    with pytest.raises(RequestError, match=r"other-name\.tsv changed since the run"):
        run(stopped, copied, OPTIONS)


HOLD = """
import sys
from pathlib import Path
from limelight.train.disk import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_keeps_others_out_and_dies_with_its_process(tmp_path: Path) -> None:
    place = tmp_path / "run"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", HOLD, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RequestError, match="another training is at work in"), locked(place):
            pass
        holder.kill()
    with locked(place):
        (place / "settings.toml").touch()
    with pytest.raises(RequestError, match="is at work"), locked(place), locked(place):
        pass
    assert (place / "settings.toml").exists()


def test_a_folder_that_stayed_empty_goes_again(tmp_path: Path) -> None:
    with locked(tmp_path / "a/run"):
        assert (tmp_path / "a/run").is_dir()
    assert not (tmp_path / "a/run").exists()
    (tmp_path / "mine").mkdir()
    with locked(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir()


def test_a_folder_that_cannot_be(tmp_path: Path, data: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(FileError, match="cannot be written"), locked(place):
            pass
    with pytest.raises(RequestError, match=r"file is a file; name a new folder"):
        run(tmp_path / "file", data, OPTIONS)
    assert (tmp_path / "file").read_text() == "mine"


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    names: dict[int, str] = {}
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(file: int) -> None:
        order.append(f"sync {names.get(file) or os.readlink(f'/proc/self/fd/{file}')}")
        real_fsync(file)

    def replace(source: Any, target: Any) -> None:
        order.append(f"rename {target}")
        real_replace(source, target)

    if not Path("/proc/self/fd").exists():
        pytest.skip("there is no /proc to name an open file by")
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(Path, "replace", replace)
    write(tmp_path / "result.json", "{}")
    assert order == [f"sync {order[0][5:]}", f"rename {tmp_path / 'result.json'}", f"sync {tmp_path}"]
    assert Path(order[0][5:]).name.startswith(".result.json.")
    order.clear()
    with written(tmp_path / "x") as beside:
        (beside / "sub").mkdir()
        (beside / "sub/a").write_text("a")
        seal(beside)
    at = order.index(f"rename {tmp_path / 'x'}")
    assert {Path(each[5:]).name for each in order[:at]} >= {"a", "sub", "SHA256SUMS"}
    assert order[at + 1 :] == [f"sync {tmp_path}"]
    assert intact(tmp_path / "x", "sub/", "") == tmp_path / "x/sub"


def test_an_interrupted_file_leaves_the_old_one(tmp_path: Path) -> None:
    write(tmp_path / "a", "old")
    with pytest.raises(FileError, match="cannot be written"):
        write(tmp_path / "a/b", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(KeyError), written(tmp_path / "folder"):
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

"""A run's folder: whole checkpoints by step, what is kept of them, and the settings that it goes on with."""

from pathlib import Path

import pytest
import torch

from limelight.errors import FileError, RequestError
from limelight.train.disk import SUMS, intact, seal
from limelight.train.run import Run, located, record, recorded
from limelight.train.settings import Settings


def checkpoint(run: Run, step: int, value: float) -> None:
    def model(place: Path) -> None:
        place.mkdir()
        (place / "config.json").write_text(str(step))

    tensors = {"weights/a": torch.full((2,), value), "weights/b": torch.ones(1, dtype=torch.bfloat16) * value}
    run.save(step, {**tensors, "step": torch.tensor(step)}, {"best": value}, model)


def test_checkpoints_are_known_by_their_steps_and_kept_by_name(tmp_path: Path) -> None:
    run = Run(tmp_path, Settings("generate"))
    assert run.checkpoints() == []
    for step, value in ((20, 2.0), (1_000_000, 5.0), (5, 1.0)):
        checkpoint(run, step, value)
    (tmp_path / "checkpoints" / "step-12345").mkdir()  # which no run writes
    for scrap in (tmp_path / "checkpoints" / ".step-000030-x", tmp_path / ".model-y"):
        scrap.mkdir()
        (scrap / "part").touch()
    assert [(step, path.name) for step, path in run.checkpoints()] == [
        (5, "step-000005"),
        (20, "step-000020"),
        (1_000_000, "step-1000000"),
    ]
    assert run.facts(20) == {"best": 2.0}
    assert (run.weights(5) / "config.json").read_text() == "5"
    assert dict(run.tensors(20, "weights/")).keys() == {"a", "b"}
    assert dict(run.tensors(20, "")).keys() == {"weights/a", "weights/b", "step"}
    mean = run.mean([5, 20, 1_000_000], "weights/")
    assert {name: (each.dtype, each.tolist()) for name, each in mean.items()} == {
        "a": (torch.float32, pytest.approx([8 / 3] * 2)),
        "b": (torch.float32, pytest.approx([8 / 3])),
    }
    run.keep([20, 7])
    assert [step for step, _ in run.checkpoints()] == [20]
    assert sorted(path.name for path in tmp_path.rglob(".*")) == []
    assert run.model == tmp_path / "model"


def test_a_damaged_checkpoint_is_named_with_its_cure(tmp_path: Path) -> None:
    run = Run(tmp_path, Settings("generate"))
    checkpoint(run, 5, 1.0)
    place = tmp_path / "checkpoints" / "step-000005"
    (place / "state.json").write_text("{}")
    with pytest.raises(
        FileError, match=r"state\.json is damaged: .*; delete .*step-000005 to go on from the checkpoint"
    ):
        run.facts(5)
    assert run.weights(5) == place / "model"
    (place / "model" / "config.json").unlink()
    with pytest.raises(FileError, match=r"config\.json cannot be read \(No such file"):
        run.weights(5)
    with pytest.raises(FileError, match=f"{SUMS} has no sum of other; do that"):
        intact(place, "other", "do that")
    (place / SUMS).write_bytes(b"\xff")
    with pytest.raises(FileError, match=f"{SUMS} is missing or damaged; do that"):
        intact(place, "", "do that")


def test_sums_are_of_all_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("b/c", "a"):
        (tmp_path / name).touch()
    seal(tmp_path)
    seal(tmp_path)  # its own sums are not among them
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (tmp_path / SUMS).read_text() == f"{empty}  a\n{empty}  b/c\n"


def test_a_folder_holds_a_run_or_nothing_else(tmp_path: Path) -> None:
    assert recorded(tmp_path / "none", {}) is None
    for name in ("data", ".lock", "tokenizer", "tokenizer-target", SUMS):
        (tmp_path / name).touch()
    assert recorded(tmp_path, {}) is None
    for name in ("d", "c", "b", "a"):
        (tmp_path / name).touch()
    with pytest.raises(RequestError, match=r"holds other things \(a, b, c\); name a new folder"):
        recorded(tmp_path, {})
    with pytest.raises(RequestError, match=f"{tmp_path / 'a'} is a file; name a new folder"):
        recorded(tmp_path / "a", {})


def test_a_run_goes_on_with_the_settings_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings("generate", model="gpt-modern-tiny", train=("x.txt",), lr=0.5)
    record(tmp_path, settings)
    assert recorded(tmp_path, {}) == settings
    assert recorded(tmp_path, {"lr": 0.5, "train": ("elsewhere.txt",), "model": "gpt-modern-tiny"}) == settings
    with pytest.raises(RequestError, match=r"was started with lr 0\.5, steps 0; to go on with it leave these options"):
        recorded(tmp_path, {"lr": 0.1, "steps": 7})
    with pytest.raises(RequestError, match=r"was started with valid \(\)"):
        recorded(tmp_path, {"valid": ("y.txt",)})
    (tmp_path / "settings.toml").write_text("")
    with pytest.raises(FileError, match=r"settings\.toml is damaged: .*; name a new folder"):
        recorded(tmp_path, {})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt-modern-tiny").mkdir()
    assert located("gpt-modern-tiny") == "gpt-modern-tiny"  # the preset, whatever lies here
    assert located("settings.toml") == str((tmp_path / "settings.toml").resolve())
    assert located("org/name") == "org/name"
    assert located("~") == str(Path.home().resolve())

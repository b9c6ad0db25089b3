"""A run that is killed goes on to the same weights, bit for bit; a full disk leaves the last checkpoint whole."""

import errno
import json
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from run_tiny import run, start
from safetensors.torch import load_file
from small_models import letters

from limelight.checkpoints.open import open_checkpoint
from limelight.errors import FileError, RequestError
from limelight.train import loop
from limelight.train import run as module
from limelight.train.report import Events, lines

OPTIONS: dict[str, Any] = {
    "model": "transformer2017-tiny",
    "tokenizer": "word",
    "batch_tokens": 128,
    "accumulate": 2,
    "steps": 33,
    "every": 6,
    "dropout": 0.2,
    "average": 2,
    "keep": 2,
    "threads": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return letters(tmp_path_factory.mktemp("data") / "pairs.tsv", 300, turned=True)


def newest(folder: Path) -> str:
    """The last whole checkpoint."""
    return max((path.name for path in folder.glob("checkpoints/step-*")), default="")


def outcome(folder: Path) -> dict[str, Any]:
    """Every bit that a run ends with."""
    last = sorted((folder / "checkpoints").iterdir())[-1]
    return {
        "state": {name: t.numpy().tobytes() for name, t in load_file(last / "state.safetensors").items()},
        "facts": json.loads((last / "state.json").read_text()),
        "model": (folder / "model/model.safetensors").read_bytes(),
        "result": (folder / "result.json").read_text(),
        "losses": [(e["step"], e.get("loss"), e.get("valid_loss")) for e in lines(folder / "log.jsonl")],
        "checkpoints": sorted(path.name for path in (folder / "checkpoints").iterdir()),
    }


@pytest.mark.parametrize(("ema", "optimizer"), [(0.0, "muon"), (0.9, "adamw")])
def test_killed_at_any_moment(tmp_path: Path, data: Path, ema: float, optimizer: str) -> None:
    options = OPTIONS | {"ema": ema, "optimizer": optimizer}
    run(tmp_path / "whole", data, options)
    draw, folder, kills = random.Random(1), tmp_path / "killed", 0
    while not (folder / "result.json").exists() and kills < 40:
        before = newest(folder)
        process = start(folder, data, options)
        while process.is_alive() and newest(folder) == before:  # each process comes a checkpoint further
            time.sleep(0.002)
        process.join(draw.random() * 0.15)
        kills += process.is_alive()
        process.kill()
        process.join()
    assert kills >= 3
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


def test_nothing_stays_of_a_run_that_was_killed_at_its_last_checkpoint(tmp_path: Path, data: Path) -> None:
    options = OPTIONS | {"steps": 12, "model": "gpt"}
    folder = tmp_path / "run"
    run(folder, data, options)
    checkpoints = folder / "checkpoints"
    kept = sorted(path.name for path in checkpoints.iterdir())
    # As if it had ended before the others were deleted, and while the model was written.
    shutil.copytree(checkpoints / kept[0], checkpoints / "step-000001")
    for scrap in (checkpoints / ".step-000002-old", folder / ".model-ab12"):
        (scrap / "model").mkdir(parents=True)
    (folder / "result.json").unlink()
    run(folder, data, options)
    assert sorted(path.name for path in checkpoints.iterdir()) == kept
    assert not [*folder.glob(".model-*")]


def test_the_model_opens_and_a_finished_run_stays(tmp_path: Path, data: Path) -> None:
    options = OPTIONS | {"steps": 12, "model": "gpt"}
    result = run(tmp_path / "run", data, options)
    opened = open_checkpoint(result.model)
    assert opened.tokenizer.decode(opened.tokenizer.encode("a b c").ids) == "a b c"
    stamp = (tmp_path / "run/result.json").stat().st_mtime_ns
    assert run(tmp_path / "run", data, options) == result
    assert (tmp_path / "run/result.json").stat().st_mtime_ns == stamp
    assert 'model = "gpt"' in (tmp_path / "run/settings.toml").read_text()


def test_other_options_or_data_are_refused(tmp_path: Path, data: Path) -> None:
    mine = letters(tmp_path / "pairs.tsv", 50, turned=False)
    options = OPTIONS | {"steps": 6, "model": "gpt"}
    run(tmp_path / "run", mine, options)
    with pytest.raises(RequestError, match=r"was started with lr 0\.004; to go on with it leave"):
        run(tmp_path / "run", mine, options | {"lr": 0.5})
    letters(mine, 51, turned=False)
    with pytest.raises(RequestError, match=r"pairs\.tsv changed since the run"):
        run(tmp_path / "run", mine, options)
    letters(mine, 50, turned=False)
    judges = letters(tmp_path / "judges.tsv", 50, turned=False)
    run(tmp_path / "judged", mine, options | {"valid": [str(judges)], "steps": 1})
    letters(judges, 51, turned=False)
    with pytest.raises(RequestError, match=r"judges\.tsv changed since the run"):
        run(tmp_path / "judged", mine, options | {"valid": [str(judges)], "steps": 1})
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.doc").write_text("precious")
    with pytest.raises(RequestError, match=r"holds other things \(thesis\.doc\)"):
        run(tmp_path / "other", data, options)


def test_a_full_disk(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = OPTIONS | {"model": "gpt", "steps": 18}
    run(tmp_path / "whole", data, options)
    kept = module.save_file
    calls = []

    def full(*given: Any) -> None:
        calls.append(given)
        if len(calls) == 2:
            Path(given[1]).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        kept(*given)

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(FileError, match=r"step-000012 cannot be written \(No space left on device\).*start the same"):
        run(tmp_path / "full", data, options)
    assert [path.name for path in (tmp_path / "full/checkpoints").iterdir()] == ["step-000006"]
    begun: list[int] = []
    monkeypatch.setattr(loop, "Events", lambda folder, step: begun.append(step) or Events(folder, step))
    run(tmp_path / "full", data, options)
    assert begun == [6]
    assert outcome(tmp_path / "full") == outcome(tmp_path / "whole")


def test_a_real_limit_of_the_system(tmp_path: Path, data: Path) -> None:
    options = OPTIONS | {"model": "gpt", "steps": 6}
    process = start(tmp_path / "run", data, options, limit=20_000)
    process.join(60)
    assert process.exitcode == 1
    message = (tmp_path / "refusal").read_text()
    assert message.startswith("FileError:")
    assert "cannot be written" in message
    assert not list(tmp_path.glob("run/checkpoints/*"))


def test_a_loss_that_is_no_number(tmp_path: Path, data: Path) -> None:
    with pytest.raises(RequestError, match="the loss is no longer a number at step"):
        run(tmp_path / "run", data, OPTIONS | {"model": "gpt", "lr": 1e30, "warmup": 1, "clip": 0.0})


def test_patience_stops_and_the_best_is_kept(tmp_path: Path, data: Path) -> None:
    options = OPTIONS | {"model": "gpt", "lr": 1.0, "warmup": 1, "steps": 300, "patience": 2, "average": 1}
    result = run(tmp_path / "run", data, options)
    losses = {e["step"]: e["valid_loss"] for e in lines(tmp_path / "run/log.jsonl") if "valid_loss" in e}
    best = min(losses, key=lambda step: losses[step])
    assert result.steps == best + 2 * 6 < 300
    assert result.loss == losses[best]
    assert (tmp_path / f"run/checkpoints/step-{best:06d}").is_dir()

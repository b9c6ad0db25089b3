"""Logs go on where a checkpoint left off; a curve and TensorBoard events are drawn where the packages are."""

import struct
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from limelight.errors import FileError
from limelight.train.report import Events, Log, curve, lines


def test_a_log_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a/log.jsonl"
    log = Log(path, 0)
    for step in (10, 20, 30):
        log.write({"step": step, "loss": step / 10})
    with path.open("ab") as file:
        file.write(b'[1]\n{"loss": 1}\n{"step": "1"}\n')  # lines of something else
        file.write('{"step": 40, "text": "é'.encode()[:-1])  # the process was killed here, within a letter
    again = Log(path, 20)
    again.write({"step": 30, "loss": 7.0})
    assert [(line["step"], line["loss"]) for line in lines(path)] == [(10, 1.0), (20, 2.0), (30, 7.0)]
    assert lines(tmp_path / "none.jsonl") == []


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
@pytest.mark.filterwarnings("ignore")
def test_a_curve_is_drawn(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl", 0)
    for step in range(1, 30):
        log.write({"step": step, "loss": 1 / step} if step % 10 else {"step": step, "valid_loss": 2 / step})
    curve(log.path, tmp_path / "curve.png")
    head = (tmp_path / "curve.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (840, 480)


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("ignore")
def test_events_are_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = Events(tmp_path / "events", 0)
    events.write({"step": 3, "loss": 0.5, "bleu": None})
    events.write({"step": 6, "loss": 0.25})
    events.close()
    read = EventAccumulator(str(tmp_path / "events"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(3, 0.5), (6, 0.25)]


def test_events_go_on_behind_the_checkpoint_and_end_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Any, ...]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            told.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            if step > 5:
                raise OSError(28, "No space left on device")
            told.append((name, value, step))

        def close(self) -> None:
            told.append(("closed",))

    monkeypatch.setattr("limelight.train.report.find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    events = Events(tmp_path / "events", 4)
    events.write({"step": 5, "loss": 0.5, "tokens": 3, "bleu": None, "note": "text"})
    with pytest.raises(FileError, match=r"events.* cannot be written \(No space left on device\)"):
        events.write({"step": 6, "loss": 0.25})
    events.close()
    assert told == [(str(tmp_path / "events"), 5), ("loss", 0.5, 5), ("tokens", 3, 5), ("closed",)]


def test_without_the_packages_nothing_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("limelight.train.report.find_spec", lambda name: None)
    log = Log(tmp_path / "log.jsonl", 0)
    log.write({"step": 1, "loss": 1.0})
    curve(log.path, tmp_path / "curve.png")
    events = Events(tmp_path / "events", 0)
    events.write({"step": 1, "loss": 1.0})
    events.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl"]


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_a_curve_shows_both_losses_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

    drawn: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure.axes[0]))
    log = Log(tmp_path / "log.jsonl", 0)
    for values in ({"step": 1, "loss": 3.0}, {"step": 2, "valid_loss": 2.5}, {"step": 3, "loss": 2.0}):
        log.write(values)
    curve(log.path, tmp_path / "curve.png")
    (axes,) = drawn
    assert [(line.get_label(), line.get_xydata().tolist()) for line in axes.lines] == [
        ("training", [[1, 3.0], [3, 2.0]]),
        ("validation", [[2, 2.5]]),
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "loss (nats a token)")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training", "validation"]

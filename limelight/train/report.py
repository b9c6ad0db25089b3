"""What a run tells: lines of JSON, a curve, TensorBoard events."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

from limelight.train.disk import unwritten, write


@dataclass(frozen=True)
class Progress:
    """How far a run is. loss: nats a token, lately. best: of all evaluations. left: seconds to the end."""

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    left: float
    best: float | None


@final
class Log:
    """A file with one JSON object a line, each with its step."""

    def __init__(self, path: Path, step: int) -> None:
        """Goes on behind `step`; what a killed run wrote after its last checkpoint is taken out."""
        self.path = path
        kept = [line for line in lines(path) if line["step"] <= step]
        write(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))

    def write(self, values: Mapping[str, Any]) -> None:
        """Adds a line. Raises FileError if the disk is full."""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(values, ensure_ascii=False) + "\n")
        except OSError as error:
            raise unwritten(self.path, error) from None


def lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; one that a killed process left half-written is passed over."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and isinstance(values.get("step"), int):
            found.append(values)
    return found


def curve(log: Path, picture: Path) -> None:
    """Draws the losses of a log as a PNG, where matplotlib is installed. Raises FileError if the disk is full."""
    if find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

    entries = lines(log)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, label in (("loss", "training"), ("valid_loss", "validation")):
        points = [(entry["step"], entry[name]) for entry in entries if entry.get(name) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), label=label)
    axes.set(xlabel="step", ylabel="loss (nats a token)")
    axes.legend()
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=120, format="png")
    write(picture, drawn.getvalue())


@final
class Events:
    """TensorBoard's events, where tensorboard is installed."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder = folder
        self.writer: Any = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            with self._told():
                self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, values: Mapping[str, Any]) -> None:
        """Adds each number under its name. Raises FileError if the disk is full."""
        numbers = {name: value for name, value in values.items() if name != "step" and isinstance(value, int | float)}
        with self._told():
            for name, value in numbers.items() if self.writer is not None else ():
                self.writer.add_scalar(name, value, values["step"])

    def close(self) -> None:
        """Writes what is held. Raises FileError if the disk is full."""
        if self.writer is not None:
            with self._told():
                self.writer.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise unwritten(self.folder, error) from None

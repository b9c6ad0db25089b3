"""A training and those that it stands on: what each of them logged."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limelight.errors import FileError, RequestError
from limelight.train.settings import Settings, from_toml

CONVERSE = ("assistant", "prefer")
"""The tasks that a report is of."""


@dataclass(frozen=True)
class Stage:
    """A run. log: what it wrote while it learned, line by line."""

    folder: Path
    settings: Settings
    log: tuple[dict[str, Any], ...]

    def values(self, name: str) -> list[tuple[int, float]]:
        """What was logged under a name, with its steps."""
        return [(int(each["step"]), float(each[name])) for each in self.log if each.get(name) is not None]


def first(found: list[Stage]) -> str:
    """The model as it was before it learned to converse."""
    return next(stage.settings.model for stage in found if stage.settings.task in CONVERSE)


def stages(folder: Path) -> list[Stage]:
    """The run in a folder and, in front of it, those whose models it began with. Raises RequestError for a folder that
    holds none, or one of an encoder or a translator."""
    found: list[Stage] = []
    place: Path | None = folder
    while place is not None:
        settings = Settings(**from_toml(place / "settings.toml"))
        found.insert(0, Stage(place, settings, _log(place / "log.jsonl")))
        before = Path(settings.model)
        place = next((each for each in (before, before.parent) if (each / "settings.toml").is_file()), None)
        if place is not None and place in [stage.folder for stage in found]:
            break
    task = found[-1].settings.task
    if task not in CONVERSE:
        raise RequestError(f"{folder} has learned to {task}; a report is of an assistant, or of what prefers")
    return found


def _log(path: Path) -> tuple[dict[str, Any], ...]:
    try:
        return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read ({error}); train on, and it is there") from None

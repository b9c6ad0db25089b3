"""What a task brings to a training: data, a network, what it learns from, and how good it is. One subclass a task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limelight.models.api import Network
from limelight.train.batches import Corpus
from limelight.train.loop import Hooks
from limelight.train.loss import Learning
from limelight.train.parallel import World
from limelight.train.run import Run, recorded
from limelight.train.settings import Settings


@dataclass(frozen=True)
class Ready:
    """All that the loop needs. network: built, its weights in place. said: what was found in the data, for people."""

    run: Run
    network: Network
    training: Corpus
    validation: Corpus
    hooks: Hooks
    objective: Learning
    said: tuple[str, ...] = ()


class Task(ABC):
    """One training of one task."""

    @abstractmethod
    def __init__(self, given: Mapping[str, Any], before: Settings | None) -> None:
        """given: the options that were asked for. before: the settings of the run that goes on, if one does.

        Raises a LimelightError for a model or options that do not fit the task, before any data is read.
        """

    @abstractmethod
    def ready(self, folder: Path, world: World) -> Ready:
        """Reads and checks all data and makes the network; in every process, process 0 writing.

        Raises a LimelightError for data that makes no sense.
        """


def prepared(prepare: Callable[[Path], None], folder: Path, given: Mapping[str, Any], world: World) -> Settings:
    """The settings of the run in a folder, which process 0 prepares while the others wait."""
    if world.main:
        prepare(folder)
    world.wait()
    settings = recorded(folder, given)
    assert settings is not None
    return settings

"""A training, from the user's options to a model that opens."""

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limelight.checkpoints.open import usable_device
from limelight.errors import LimelightError, RequestError
from limelight.given import callback, mapping, path
from limelight.tasks.training import TASKS
from limelight.tasks.training.task import Ready
from limelight.train.disk import locked
from limelight.train.loop import Result, pace, train
from limelight.train.parallel import World, world
from limelight.train.report import Progress
from limelight.train.run import Run, record, recorded
from limelight.train.settings import Settings, asked

STEPPING = 0.9
"""The share of `minutes` for steps; the rest is for evaluations and checkpoints."""


@dataclass(frozen=True)
class Begun:
    """What is about to be trained: every option, how many weights learn, examples, and what was found in the data."""

    settings: Settings
    parameters: int
    examples: int
    said: tuple[str, ...] = ()


def learn(
    options: Mapping[str, Any],
    folder: str | Path,
    *,
    begun: Callable[[Begun], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Trains a model on the user's own text, or goes on with the training that `folder` holds, to its end.

    options: by the names of `Settings`; "task" and "train" are needed, all else is chosen from the data. "model" is a
    preset or a checkpoint to go on from. begun, progress: told before the first step and about once a second, in
    process 0 alone. Raises a LimelightError for data or options that make no sense, before any training.
    """
    folder = path("folder", folder)
    callback("begun", begun)
    callback("progress", progress)
    given = asked(mapping("options", options, "values by the names of options"), "options")
    before = recorded(folder, given)
    name = before.task if before else given.get("task")
    if name is None:
        raise RequestError(f"a training needs a task, one of {', '.join(TASKS)}, and files to learn from")
    if before is None:
        _check(given)
    task = TASKS[name](given, before)
    device = before.device if before else given.get("device", "cpu")
    with world(device) as processes, locked(folder) if processes.main else nullcontext():
        fresh = not (folder / "settings.toml").exists()
        try:
            ready = task.ready(folder, processes)
        except LimelightError:
            if fresh and processes.main:
                (folder / "settings.toml").unlink(missing_ok=True)  # nothing has begun: other options may be tried
            raise
        if ready.run.settings.minutes and not ready.run.checkpoints():
            ready = replace(ready, run=_timed(ready, given, processes))
        if begun is not None and processes.main:
            learning = sum(p.numel() for p in ready.network.parameters() if p.requires_grad)
            begun(Begun(ready.run.settings, learning, len(ready.training), ready.said))
        hooks = replace(ready.hooks, progress=progress)
        return train(ready.network, ready.training, ready.validation, ready.run, processes, hooks, ready.objective)


def _timed(ready: Ready, given: Mapping[str, Any], world: World) -> Run:
    """The run with as many steps as its minutes allow, as fast as a few are here; warm-up and evaluations that were not
    asked for go with them."""
    settings, folder = ready.run.settings, ready.run.folder
    seconds = pace(ready.network, ready.training, settings, world, ready.objective)
    steps = max(1, int(60 * settings.minutes * STEPPING / seconds))
    share = steps / settings.steps
    along = {name: max(1, round(getattr(settings, name) * share)) for name in ("warmup", "every") if name not in given}
    settings = replace(settings, steps=steps, epochs=round(settings.epochs * share, 4), **along)
    if world.main:
        record(folder, settings)
    world.wait()
    return Run(folder, settings)


def _check(given: Mapping[str, Any]) -> None:
    """Raises RequestError for options that cannot be obeyed, whatever is learned."""
    if usable_device(given.get("device", "cpu")).type == "meta":
        raise RequestError("nothing is computed on the device 'meta'; use cpu, cuda or mps")
    if given.get("shard") and os.environ.get("WORLD_SIZE", "1") == "1":
        raise RequestError("shard divides a model among several processes; start them with torchrun, or leave it out")

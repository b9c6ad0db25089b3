"""The training loop.

A step is a pure function of the weights, the optimiser's state and the step's number: which examples it reads follows
from its `Position`, its dropout from a seed of its own. So a run that was killed goes on from its last checkpoint to
the same weights, bit for bit on a CPU with the same number of threads.
"""

import copy
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from limelight.errors import FileError, RequestError
from limelight.models.api import Network
from limelight.train.batches import IGNORE, Batch, Batches, Corpus, Position
from limelight.train.disk import write, written
from limelight.train.heap import kept
from limelight.train.loss import Learning, predicting
from limelight.train.parallel import World
from limelight.train.report import Events, Log, Progress, curve
from limelight.train.run import Run
from limelight.train.schedule import rate
from limelight.train.settings import Settings
from limelight.train.tokenfile import Ints
from limelight.train.trainee import Trainee

LOGGED = 10  # steps between two lines of the log
TOLD = 1.0  # seconds between two calls of `progress`
PACED = 8  # steps that tell how fast the others will be, behind two that are slower


@dataclass(frozen=True)
class State:
    """Where a run is. best: the lowest value watched so far (of a score, its negative); since: evaluations after it."""

    step: int = 0
    position: Position = field(default_factory=Position)
    best: float | None = None
    best_step: int = 0
    since: int = 0


@dataclass(frozen=True)
class Hooks:
    """What a caller adds to a run; each is called in process 0 alone.

    save: writes a network as a folder. measures: how good a network is, by names for the log; of the one that is called
    `metric` more is better, and it can be watched. samples: some outputs of a network, for people to read. progress: is
    told about once a second.
    """

    save: Callable[[Network, Path], None]
    measures: Callable[[Network], Mapping[str, float]] | None = None
    samples: Callable[[Network], Sequence[str]] | None = None
    progress: Callable[[Progress], None] | None = None
    metric: str = "bleu"


@dataclass(frozen=True)
class Result:
    """A finished run: its steps, and the validation loss (nats a target) and score of `model`, the folder to open.
    metric: what the score is."""

    steps: int
    loss: float
    score: float | None
    model: Path
    metric: str = "bleu"


def train(
    network: Network,
    training: Corpus,
    validation: Corpus,
    run: Run,
    world: World,
    hooks: Hooks,
    objective: Learning = predicting,
) -> Result:
    """Trains `network` as the run's settings say, from where its folder left off, and writes the best weights.

    network: built and initialised, the same in all processes. objective: what it learns from.
    Of the mean of the last checkpoints (`average`) and the best single one, the better is the result. Raises FileError
    if the disk is full, RequestError for settings that do not go together or a loss that is no number.
    """
    settings = run.settings
    if settings.watch == "bleu" and hooks.measures is None:
        raise RequestError('watch = "bleu" needs translations to score; watch the loss instead')
    if settings.watch not in {"loss", hooks.metric}:
        raise RequestError(
            f'watch = "{settings.watch}" is not what this model is scored by; watch {hooks.metric} or loss'
        )
    if (done := _finished(run)) is not None:
        return replace(done, metric=hooks.metric)
    torch.set_num_threads(settings.threads)
    loop = _Loop(Trainee(network, settings, world, objective), training, validation, run, world, hooks)
    with kept():
        loop.learn()
    return loop.finish()


def pace(
    network: Network, training: Corpus, settings: Settings, world: World, objective: Learning = predicting
) -> float:
    """Seconds that a step takes here: the mean of a few on a copy of `network`, which stays as it is."""
    torch.set_num_threads(settings.threads)
    trainee = Trainee(copy.deepcopy(network), settings, world, objective)
    batches = Batches(training, settings.batch_tokens, settings.seed).after(Position())
    began = 0.0
    with kept():
        for number in range(-1, PACED + 1):
            began = time.perf_counter() if number == 1 else began
            _, indices = next(batches)
            parts = _shares(training, indices, 0, settings.accumulate, world)
            _, norm = trainee.step(parts, int(training.lengths(indices)[1].sum()), settings.lr, number + 2)
            float(norm)  # an accelerator is waited for
    return world.from_main((time.perf_counter() - began) / PACED)


@final
class _Loop:
    def __init__(
        self, trainee: Trainee, training: Corpus, validation: Corpus, run: Run, world: World, hooks: Hooks
    ) -> None:
        self.trainee, self.training, self.validation = trainee, training, validation
        self.run, self.settings, self.world, self.hooks = run, run.settings, world, hooks
        self.state = self._resumed()
        self.loss = math.nan  # of the last logged steps
        if world.main:
            self.log = Log(run.folder / "log.jsonl", self.state.step)
            self.samples = Log(run.folder / "samples.jsonl", self.state.step)
            self.events = Events(run.folder / "events", self.state.step)

    def learn(self) -> None:
        """Steps, until there are enough of them or nothing gets better."""
        settings = self.settings
        batches = Batches(self.training, settings.batch_tokens, settings.seed).after(self.state.position)
        watch = _Watch(self.state.step, settings.steps)
        sums, seen = torch.zeros(2, device=self.world.device), 0
        while self.state.step < settings.steps and not self._stale():
            step = self.state.step + 1
            position, indices = next(batches)
            predicted = int(self.training.lengths(indices)[1].sum())
            torch.manual_seed(_seed(settings.seed, step, self.world.rank))
            parts = _shares(self.training, indices, position.epoch, settings.accumulate, self.world)
            losses, norm = self.trainee.step(parts, predicted, self._rate(step), step)
            self.state = replace(self.state, step=step, position=position)
            sums += losses
            seen += predicted
            evaluate = step % settings.every == 0 or step == settings.steps
            if evaluate or step % LOGGED == 0:
                self._log(self.world.sum(sums) / seen, float(norm), watch.speed(seen))
                sums, seen = torch.zeros_like(sums), 0
            if evaluate:
                self._evaluate()
                watch.skip()
            if self.hooks.progress and self.world.main and watch.due(step):
                best = None if self.state.best is None else abs(self.state.best)
                told = Progress(step, settings.steps, self.loss, watch.tokens_per_second, watch.left(step), best)
                self.hooks.progress(told)

    def finish(self) -> Result:
        """Writes the better of the mean of the last checkpoints and the best one."""
        run, settings = self.run, self.settings
        steps = [step for step, _ in run.checkpoints()][-settings.average :]
        best = run.facts(self.state.best_step)
        loss, score, mean = best["loss"], best["score"], False
        if len(steps) > 1 and not settings.ema:
            self.trainee.put(run.mean(steps, "weights/"))
            averaged, measures = self._measured()
            other = measures.get(self.hooks.metric)
            mean = self._watched(averaged, other) < self._watched(loss, score)
            loss, score = (averaged, other) if mean else (loss, score)
        result = Result(self.state.step, loss, score, run.model, self.hooks.metric)
        with self.trainee.asked() as network:
            if network is not None:
                self._tidy()  # what was killed at its last checkpoint did not get so far
                with written(run.model) as beside:
                    beside.rmdir()
                    if mean:
                        self.hooks.save(network, beside)
                    else:
                        shutil.copytree(run.weights(self.state.best_step), beside)
                facts = {"steps": result.steps, "loss": loss, "score": score, "mean_of": steps if mean else None}
                write(run.folder / "result.json", json.dumps(facts) + "\n")
                self.events.close()
        self.world.wait()
        return result

    def _evaluate(self) -> None:
        """Measures the weights for use, remembers whether they are the best so far, and writes a checkpoint."""
        state = self.trainee.state()
        with self.trainee.averaged():
            loss, measures = self._measured()
            score = measures.get(self.hooks.metric)
            value, best = self._watched(loss, score), self.state.best
            if best is None or value < best:
                self.state = replace(self.state, best=value, best_step=self.state.step, since=0)
            else:
                self.state = replace(self.state, since=self.state.since + 1)
            facts = asdict(self.state) | {"loss": loss, "score": score, "torch": torch.__version__}
            facts["frozen"] = self.trainee.frozen
            with self.trainee.asked() as network:
                if network is not None:
                    self._report(network, {"valid_loss": loss, **measures})
                    self.run.save(self.state.step, state, facts, lambda place: self.hooks.save(network, place))
                    self._tidy()
        self.world.wait()

    def _tidy(self) -> None:
        """Leaves the best checkpoint and the last ones."""
        last = [step for step, _ in self.run.checkpoints()]
        self.run.keep([self.state.best_step, *last[-max(self.settings.keep, self.settings.average) :]])

    def _measured(self) -> tuple[float, dict[str, float]]:
        """Validation loss (nats a target), and the hooks' measures; outside process 0 of these only the metric."""
        shares, tokens = [], 0
        for indices in Batches(self.validation, self.settings.batch_tokens, 0).epoch():
            tokens += int(self.validation.lengths(indices)[1].sum())
            shares.append(indices)
        parts = (part for indices in shares for part in _shares(self.validation, indices, 0, 1, self.world))
        loss = self.trainee.loss(parts)
        mean = float(self.world.sum(loss)) / tokens
        if self.hooks.measures is None:
            return mean, {}
        with self.trainee.asked() as network:
            measures = {} if network is None else dict(self.hooks.measures(network))
        metric = self.hooks.metric
        return mean, measures | {metric: self.world.from_main(measures.get(metric, 0.0))}

    def _watched(self, loss: float, score: float | None) -> float:
        return loss if self.settings.watch == "loss" or score is None else -score

    def _log(self, means: Tensor, norm: float, speed: float) -> None:
        step = self.state.step
        smoothed, self.loss = means.tolist()
        if not math.isfinite(smoothed) or not math.isfinite(norm):
            raise RequestError(
                f"the loss is no longer a number at step {step}; start again in a new folder with a lower lr than"
                f" {self.settings.lr:g} or a longer warmup"
            )
        if self.world.main:
            entry = {"step": step, "loss": self.loss, "smoothed_loss": smoothed, "lr": self._rate(step), "norm": norm}
            self._tell(entry | {"tokens_per_second": speed})

    def _report(self, network: Network, measures: Mapping[str, float]) -> None:
        self._tell({"step": self.state.step, **measures})
        if self.hooks.samples is not None:
            self.samples.write({"step": self.state.step, "texts": list(self.hooks.samples(network))})
        curve(self.log.path, self.run.folder / "curve.png")

    def _tell(self, entry: dict[str, Any]) -> None:
        self.events.write(entry)
        self.log.write(entry | {"time": time.time()})

    def _rate(self, step: int) -> float:
        s = self.settings
        return rate(s.schedule, step, s.steps, s.warmup, s.lr, s.floor)

    def _stale(self) -> bool:
        return 0 < self.settings.patience <= self.state.since

    def _resumed(self) -> State:
        """The state of the last checkpoint, with its tensors in place, or the beginning."""
        found = self.run.checkpoints()
        if not found:
            return State()
        step, path = found[-1]
        facts = self.run.facts(step)
        if facts.get("frozen", "") != self.trainee.frozen:
            raise FileError(
                f"the model {self.settings.model} is not the one that the run in {self.run.folder} began with; bring"
                " that one back, or name a new folder"
            )
        try:
            state = State(step, Position(**facts["position"]), facts["best"], facts["best_step"], facts["since"])
            if not Batches(self.training, self.settings.batch_tokens, self.settings.seed).has(state.position):
                raise ValueError(f"there is no {state.position} in the text")
            self.trainee.load(self.run.tensors(step, ""))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise FileError(f"{path} is of another model or run ({error}); name a new folder") from None
        self.run.weights(state.best_step)  # or its damage would be found when all is done
        return state


def _shares(corpus: Corpus, indices: Ints, epoch: int, count: int, world: World) -> Iterator[Batch]:
    """This process's `count` parts of a batch; a part that gets no example computes one that asks for nothing."""
    for i in range(count):
        share = indices[world.rank * count + i :: world.size * count]
        batch = corpus.batch(share if len(share) else indices[:1], epoch)
        if not len(share):
            batch = replace(batch, targets=torch.full_like(batch.targets, IGNORE))
        yield batch.to(world.device)


def _finished(run: Run) -> Result | None:
    """What a run that is through has written; None if it has not, or lost its model since."""
    path = run.folder / "result.json"
    if not path.exists() or not run.model.is_dir():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Result(int(facts["steps"]), float(facts["loss"]), facts["score"], run.model)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path} is damaged ({error}); delete it, and the same command writes it anew") from None


class _Watch:
    """Measures speed and time left; evaluations count towards the time left, not towards the speed."""

    def __init__(self, first: int, steps: int) -> None:
        self.first, self.steps = first, steps
        self.began = self.mark = self.told = time.perf_counter()
        self.tokens_per_second = math.nan

    def speed(self, tokens: int) -> float:
        """Tokens a second since the last call or `skip`."""
        now = time.perf_counter()
        self.tokens_per_second, self.mark = tokens / max(now - self.mark, 1e-9), now
        return self.tokens_per_second

    def skip(self) -> None:
        """What came since the last call of `speed` was no training."""
        self.mark = time.perf_counter()

    def left(self, step: int) -> float:
        """Seconds to the end."""
        return (time.perf_counter() - self.began) / (step - self.first) * (self.steps - step)

    def due(self, step: int) -> bool:
        """Whether it is time to tell again."""
        now = time.perf_counter()
        if now - self.told < TOLD and step < self.steps:
            return False
        self.told = now
        return True


def _seed(*parts: int) -> int:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "little")

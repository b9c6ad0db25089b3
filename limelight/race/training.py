"""One training of a contender: by so many steps, or by so many seconds."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from limelight.models import config as c
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.presets import with_dropout
from limelight.nn.unit import CausalConv
from limelight.race.problems import Problem, Test, tests
from limelight.train.batches import IGNORE
from limelight.train.parallel import World
from limelight.train.schedule import rate as scheduled
from limelight.train.settings import Settings
from limelight.train.trainee import Trainee

RATES = (1e-3, 3e-3, 1e-2, 3e-2)
"""The rates that are tried for each contender on each problem."""

POINTS = 12
"""How often the loss is taken on the way."""

LAST = 0.1
"""The rate at the end as a share of the highest."""


@dataclass(frozen=True)
class Point:
    """How far a training was: tokens read, seconds of training (no tests), loss on the first test in nats."""

    step: int
    tokens: int
    seconds: float
    loss: float


@dataclass
class Run:
    """A training that is done. right: share of right answers by test, in their order; None for text. kept: numbers
    that the network keeps of a text of each test."""

    contender: str
    problem: str
    by: str
    rate: float
    seed: int
    steps: int
    parameters: int
    curve: list[Point] = field(default_factory=list)
    right: list[float] | None = None
    kept: list[int] = field(default_factory=list)
    dropout: float = 0.0

    @property
    def loss(self) -> float:
        """At the end."""
        return self.curve[-1].loss


Passed = Callable[[float], None]
"""Told the seconds that went by, after each step."""


def clock() -> float:
    """Seconds, to take differences of: of the processor where one thread computes, so that what else the machine does
    takes no part, and else of the clock on the wall."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def new(config: c.ModelConfig, seed: int, conv: int = 0) -> Decoder:
    """The contender's network, its weights drawn from the seed. conv: see `Problem`; one that has it reads whole texts
    alone."""
    network = build(config)
    assert isinstance(network, Decoder)
    generator = torch.Generator().manual_seed(seed)
    initialise(network, generator)
    if conv:
        short = CausalConv(config.width, conv, bias=False)
        with torch.no_grad():
            short.weight.uniform_(-(conv**-0.5), conv**-0.5, generator=generator)
        network.short = short

        def mixed(module: Any, given: Any, x: Tensor) -> Tensor:
            return x + short.read(x, x.new_zeros(len(x), conv - 1, x.shape[2]), None)[0]

        network.embed.register_forward_hook(mixed)
    return network


def pace(config: c.ModelConfig, problem: Problem) -> float:
    """Seconds that a step of training takes: the median of a few."""
    trainee = _trainee(new(config, 0, problem.conv))
    generator = torch.Generator().manual_seed(0)
    took = []
    for number in range(1, 9):
        begun = clock()
        _step(trainee, problem, generator, 1e-4, number, 1.0)
        took.append(clock() - begun)
    return sorted(took[2:])[len(took[2:]) // 2]


def train(
    config: c.ModelConfig,
    problem: Problem,
    run: dict[str, Any],
    *,
    steps: int,
    seconds: float = math.inf,
    tested: bool = True,
    passed: Passed = lambda seconds: None,
) -> tuple[Run, Decoder]:
    """Trains a new network, AdamW with warm-up and half a cosine, to `steps` steps or for `seconds`, what comes first.

    run: contender, problem, by, rate, seed and dropout, as `Run` has them. By seconds the rate falls with the time
    that is left. tested: whether it is put to all tests in the end; a trial is judged by its loss alone.
    """
    network = new(with_dropout(config, run.get("dropout", 0.0)), run["seed"], problem.conv)
    torch.manual_seed(run["seed"])  # what dropout draws
    trainee = _trainee(network)
    generator = torch.Generator().manual_seed(run["seed"])
    measures = tests(problem)
    curve: list[Point] = []
    spent, tokens, number = 0.0, 0, 0
    while number < steps and spent < seconds:
        number += 1
        done = max(number / steps, spent / seconds)
        rate = scheduled("cosine", max(1, round(done * 1000)), 1000, 100, run["rate"], LAST)
        begun = clock()
        tokens += _step(trainee, problem, generator, rate, number, done)
        took = clock() - begun
        spent += took
        passed(took)
        ends = number == steps or spent >= seconds
        if ends or max(number / steps, spent / seconds) >= (len(curve) + 1) / POINTS:
            curve.append(Point(number, tokens, spent, _loss(network, measures[0])))
    parameters = sum(p.numel() for p in network.parameters())
    kept = [sum(part.nbytes for part in network.start(1, test.batch.tokens.shape[1]).parts) // 4 for test in measures]
    done_run = Run(**run, steps=number, parameters=parameters, curve=curve, kept=kept)
    if tested and problem.chance is not None:
        done_run.right = [_right(network, test) for test in measures]
    return done_run, network.eval()


def _trainee(network: Decoder) -> Trainee:
    settings = Settings("generate", optimizer="adamw", precision="float32", smoothing=0.0, dropout=0.0)
    return Trainee(network, settings, World(0, 1, torch.device("cpu")))


def _step(trainee: Trainee, problem: Problem, generator: torch.Generator, rate: float, number: int, done: float) -> int:
    """One update, and how many tokens it read."""
    batch = problem.batch(generator, done)
    trainee.step([batch], int((batch.targets != IGNORE).sum()), rate, number)
    return batch.tokens.numel()


def _scores(network: Decoder, test: Test) -> tuple[Tensor, Tensor]:
    """Logits [N, V] and answers [N] of a test."""
    was = network.training
    with torch.inference_mode():
        logits = network.eval()(test.batch.tokens)
    network.train(was)
    wanted = test.batch.targets != IGNORE
    return logits[wanted], test.batch.targets[wanted]


def _loss(network: Decoder, test: Test) -> float:
    return float(torch.nn.functional.cross_entropy(*_scores(network, test)))


def _right(network: Decoder, test: Test) -> float:
    logits, answers = _scores(network, test)
    return float((logits.argmax(-1) == answers).float().mean())


def fading(network: Decoder, test: Test) -> float:
    """How much the answer's gradient at the place of the cue is of that at the question, on average over examples.

    The cue is the token that the answer repeats (the fact of `Recall`), the question the place that is asked; only the
    first question of each example counts. (Hochreiter, 1991; Bengio et al., 1994.)
    """
    tokens, targets = test.batch.tokens, test.batch.targets
    asked = (targets != IGNORE).int().argmax(1)  # [B]
    rows = torch.arange(len(tokens))
    answers = targets[rows, asked]
    cue = (tokens == answers[:, None]).int().argmax(1)
    kept: list[Tensor] = []

    def keep(module: Any, given: Any, vectors: Tensor) -> Tensor:
        kept.append(vectors.detach().requires_grad_())
        return kept[0]

    handle = network.embed.register_forward_hook(keep)
    try:
        logits = network(tokens)
    finally:
        handle.remove()
    loss = torch.nn.functional.cross_entropy(logits[rows, asked], answers, reduction="sum")
    (slopes,) = torch.autograd.grad(loss, kept)
    sizes = slopes.norm(dim=-1)  # [B, T]
    return float((sizes[rows, cue] / sizes[rows, asked].clamp(min=1e-12)).median())

"""A race from its settings to its results: what is run, in which order, and what was found.

Everything found is a line of `results.jsonl` in the race's folder. A race that is started again in its folder takes
what is there and goes on.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch

from limelight import given
from limelight.checkpoints.save import save_checkpoint
from limelight.errors import ConfigError, FileError, RequestError, suggestion
from limelight.models import config as c
from limelight.models.api import Decoder
from limelight.race.contenders import Contender, contenders
from limelight.race.memory import held
from limelight.race.problems import BUILT_IN, BY_RULE, Problem, Recall, Senses, tests
from limelight.race.scale import SHARES
from limelight.race.senses import Sense, Word, places, senses, word
from limelight.race.texts import Text, paired, read
from limelight.race.training import RATES, Point, Run, clock, fading, pace, train
from limelight.race.work import LENGTHS, Cost, costs
from limelight.text.tokenizer import Tokenizer
from limelight.train.disk import locked, write

SETTINGS = "settings.json"

TRIED = 1 / 3
"""The steps of a trial of a rate, as a share of those of a run."""

WORK = 0.1
"""The share of the budget for the costs by length."""

LEFT = 0.16
"""The share that is left for tests, the report and what the pace of a few steps does not foretell."""

BUDGETS = {"recall": 0.22, "agreement": 0.18, "switch": 0.1, "text": 0.3, "little": 0.4, "mqar": 0.4, "senses": 0.1}
BUDGETS |= dict.fromkeys(("copying", "brackets", "objects"), 0.3)
"""How the problems share the rest, if not all run."""

LEAST = 20
"""Steps of a run below which nothing is learned."""

DROPOUTS = (0.0, 0.1, 0.2, 0.4)
OFTEN = 4
"""How often a text must be read over for these shares of dropout to be tried, each in a whole run at the best rate."""


@dataclass(frozen=True)
class Settings:
    """What makes a race. problems: what they run on. data: files or folders of text; without, a text that comes with
    Python. budget: seconds. state: numbers that each keeps of a problem's shortest test; 0: they are equal in
    parameters instead. words: of the text, whose places are compared. scale: whether smaller networks learn the text,
    too, and all from less of it."""

    models: tuple[str, ...] = ("rnn", "gru", "lstm", "gpt", "transformer")
    problems: tuple[str, ...] = BUILT_IN
    data: tuple[str, ...] = ()
    budget: float = 300.0
    seeds: int = 3
    first_seed: int = 1
    parameters: int = 100_000
    state: int = 0
    threads: int = 0
    words: tuple[str, ...] = ()
    scale: bool = False

    def __post_init__(self) -> None:
        contenders(self.models)
        for name in self.problems:
            if name not in BUDGETS:
                raise ConfigError(
                    f"there is no problem {name!r}{suggestion(name, BUDGETS)}; there are {', '.join(BUDGETS)}"
                )
        if not self.problems or len(set(self.problems)) < len(self.problems):
            raise ConfigError("a race needs a problem, and each runs once")
        if (self.words or self.scale) and "text" not in self.problems:
            raise ConfigError(
                "to compare a text's words, or scales, the race must run on a text: name that problem, too"
            )
        if self.state and self.scale:
            raise ConfigError("scales compare numbers of parameters; leave out either the state or the scale")
        given.whole("state", self.state, 0)
        given.whole("seeds", self.seeds, 1)
        given.whole("first_seed", self.first_seed, 0)
        given.whole("parameters", self.parameters, 1)
        if not 10 <= given.number("budget", self.budget) <= 30 * 86_400:
            raise RequestError(f"the budget is {self.budget:g} s; a race takes from 10 seconds to 30 days")


@dataclass
class Results:
    """All that a race has found so far. steps: of a run, by problem; seconds: of a run of the race by seconds."""

    settings: Settings
    threads: int
    steps: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    parameters: dict[str, dict[str, int]] = field(default_factory=dict)
    trials: list[Run] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    fading: dict[str, dict[int, float]] = field(default_factory=dict)
    held: dict[str, list[list[float]]] = field(default_factory=dict)
    senses: list[Sense] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    done: bool = False

    def of(self, problem: str, contender: str, by: str = "tokens") -> list[Run]:
        """The runs of one contender on one problem, seed by seed."""
        return [run for run in self.runs if (run.problem, run.contender, run.by) == (problem, contender, by)]

    def scaled(self, contender: str, by: str) -> tuple[list[float], list[float]]:
        """Sizes and losses of its runs over the text by "parameters" or "data" (tokens), with those at full size."""
        small = [run for share in SHARES for run in self.of("text", contender, f"{by} × {share:g}")]
        runs = [*small, *self.of("text", contender)]
        sizes = [float(run.parameters if by == "parameters" else run.curve[-1].tokens) for run in runs]
        return sizes, [run.loss for run in runs]

    def rate(self, problem: str, contender: str) -> float | None:
        """The rate of its trials that ended with the lowest loss."""
        tried = self.tried(problem, contender, "trial")
        return min(tried, key=lambda run: run.loss).rate if tried else None

    def dropout(self, problem: str, contender: str) -> float:
        """The dropout of its whole trials that ended with the lowest loss; none where none was tried."""
        tried = self.tried(problem, contender, "whole trial")
        return min(tried, key=lambda run: run.loss).dropout if tried else 0.0

    def tried(self, problem: str, contender: str, by: str) -> list[Run]:
        """Its trials on a problem: "trial", of rates, or "whole trial", of dropouts."""
        return [run for run in self.trials if (run.problem, run.contender, run.by) == (problem, contender, by)]


Tell = Callable[[float, float, str], None]
"""Told seconds of work done, seconds expected in all, and what is being done."""


def race(settings: Settings, folder: Path, tell: Tell = lambda done, total, note: None) -> Iterator[Results]:
    """Runs a race in a folder, or goes on with the one that is there; gives the results after each part.

    Raises a LimelightError for settings or data that make no sense, and where the folder holds a race of others.
    """
    with locked(folder):
        _same(settings, folder)
        before = torch.get_num_threads()
        if settings.threads:
            torch.set_num_threads(settings.threads)
        try:
            yield from _Course(settings, folder, tell).run()
        finally:
            torch.set_num_threads(before)


@dataclass(frozen=True)
class Reading:
    """What a race's text is read by: its tokenizer, and the places of the words that are compared."""

    tokenizer: Tokenizer
    places: dict[str, list[str]]


def problems(settings: Settings) -> tuple[dict[str, Problem], Reading | None]:
    """The problems of a race by name, and how its text is read, if it has one. Raises a LimelightError for text too
    short, or without a word that is to be compared."""
    found = {name: BY_RULE[name]() for name in settings.problems if name in BY_RULE}
    if not {"text", "little"} & set(settings.problems):
        return found, None
    if settings.words and paired(settings.data):
        raise RequestError("words are compared in running text, and --data names pairs")
    text, tokenizer, whole = read(settings.data)
    reading = Reading(tokenizer, {word: places(whole, word) for word in settings.words})
    found |= {each.name: each for each in (text.little(), text) if each.name in settings.problems}
    return found, reading


def over(problem: Problem, steps: int) -> float:
    """How often so many steps read a text over; 0 for what is made by rule, where no example comes twice."""
    return problem.over(steps) if isinstance(problem, Text) else 0.0


def _often(problem: Problem, steps: int) -> bool:
    return over(problem, steps) >= OFTEN


def _same(settings: Settings, folder: Path) -> None:
    """Raises RequestError if the folder holds a race with other settings."""
    place = folder / SETTINGS
    if place.exists() and place.read_text(encoding="utf-8") != _written(settings):
        raise RequestError(f"{folder} holds a race with other settings; name another folder, or delete that one")


def _written(settings: Settings) -> str:
    return json.dumps(asdict(settings), indent=1)


class _Course:
    def __init__(self, settings: Settings, folder: Path, tell: Tell) -> None:
        self.settings = settings
        self.folder = folder
        self.tell = tell
        self.log = folder / "results.jsonl"
        self.results = Results(settings, torch.get_num_threads())
        self.contenders: list[Contender] = contenders(settings.models)
        self.problems, self.reading = problems(settings)
        self.configs: dict[tuple[str, str], c.ModelConfig] = {}
        self.spent, self.total = 0.0, settings.budget

    def run(self) -> Iterator[Results]:
        results, found = self.results, self.results
        for problem in self.problems.values():
            for each in self.contenders:
                self.configs[problem.name, each.name] = self._sized(each, problem)
            if self.settings.scale and problem.name == "text":
                for share, each in product(SHARES, self.contenders):
                    small = each.fit(problem.vocab, problem.context, round(self.settings.parameters * share))
                    self.configs[f"parameters × {share:g}", each.name] = small
        self._read()
        if not results.steps:
            self._plan()
        yield found
        last = list(self.problems)[-1]  # the text, where there is one
        for each in self.contenders:
            if not any(cost.contender == each.name for cost in results.costs):
                self._note(f"{each.title}: reading and writing at every length")
                most = WORK * self.settings.budget / len(self.contenders)
                begun = clock()
                for cost in costs(each.name, self.configs[last, each.name], LENGTHS, most):
                    self._keep("cost", asdict(cost))
                self._passed(clock() - begun)
                yield found
        for name, problem in self.problems.items():
            for each in self.contenders:
                yield from self._trials(each, problem)
            # Seed by seed, so that a race that is ended early has as many of each.
            for seed in range(self.settings.first_seed, self.settings.first_seed + self.settings.seeds):
                for each in self.contenders:
                    for by in self._ways() if name == "text" else ("tokens",):
                        if not any(run.seed == seed for run in results.of(name, each.name, by)):
                            self._run(each, problem, by, seed)
                            yield found
        self._keep("done", {})
        yield found

    def _sized(self, each: Contender, problem: Problem) -> c.ModelConfig:
        vocab, context, heads = problem.vocab, problem.context, problem.heads
        if self.settings.state:
            length = tests(problem)[0].batch.tokens.shape[1]
            return each.keeping(vocab, context, self.settings.state, length, heads)
        return each.fit(vocab, context, self.settings.parameters, heads)

    def _ways(self) -> list[str]:
        """How the text is learned: by tokens and by seconds, and where scales are compared at smaller ones."""
        scales = [f"{what} × {share:g}" for what in ("parameters", "data") for share in SHARES]
        return ["tokens", "seconds", *(scales if self.settings.scale else ())]

    def _plan(self) -> None:
        """How many steps the budget allows, from what a step of each takes."""
        took: dict[str, dict[str, float]] = {}
        for name, problem in self.problems.items():
            took[name] = {}
            for each in self.contenders:
                self._note(f"{each.title}: how quick it is")
                took[name][each.name] = pace(self.configs[name, each.name], problem)
        seeds, trials = self.settings.seeds, len(RATES) * TRIED
        steps = {}
        each_share = (1 - WORK - LEFT) * self.settings.budget / sum(BUDGETS[name] for name in took)
        for name, paces in took.items():
            runs = trials + seeds * (len(self._ways()) if name == "text" else 1)
            allowed = BUDGETS[name] * each_share / sum(paces.values())
            often = _often(self.problems[name], int(allowed / runs))
            steps[name] = int(allowed / (runs + (len(DROPOUTS) if often else 0)))
        short = [name for name, number in steps.items() if number < LEAST]
        if short:
            raise RequestError(
                f"{self.settings.budget:g} seconds allow {steps[short[0]]} steps of {short[0]}, too few to learn"
                " anything; allow more, or fewer contenders or seeds"
            )
        mean = sum(took.get("text", {}).values()) / len(self.contenders)
        seconds = steps.get("text", 0) * mean
        write(self.folder / SETTINGS, _written(self.settings))  # not sooner: what cannot be run leaves the folder free
        self._keep("plan", {"steps": steps, "seconds": seconds, "threads": self.results.threads})

    def _trials(self, each: Contender, problem: Problem) -> Iterator[Results]:
        results, steps = self.results, self.results.steps[problem.name]
        for rate in RATES:
            yield from self._trial(each, problem, "trial", rate, 0.0, max(1, round(steps * TRIED)))
        if _often(problem, steps):
            best = results.rate(problem.name, each.name)
            assert best is not None
            for dropout in DROPOUTS:
                yield from self._trial(each, problem, "whole trial", best, dropout, steps)

    def _trial(
        self, each: Contender, problem: Problem, by: str, rate: float, dropout: float, steps: int
    ) -> Iterator[Results]:
        results = self.results
        key = (problem.name, each.name, by, rate, dropout)
        if any((run.problem, run.contender, run.by, run.rate, run.dropout) == key for run in results.trials):
            return
        self._note(f"{problem.title}: {each.title}, rate {rate:g}" + (f", dropout {dropout:g}" if dropout else ""))
        about = {"contender": each.name, "problem": problem.name, "by": by, "rate": rate, "dropout": dropout, "seed": 0}
        config = self.configs[problem.name, each.name]
        done, _ = train(config, problem, about, steps=steps, tested=False, passed=self._passed)
        self._keep("trial", asdict(done))
        yield results

    def _run(self, each: Contender, problem: Problem, by: str, seed: int) -> None:
        results = self.results
        self._note(f"{problem.title}: {each.title}, seed {seed}" + ("" if by == "tokens" else f", {by}"))
        about: dict[str, Any] = {"contender": each.name, "problem": problem.name, "by": by, "seed": seed}
        about |= {"rate": results.rate(problem.name, each.name), "dropout": results.dropout(problem.name, each.name)}
        steps, seconds = results.steps[problem.name], math.inf
        if by == "seconds":
            steps, seconds = 1 << 40, results.seconds
        elif by.startswith("data"):
            steps = max(1, round(steps * float(by.removeprefix("data × "))))
        config = self.configs[by if by.startswith("parameters") else problem.name, each.name]
        done, network = train(config, problem, about, steps=steps, seconds=seconds, passed=self._passed)
        if seed == self.settings.first_seed and by == "tokens":
            self._look_into(each, problem, network)
        self._keep("run", asdict(done))

    def _look_into(self, each: Contender, problem: Problem, network: Decoder) -> None:
        """What is asked of the first network of each contender."""
        if isinstance(problem, Recall):
            self._keep("held", {"contender": each.name, "table": held(network.eval(), problem)})
            far = [test for test in tests(problem) if test.name == "words between"]
            self._keep("fading", {"contender": each.name, "by": {test.at: fading(network, test) for test in far}})
        elif isinstance(problem, Senses):
            self._keep("senses", {"senses": [asdict(sense) for sense in senses(each.name, network, problem)]})
        elif self.reading is not None and problem.name == "text":
            for name, contexts in self.reading.places.items():
                self._keep("word", asdict(word(each.name, network, self.reading.tokenizer, name, contexts)))
            save_checkpoint(network, self.reading.tokenizer, self.folder / "models" / each.name)

    def _keep(self, kind: str, facts: dict[str, Any]) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind} | facts) + "\n")
        self._take(kind, facts)

    def _read(self) -> None:
        if not self.log.exists():
            return
        lines = self.log.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            try:
                facts = json.loads(line)
                self._take(facts.pop("kind"), facts)
            except (ValueError, KeyError, TypeError) as error:
                if number < len(lines):
                    raise FileError(
                        f"{self.log}, line {number}, is damaged ({error}); start in another folder"
                    ) from None
                write(self.log, "".join(f"{line}\n" for line in lines[:-1]))  # the line at which the race was killed

    def _take(self, kind: str, facts: dict[str, Any]) -> None:
        results = self.results
        if kind in {"run", "trial"}:
            run = Run(**facts | {"curve": [Point(**point) for point in facts["curve"]]})
            (results.runs if kind == "run" else results.trials).append(run)
            results.parameters.setdefault(run.problem, {})[run.contender] = run.parameters
        elif kind == "cost":
            results.costs.append(Cost(**facts))
        elif kind == "fading":
            results.fading[facts["contender"]] = {int(at): value for at, value in facts["by"].items()}
        elif kind == "held":
            results.held[facts["contender"]] = facts["table"]
        elif kind == "senses":
            results.senses += [Sense(**each) for each in facts["senses"]]
        elif kind == "word":
            results.words.append(Word(**facts))
        elif kind == "plan":
            results.steps, results.seconds, results.threads = facts["steps"], facts["seconds"], facts["threads"]
        else:
            results.done = True

    def _note(self, note: str) -> None:
        self.note = note
        self.tell(self.spent, self.total, note)

    def _passed(self, seconds: float) -> None:
        self.spent += seconds
        self.tell(self.spent, max(self.total, self.spent), self.note)

"""What the runs of a race say, problem by problem."""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import get_args

from limelight.race.contenders import CONTENDERS, Kind
from limelight.race.course import Results
from limelight.race.problems import Problem, Test, tests
from limelight.race.work import Cost

LEARNED = 0.5
"""Who stays this near to chance on the easiest test, as a share of the way to all right, has not learned a problem."""


def said(numbers: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation."""
    mean = statistics.fmean(numbers)
    spread = f" ± {statistics.stdev(numbers):.{digits}f}" if len(numbers) > 1 else ""
    return f"{mean:.{digits}f}{spread}"


def conclusions(results: Results, problems: dict[str, Problem]) -> list[str]:
    """One sentence a problem: the best of those that read word by word beside the best of those that read at once.

    Who has not learned a problem is not ranked; a kind of which none has is named.
    """
    sentences = []
    for problem in problems.values():
        ran = [each for each in results.settings.models if results.of(problem.name, each)]
        able = [each for each in ran if problem.chance is None or learned(results, problem, each)]
        of_kind = {kind: [each for each in ran if CONTENDERS[each].kind == kind] for kind in get_args(Kind)}
        kinds = {kind: [each for each in those if each in able] or those for kind, those in of_kind.items() if those}
        if len(kinds) < 2:
            continue
        failed = [kind for kind, those in kinds.items() if not set(those) & set(able)]
        for test in hardest(problem) if problem.chance is not None else [None]:
            what = f"{problem.title}, after equally many tokens: loss in nats a character"
            if test is not None:
                more = "" if test.seen else " (more than in training)"
                what = f"{problem.title}, {test.at} {test.name}{more}: share right"
            told = "; ".join(f"{kind} {_best(results, problem, those, test)}" for kind, those in kinds.items())
            chance = "" if test is None else f" (chance {problem.chance:.2f})"
            nobody = f" Not learned by any that reads {' or '.join(failed)}." if failed else ""
            sentences.append(f"{what}: {told}{chance}.{nobody}")
    return sentences


def _best(results: Results, problem: Problem, those: Sequence[str], test: Test | None) -> str:
    """The one whose mean is best, and that mean."""
    found = {each: values(results, problem, each, test) for each in those}
    better = min if test is None else max
    best = better(found, key=lambda each: statistics.fmean(found[each]))
    return f"{best} {said(found[best])}"


def hardest(problem: Problem) -> list[Test]:
    """By what is varied: the hardest test that training held, and the hardest of all."""
    found = []
    for name in dict.fromkeys(test.name for test in tests(problem)):
        those = [test for test in tests(problem) if test.name == name]
        hardest = [test for test in those if test.seen][-1]
        found += [hardest] if hardest is those[-1] else [hardest, those[-1]]
    return found


def quickest(costs: Sequence[Cost], what: str) -> dict[int, tuple[float, float]]:
    """By length, the least that one of them costs which reads word by word, and the least of one that reads at once."""
    kinds: dict[int, dict[bool, float]] = {}
    for cost in costs:
        least = kinds.setdefault(cost.length, {})
        at_once = CONTENDERS[cost.contender].kind == "all at once"
        least[at_once] = min(least.get(at_once, math.inf), getattr(cost, what))
    return {length: (by[False], by[True]) for length, by in sorted(kinds.items()) if len(by) == 2}


def swaps(costs: Sequence[Cost], what: str) -> list[float]:
    """Lengths between two measured ones at which the other kind comes to cost less, in the logarithm's middle."""
    found = list(quickest(costs, what).items())
    return [
        math.sqrt(before * after)
        for (before, (one, two)), (after, (then, now)) in pairwise(found)
        if (one < two) != (then < now)
    ]


def crossing(costs: Sequence[Cost]) -> str:
    """At which lengths the quickest step of training is of one that reads all at once, and at which word by word."""
    ahead = {length: at_once < by_word for length, (by_word, at_once) in quickest(costs, "trained").items()}
    told = []
    for won, kind in ((True, "all at once"), (False, "word by word")):
        if those := ", ".join(f"{length:,}" for length, at_once in ahead.items() if at_once == won):
            told.append(f"at {those} tokens {kind}")
    return f"The quickest step of training is of one that reads: {'; '.join(told)}." if told else ""


def values(results: Results, problem: Problem, contender: str, test: Test | None, by: str = "tokens") -> list[float]:
    """Seed by seed: the share right in a test, or the loss at the end."""
    runs = results.of(problem.name, contender, by)
    if test is None:
        return [run.loss for run in runs]
    place = [(each.name, each.at) for each in tests(problem)].index((test.name, test.at))
    return [run.right[place] for run in runs if run.right is not None]


def learned(results: Results, problem: Problem, contender: str) -> bool:
    """Whether it does better than guessing on the easiest test, half of the way to all right at least."""
    assert problem.chance is not None
    easiest = values(results, problem, contender, tests(problem)[0])
    return statistics.fmean(easiest) > problem.chance + LEARNED * (1 - problem.chance)

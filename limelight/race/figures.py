"""The figures of a race."""

import math
import statistics
from collections.abc import Callable
from typing import Any

from limelight.race.contenders import CONTENDERS, Kind
from limelight.race.course import Results
from limelight.race.found import hardest, swaps, values
from limelight.race.problems import Problem, tests
from limelight.race.scale import law

COLOURS = ("#b4472e", "#d98a2b", "#a8841a", "#3467a8", "#5a3d9e", "#2f8f83", "#8a8a8a", "#222222", "#c2569b", "#5f8f2f")


def figures(results: Results, problems: dict[str, Problem]) -> dict[str, Any]:
    """Matplotlib figures by name, of all that was run."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "limelight"  # the same numbers draw the same file
    mpl.rcParams["svg.fonttype"] = "none"
    models = results.settings.models
    colour = dict(zip(models, COLOURS, strict=False))
    dashes: dict[Kind, str] = {"word by word": "--", "word by word, looking back": "-.", "all at once": "-"}
    style = {each: dashes[CONTENDERS[each].kind] for each in models}
    drawn: dict[str, Any] = {}

    def axes(name: str, count: int, height: float = 3.2) -> Any:
        figure = Figure(figsize=(4.4 * count, height), layout="constrained")
        drawn[name] = figure
        return figure.subplots(1, count, squeeze=False)[0]

    for name, problem in problems.items():
        ran = [each for each in models if results.of(name, each)]
        if not ran:
            continue
        if problem.chance is None:
            ways = [way for way in ("tokens", "seconds") if results.of(name, ran[0], way)]
            for way, place in zip(ways, axes(name, len(ways)), strict=True):
                for each in ran:
                    for i, run in enumerate(results.of(name, each, way)):
                        xs = [getattr(point, way) for point in run.curve]
                        ys = [point.loss for point in run.curve]
                        place.plot(xs, ys, style[each], color=colour[each], lw=1.2, label=each if i == 0 else None)
                place.set(xlabel=f"{way} of training", ylabel="validation loss, nats")
                place.locator_params(axis="x", nbins=4)  # counts of tokens are long
                place.legend(fontsize=7, frameon=False)
            continue
        varied = list(dict.fromkeys(test.name for test in tests(problem)))
        *places, last = axes(name, len(varied) + 1)
        _by_state(results, problem, ran, last, colour)
        for what, place in zip(varied, places, strict=True):
            those = [test for test in tests(problem) if test.name == what]
            for each in ran:
                right = [values(results, problem, each, test) for test in those]
                spread = [statistics.stdev(v) if len(v) > 1 else 0.0 for v in right]
                means = [statistics.fmean(v) for v in right]
                ats = [test.at for test in those]
                place.errorbar(ats, means, spread, ls=style[each], color=colour[each], lw=1.4, capsize=2, label=each)
            place.axhline(problem.chance, color="#999999", lw=0.8, ls=":")
            beyond = [test.at for test in those if not test.seen]
            if beyond:
                place.axvspan(beyond[0] * 0.85, those[-1].at * 1.1, color="#00000010", lw=0)
            place.set(xlabel=what, ylabel="share right", ylim=(-0.03, 1.05))
            place.set_xscale(**{"value": "log"} if those[0].at else {"value": "symlog", "linthresh": those[1].at})
            place.set_xticks([test.at for test in those], [str(test.at) for test in those], minor=False)
            place.minorticks_off()
            place.legend(fontsize=7, frameon=False)
    if results.fading:
        (place,) = axes("fading", 1)
        for each, by in results.fading.items():
            place.plot(
                sorted(by), [max(by[at], 1e-12) for at in sorted(by)], style[each], color=colour[each], label=each
            )
        place.set(xscale="log", yscale="log", xlabel="words between", ylabel="gradient at the fact ÷ at the question")
        place.legend(fontsize=7, frameon=False)
    if results.held:
        for (each, table), place in zip(results.held.items(), axes("held", len(results.held), 4.4), strict=True):
            place.imshow(table, cmap="Purples", vmin=0, vmax=1)
            place.set(title=each, xlabel="fact asked for", ylabel="facts told")
            for ticks in (place.set_xticks, place.set_yticks):
                ticks(range(len(table)), range(1, len(table) + 1))
            for i, row in enumerate(table):
                for j, value in enumerate(row[: i + 1]):
                    colour_of = "w" if value > 0.6 else "k"
                    place.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour_of)
    if results.senses:
        _senses(results, lambda count: axes("apart", count))
    if results.settings.scale and results.scaled(models[0], "data")[0]:
        for what, place in zip(("parameters", "data"), axes("scale", 2), strict=True):
            _scale(results, what, place, colour, style)
    if results.costs:
        looks = (("trained", "a step of training, s"), ("written", "one more token, s"), ("kept", "state kept, bytes"))
        for (field, label), place in zip(looks, axes("work", 3), strict=True):
            for each in models:
                mine = [cost for cost in results.costs if cost.contender == each]
                xs, ys = [cost.length for cost in mine], [getattr(cost, field) for cost in mine]
                place.plot(xs, ys, style[each], marker="o", ms=3, color=colour[each], label=each)
            place.set(xscale="log", yscale="log", xlabel="tokens", ylabel=label)
            for at in swaps(results.costs, field):
                place.axvline(at, color="#999999", lw=0.8, ls=":")
            place.legend(fontsize=7, frameon=False)
    return drawn


def _by_state(results: Results, problem: Problem, ran: list[str], place: Any, colour: dict[str, str]) -> None:
    """The share right on the hardest test that training held, by the numbers that are kept of it."""
    test = hardest(problem)[0]
    number = [(each.name, each.at) for each in tests(problem)].index((test.name, test.at))
    for each in ran:
        right = values(results, problem, each, test)
        spread = statistics.stdev(right) if len(right) > 1 else 0.0
        kept = results.of(problem.name, each)[0].kept[number]
        place.errorbar(kept, statistics.fmean(right), spread, fmt="o", ms=4, color=colour[each], capsize=2, label=each)
    place.axhline(problem.chance, color="#999999", lw=0.8, ls=":")
    place.set(xscale="log", xlabel=f"numbers kept ({test.at} {test.name})", ylabel="share right", ylim=(-0.03, 1.05))
    least, most = (math.log10(limit) for limit in place.get_xlim())
    place.set_xlim(10 ** math.floor(least), 10 ** math.ceil(most))  # powers of ten, which alone are labelled
    place.legend(fontsize=7, frameon=False)


def _senses(results: Results, axes: Callable[[int], Any]) -> None:
    names = list(dict.fromkeys(sense.word for sense in results.senses))
    for name, place in zip(names, axes(len(names)), strict=True):
        those = [sense for sense in results.senses if sense.word == name]
        for shift, what, shade in ((-0.2, "apart", "#3467a8"), (0.2, "within", "#d98a2b")):
            label = {"apart": "different senses", "within": "same sense"}[what]
            widths = [getattr(sense, what) for sense in those]
            place.barh([at + shift for at in range(len(those))], widths, 0.38, color=shade, label=label)
        place.set_yticks(range(len(those)), [sense.contender for sense in those])
        place.set(title=name, xlabel="cosine distance")
        place.legend(fontsize=7, frameon=False)


def _scale(results: Results, by: str, place: Any, colour: dict[str, str], style: dict[str, str]) -> None:
    for each in results.settings.models:
        xs, ys = results.scaled(each, by)
        place.plot(xs, ys, ".", color=colour[each], label=each)
        if (found := law(xs, ys)) is not None:
            ends = [min(xs), max(xs)]
            place.plot(ends, [found.factor * x**-found.power for x in ends], style[each], color=colour[each], lw=1)
    place.set(xscale="log", yscale="log", ylabel="validation loss, nats")
    place.set_xlabel("tokens" if by == "data" else by)
    ticks = sorted(set(results.scaled(results.settings.models[0], by)[0]))
    place.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    place.xaxis.minorticks_off()
    for axis in (place.yaxis.set_major_formatter, place.yaxis.set_minor_formatter):
        axis("{x:.2f}")
    place.legend(fontsize=7, frameon=False)

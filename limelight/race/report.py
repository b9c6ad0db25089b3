"""What a race found: a page of its own, Markdown, tables of every number, and the figures."""

import csv
import io
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from limelight.errors import RequestError
from limelight.race.contenders import CONTENDERS
from limelight.race.course import Results
from limelight.race.problems import Problem, Test
from limelight.race.training import RATES
from limelight.race.work import Cost
from limelight.train.disk import write

LEARNED = 0.5
"""Who stays this near to chance on the easiest test, as a share of the way to all right, has not learned a problem."""

COLOURS = ("#b4472e", "#d98a2b", "#a8841a", "#3467a8", "#5a3d9e", "#2f8f83", "#8a8a8a", "#222222")


def check_drawing() -> None:
    """Raises RequestError where figures cannot be drawn, before anything is run."""
    if find_spec("matplotlib") is None:
        raise RequestError("a race draws its figures with matplotlib; install it: pip install 'limelight[train]'")


def write_report(results: Results, problems: dict[str, Problem], folder: Path, command: str) -> Path:
    """Writes report.html, report.md, results.csv, results.json and figures/ into the folder; returns the page.

    command: how to have this race again. What was not run yet is left out.
    """
    figures = _figures(results, problems)
    for name, figure in figures.items():
        for kind in ("svg", "png"):
            drawn = io.BytesIO()
            figure.savefig(drawn, format=kind, dpi=130)
            (folder / "figures").mkdir(exist_ok=True)
            write(folder / "figures" / f"{name}.{kind}", drawn.getvalue())
    parts = _parts(results, problems)
    write(folder / "report.md", _markdown(parts, figures, command))
    svgs = {name: (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8") for name in figures}
    page = folder / "report.html"
    write(page, _html(parts, svgs, command))
    write(folder / "results.csv", _csv(results, problems))
    write(folder / "results.json", json.dumps(asdict(results), indent=1))
    return page


def said(values: Sequence[float], digits: int = 2) -> str:
    """Mean and standard deviation."""
    mean = statistics.fmean(values)
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"


def conclusions(results: Results, problems: dict[str, Problem]) -> list[str]:
    """One sentence a problem: the best of those that read word by word beside the best of those that read at once."""
    sentences = []
    kinds = {True: "word by word", False: "all at once"}
    for problem in problems.values():
        for test in _hardest(problem) if problem.chance is not None else [None]:
            best: dict[bool, tuple[str, list[float]]] = {}
            for contender in results.settings.models:
                values = _values(results, problem, contender, test)
                kind = CONTENDERS[contender].recurrent
                better = min if problem.chance is None else max
                if values:
                    both = [found for found in (best.get(kind), (contender, values)) if found is not None]
                    best[kind] = better(both, key=lambda found: statistics.fmean(found[1]))
            if len(best) == 2:
                what = f"{problem.title}, after equally many tokens: loss in nats a character"
                if test is not None:
                    more = "" if test.seen else " (more than in training)"
                    what = f"{problem.title}, {test.at} {test.name}{more}: share right"
                told = "; ".join(f"{kinds[k]} {best[k][0]} {said(best[k][1])}" for k in (True, False))
                sentences.append(f"{what}: {told}{'' if test is None else f' (chance {problem.chance:.2f})'}.")
    return sentences


def _hardest(problem: Problem) -> list[Test]:
    """By what is varied: the hardest test that training held, and the hardest of all."""
    tests = problem.tests()
    found = []
    for name in dict.fromkeys(test.name for test in tests):
        those = [test for test in tests if test.name == name]
        hardest = [test for test in those if test.seen][-1]
        found += [hardest] if hardest is those[-1] else [hardest, those[-1]]
    return found


def _values(results: Results, problem: Problem, contender: str, test: Test | None, by: str = "tokens") -> list[float]:
    """Seed by seed: the share right in a test, or the loss at the end."""
    runs = results.of(problem.name, contender, by)
    if test is None:
        return [run.loss for run in runs]
    place = [(each.name, each.at) for each in problem.tests()].index((test.name, test.at))
    return [run.right[place] for run in runs if run.right is not None]


def _learned(results: Results, problem: Problem, contender: str) -> bool:
    """Whether it does better than guessing on the easiest test, half of the way to all right at least."""
    assert problem.chance is not None
    values = _values(results, problem, contender, problem.tests()[0])
    return statistics.fmean(values) > problem.chance + LEARNED * (1 - problem.chance)


Table = tuple[list[str], list[list[str]]]
Part = tuple[str, str, list[Table], list[str]]
"""A heading, a text, tables and the names of figures."""


def _parts(results: Results, problems: dict[str, Problem]) -> list[Part]:
    settings = results.settings
    title = {name: CONTENDERS[name].title for name in settings.models}
    found = conclusions(results, problems)
    parts: list[Part] = [("What was found", "\n".join(f"- {each}" for each in found), [], [])] if found else []
    for name, problem in problems.items():
        ran = [each for each in settings.models if results.of(name, each)]
        if not ran:
            continue
        tables: list[Table] = []
        says = f"{problem.says} {results.steps[name]:,} steps of {problem.rows} examples for each, then tested."
        if problem.chance is not None:
            tests = problem.tests()
            unseen = [str(test.at) for test in tests if not test.seen]
            says += f" Share right, mean ± standard deviation over seeds; chance is {problem.chance:.2f}."
            says += f" Training held nothing so long as {', '.join(unseen)}." if unseen else ""
            failed = [each for each in ran if not _learned(results, problem, each)]
            if failed:
                says += f" Not learned in this time, and so no measure of memory: {', '.join(failed)}."
            for varied in dict.fromkeys(test.name for test in tests):
                those = [test for test in tests if test.name == varied]
                rows = [[title[each], *(said(_values(results, problem, each, test)) for test in those)] for each in ran]
                tables.append(([varied, *(str(test.at) for test in those)], rows))
        else:
            says += f" By seconds: as many steps as each makes in {results.seconds:.1f} s of training."
            rows = [
                [
                    title[each],
                    said(_values(results, problem, each, None), 3),
                    said(_values(results, problem, each, None, "seconds") or [float("nan")], 3),
                    f"{statistics.fmean(_speeds(results, each)):,.0f}",
                ]
                for each in ran
            ]
            tables.append((["loss, nats a character", "equal tokens", "equal seconds", "tokens a second"], rows))
        parts.append((problem.title, says, tables, [name]))
        if name == "recall" and results.fading:
            text = (
                "The gradient of the answer at the fact, as a share of that at the question: what training has to go"
                " by. Median over examples of one network each."
            )
            ats = sorted(next(iter(results.fading.values())))
            rows = [[title[each], *(f"{by[at]:.1e}" for at in ats)] for each, by in results.fading.items()]
            parts.append(("What reaches the cue", text, [(["words between", *map(str, ats)], rows)], ["fading"]))
    if results.held:
        text = (
            "Six facts are told, one a step, as a sentence is read word by word; after each step every fact so far is"
            " asked for. The share right is what one network of each kind still holds. A recurrent model takes six"
            " steps and has only its state; a transformer reads all of it in one step, and every word at once."
        )
        parts.append(("Step by step", text, [], ["held"]))
    if results.costs:
        parts.append(_work(results, title))
    parts.append(_fair(results, title))
    return parts


def _speeds(results: Results, contender: str) -> list[float]:
    return [run.curve[-1].tokens / run.curve[-1].seconds for run in results.of("text", contender)]


def _work(results: Results, title: dict[str, str]) -> Part:
    lengths = sorted({cost.length for cost in results.costs})
    tables: list[Table] = []
    columns: list[tuple[str, Callable[[Cost], str]]] = [
        ("reading, ms", lambda cost: f"{cost.read * 1e3:.1f}"),
        ("a step of training, ms", lambda cost: f"{cost.trained * 1e3:.1f}"),
        ("one more token, ms", lambda cost: f"{cost.written * 1e3:.2f}"),
        ("state kept, kB", lambda cost: f"{cost.kept / 1e3:,.1f}"),
        ("products that must wait", lambda cost: f"{cost.chain:,}"),
        ("arithmetic, million", lambda cost: f"{cost.products / 1e6:,.0f}"),
    ]
    for heading, take in columns:
        at = {(cost.contender, cost.length): take(cost) for cost in results.costs}
        rows = [[title[each], *(at.get((each, length), "–") for length in lengths)] for each in title]
        tables.append(([heading, *(f"{length:,}" for length in lengths)], rows))
    text = (
        "One text by its length in tokens, on this machine. A recurrent model must take its words one after another,"
        " and then writes each next one in constant time and memory; a transformer reads them at once, and what it"
        f" keeps grows. {_crossing(results)}"
    )
    return "Work that must wait", text, tables, ["work"]


def _crossing(results: Results) -> str:
    """From which length on which of them reads quicker."""
    kinds: dict[int, dict[bool, float]] = {}
    for cost in results.costs:
        quickest = kinds.setdefault(cost.length, {})
        kind = CONTENDERS[cost.contender].recurrent
        quickest[kind] = min(quickest.get(kind, float("inf")), cost.trained)
    ahead = [(length, by[False] < by[True]) for length, by in sorted(kinds.items()) if len(by) == 2]
    at_once = [f"{length:,}" for length, won in ahead if won]
    by_word = [f"{length:,}" for length, won in ahead if not won]
    told = [
        f"at {', '.join(those)} tokens {kind}"
        for those, kind in ((at_once, "all at once"), (by_word, "word by word"))
        if those
    ]
    return f"The quickest step of training is of one that reads: {'; '.join(told)}." if told else ""


def _fair(results: Results, title: dict[str, str]) -> Part:
    settings = results.settings
    sizes = [count for by in results.parameters.values() for count in by.values()]
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    text = (
        f"{len(settings.models)} contenders of {settings.parameters:,} parameters"
        + (f" ({min(sizes):,} to {max(sizes):,})" if sizes else "")
        + f", two layers each, the same examples in the same order, AdamW with warm-up and half a cosine,"
        f" {len(RATES)} rates tried for each on each problem, seeds {', '.join(map(str, seeds))}; no dropout, since no"
        f" example is read often; no short convolution but Mamba's own; {results.threads} threads."
    )
    tables: list[Table] = []
    if results.trials:
        names = [name for name in results.steps if any(run.problem == name for run in results.trials)]
        rows = [
            [title[each], *(f"{rate:g}" if (rate := results.rate(name, each)) else "–" for name in names)]
            for each in title
        ]
        tables.append((["rate chosen", *names], rows))
    return "How it was run", text, tables, []


def _figures(results: Results, problems: dict[str, Problem]) -> dict[str, Any]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "limelight"  # the same numbers draw the same file
    mpl.rcParams["svg.fonttype"] = "none"
    models = results.settings.models
    colour = dict(zip(models, COLOURS, strict=False))
    style = {each: "--" if CONTENDERS[each].recurrent else "-" for each in models}
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
            ways = ("tokens", "seconds")
            for way, place in zip(ways, axes(name, 2), strict=True):
                for each in ran:
                    for i, run in enumerate(results.of(name, each, way)):
                        xs = [getattr(point, way) for point in run.curve]
                        ys = [point.loss for point in run.curve]
                        place.plot(xs, ys, style[each], color=colour[each], lw=1.2, label=each if i == 0 else None)
                place.set(xlabel=f"{way} of training", ylabel="validation loss, nats")
                place.legend(fontsize=7, frameon=False)
            continue
        tests = problem.tests()
        varied = list(dict.fromkeys(test.name for test in tests))
        for what, place in zip(varied, axes(name, len(varied)), strict=True):
            those = [test for test in tests if test.name == what]
            for each in ran:
                values = [_values(results, problem, each, test) for test in those]
                spread = [statistics.stdev(v) if len(v) > 1 else 0.0 for v in values]
                means = [statistics.fmean(v) for v in values]
                ats = [test.at for test in those]
                place.errorbar(ats, means, spread, ls=style[each], color=colour[each], lw=1.4, capsize=2, label=each)
            place.axhline(problem.chance, color="#999999", lw=0.8, ls=":")
            beyond = [test.at for test in those if not test.seen]
            if beyond:
                place.axvspan(beyond[0] * 0.85, those[-1].at * 1.1, color="#00000010", lw=0)
            place.set(xscale="log", xlabel=what, ylabel="share right", ylim=(-0.03, 1.05))
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
    if results.costs:
        looks = (("trained", "a step of training, s"), ("written", "one more token, s"), ("kept", "state kept, bytes"))
        for (field, label), place in zip(looks, axes("work", 3), strict=True):
            for each in models:
                mine = [cost for cost in results.costs if cost.contender == each]
                xs, ys = [cost.length for cost in mine], [getattr(cost, field) for cost in mine]
                place.plot(xs, ys, style[each], marker="o", ms=3, color=colour[each], label=each)
            place.set(xscale="log", yscale="log", xlabel="tokens", ylabel=label)
            place.legend(fontsize=7, frameon=False)
    return drawn


def _markdown(parts: list[Part], figures: dict[str, Any], command: str) -> str:
    lines = ["# A race: word by word against all at once", ""]
    for heading, text, tables, names in parts:
        lines += [f"## {heading}", "", text, ""]
        for head, rows in tables:
            lines += [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
            lines += [f"| {' | '.join(row)} |" for row in rows]
            lines.append("")
        lines += [f"![{heading}](figures/{name}.svg)\n" for name in names if name in figures]
    lines += ["## Again", "", "```", command, "```", ""]
    return "\n".join(lines)


STYLE = """
:root { color-scheme: light dark; --ink: #1d1b18; --paper: #fbfaf7; --line: #d9d5cc }
@media (prefers-color-scheme: dark) { :root { --ink: #ece8e0; --paper: #191714; --line: #454038 } }
body { margin: 2.5rem auto; max-width: 60rem; padding: 0 1rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.55 Georgia, serif }
h1 { font-size: 1.9rem } h2 { margin-top: 2.4rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font: .84rem system-ui, sans-serif; margin: 1rem 0 }
th, td { padding: .28rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
figure { margin: 1rem 0; background: #fff; border-radius: 6px; padding: .5rem; overflow-x: auto }
figure svg { max-width: 100%; height: auto }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); border-radius: 6px }
"""


def _html(parts: list[Part], svgs: dict[str, str], command: str) -> str:
    body = ["<h1>Word by word against all at once</h1>"]
    for heading, text, tables, names in parts:
        body.append(f"<section><h2>{escape(heading)}</h2>")
        if text.startswith("- "):
            body.append("<ul>" + "".join(f"<li>{escape(line[2:])}</li>" for line in text.splitlines()) + "</ul>")
        else:
            body.append(f"<p>{escape(text)}</p>")
        for name in names:
            if name in svgs:
                drawing = svgs[name][svgs[name].index("<svg") :]
                body.append(f'<figure role="img" aria-label="{escape(heading)}, as in the tables">{drawing}</figure>')
        for head, rows in tables:
            cells = "".join(f'<th scope="col">{escape(each)}</th>' for each in head)
            lines = "".join("<tr>" + "".join(f"<td>{escape(each)}</td>" for each in row) + "</tr>" for row in rows)
            body.append(f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>')
        body.append("</section>")
    body.append(f"<section><h2>Again</h2><pre>{escape(command)}</pre></section>")
    title = "A race: word by word against all at once"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style><body>{''.join(body)}</body></html>"
    )


def _csv(results: Results, problems: dict[str, Problem]) -> str:
    """A row for each point of a curve, each test and each cost."""
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    out.writerow(
        ("what", "problem", "contender", "by", "rate", "seed", "parameters", "at", "tokens", "seconds", "value")
    )
    for run in results.trials + results.runs:
        about = (run.problem, run.contender, run.by, run.rate, run.seed, run.parameters)
        for point in run.curve:
            out.writerow(("loss", *about, f"step {point.step}", point.tokens, point.seconds, point.loss))
        for test, right in zip(problems[run.problem].tests(), run.right or [], strict=False):
            out.writerow(("right", *about, f"{test.at} {test.name}", "", "", right))
    for cost in results.costs:
        for name in ("read", "trained", "written", "kept", "chain", "products"):
            out.writerow((name, "", cost.contender, "", "", "", "", cost.length, "", "", getattr(cost, name)))
    for contender, by in results.fading.items():
        for at, value in by.items():
            out.writerow(("fading", "recall", contender, "", "", "", "", at, "", "", value))
    return file.getvalue()

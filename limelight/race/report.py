"""What a race found: a page of its own, Markdown, tables of every number, and the figures."""

import csv
import io
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict
from html import escape
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from limelight.errors import RequestError
from limelight.race.contenders import CONTENDERS
from limelight.race.course import DROPOUTS, Results, over
from limelight.race.figures import figures
from limelight.race.found import conclusions, crossing, learned, said, values
from limelight.race.problems import Problem, tests
from limelight.race.scale import law
from limelight.race.training import RATES
from limelight.race.work import Cost
from limelight.train.disk import write


def check_drawing() -> None:
    """Raises RequestError where figures cannot be drawn, before anything is run."""
    if find_spec("matplotlib") is None:
        raise RequestError("a race draws its figures with matplotlib; install it: pip install 'limelight[train]'")


def write_report(results: Results, problems: dict[str, Problem], folder: Path, command: str) -> Path:
    """Writes report.html, report.md, results.csv, results.json and figures/ into the folder; returns the page.

    command: how to have this race again. What was not run yet is left out.
    """
    drawings = figures(results, problems)
    for name, figure in drawings.items():
        for kind in ("svg", "png"):
            drawn = io.BytesIO()
            figure.savefig(drawn, format=kind, dpi=130)
            figure.set_layout_engine("none")  # what stands where is the same in the next
            (folder / "figures").mkdir(exist_ok=True)
            write(folder / "figures" / f"{name}.{kind}", drawn.getvalue())
    parts = _parts(results, problems)
    write(folder / "report.md", _markdown(parts, set(drawings), command))
    svgs = {name: (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8") for name in drawings}
    page = folder / "report.html"
    write(page, _html(parts, svgs, command))
    write(folder / "results.csv", _csv(results, problems))
    write(folder / "results.json", json.dumps(asdict(results), indent=1))
    return page


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
            all_tests = tests(problem)
            unseen = [
                f"{', '.join(str(test.at) for test in those)} {name}"
                for name, those in groupby((test for test in all_tests if not test.seen), lambda test: test.name)
            ]
            says += f" Share right, mean ± standard deviation over seeds; chance is {problem.chance:.2f}."
            says += f" Training held no text with {'; '.join(unseen)}." if unseen else ""
            failed = [each for each in ran if not learned(results, problem, each)]
            if failed:
                says += f" Not learned in this time, and so no measure of memory: {', '.join(failed)}."
            for varied in dict.fromkeys(test.name for test in all_tests):
                those = [test for test in all_tests if test.name == varied]
                head = [str(test.at) for test in those]
                rows = [[title[each], *(said(values(results, problem, each, test)) for test in those)] for each in ran]
                tables.append(([varied, *head], rows))
                kept = {each: results.of(name, each)[0].kept for each in ran}
                rows = [[title[each], *(f"{kept[each][all_tests.index(test)]:,}" for test in those)] for each in ran]
                tables.append(([f"numbers kept, by {varied}", *head], rows))
        else:
            tables.append(_losses(results, problem, ran))
            read = over(problem, results.steps[name])
            says += f" The text was read {read:.1f} times over."
            if any(results.tried(name, each, "whole trial") for each in ran):
                tried = ", ".join(f"{each:g}" for each in DROPOUTS)
                says += f" Dropout of {tried} was tried for each, in runs as long as these."
            if results.of(name, ran[0], "seconds"):
                says += f" By seconds: as many steps as each makes in {results.seconds:.1f} s of training."
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
    parts += _senses(results, title) + _words(results, title) + _scale(results, title)
    if results.costs:
        parts.append(_work(results, title))
    parts.append(_fair(results, title))
    return parts


def _losses(results: Results, problem: Problem, ran: list[str]) -> Table:
    """Of those that learn text: the loss by each way that was run, how quick each is, and the dropout chosen."""
    head = ["loss, nats a character", "equal tokens", "equal seconds", "tokens a second", "dropout"]
    rows = []
    for each in ran:
        runs = results.of(problem.name, each)
        by = [values(results, problem, each, None, way) for way in ("tokens", "seconds")]
        speed = statistics.fmean(run.curve[-1].tokens / run.curve[-1].seconds for run in runs)
        losses = [said(found, 3) if found else "–" for found in by]
        rows.append([CONTENDERS[each].title, *losses, f"{speed:,.0f}", f"{runs[0].dropout:g}"])
    return head, rows


def _senses(results: Results, title: dict[str, str]) -> list[Part]:
    if not results.senses:
        return []
    text = (
        "Cosine distance of one word's vectors, before the head, between unseen sentences of its two senses and between"
        " those of the same, and the share of sentences that are nearer to the middle of their own sense (chance 0.50)."
        " One network each."
    )
    head = ["", "different senses", "same sense", "told apart"]
    tables: list[Table] = []
    for word in dict.fromkeys(each.word for each in results.senses):
        those = [each for each in results.senses if each.word == word]
        rows = [[title[s.contender], f"{s.apart:.2f}", f"{s.within:.2f}", f"{s.right:.2f}"] for s in those]
        tables.append(([word, *head[1:]], rows))
    return [("One word in two senses", text, tables, ["apart"])]


def _words(results: Results, title: dict[str, str]) -> list[Part]:
    if not results.words:
        return []
    text = (
        "Places of a word in the text: the cosine distance of its vectors between two places, on average, how well they"
        " fall into two groups (silhouette, from −1 to 1), and the most central place of each group."
    )
    tables: list[Table] = []
    for word in dict.fromkeys(each.word for each in results.words):
        rows = [
            [
                title[w.contender],
                f"{w.count}",
                f"{w.apart:.2f}",
                f"{w.split:.2f}",
                *(_tail(g[0]) for g in w.groups if g),
            ]
            for w in results.words
            if w.word == word
        ]
        tables.append(([word, "places", "apart", "two groups", "one", "other"], rows))
    return [("Words of the text", text, tables, [])]


def _tail(context: str) -> str:
    return "… " + " ".join(context.split())[-40:]


def _scale(results: Results, title: dict[str, str]) -> list[Part]:
    if not results.settings.scale:
        return []
    rows = []
    for each, called in title.items():
        row = [called]
        for by in ("parameters", "data"):
            points = results.scaled(each, by)
            found = law(*points)
            at = [said([loss for x, loss in zip(*points, strict=True) if x == size]) for size in sorted(set(points[0]))]
            row += [" · ".join(at), "–" if found is None else f"{found.power:.3f} ± {found.error:.3f}"]
        rows.append(row)
    text = (
        "Loss at a quarter, half and all of the parameters, and of the tokens, and the power by which it falls with"
        " each, ± its standard error: loss = factor · x^(−power), fitted to all seeds. Few and small sizes: what holds"
        " here need not hold far beyond."
    )
    head = ["", "loss by parameters", "power", "loss by tokens", "power"]
    return [("Scale", text, [(head, rows)], ["scale"])]


def _work(results: Results, title: dict[str, str]) -> Part:
    lengths = sorted({cost.length for cost in results.costs})
    tables: list[Table] = []
    columns: list[tuple[str, Callable[[Cost], str]]] = [
        ("reading, ms", lambda cost: f"{cost.read * 1e3:.1f}"),
        ("reading, tokens a second", lambda cost: f"{cost.length / cost.read:,.0f}"),
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
        f" keeps grows. {crossing(results.costs)}"
    )
    return "Work that must wait", text, tables, ["work"]


def _fair(results: Results, title: dict[str, str]) -> Part:
    settings = results.settings
    sizes = [count for by in results.parameters.values() for count in by.values()]
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    many = f"{min(sizes):,} to {max(sizes):,}" if sizes else ""
    equal = f"of {settings.parameters:,} parameters" + (f" ({many})" if many else "")
    if settings.state:
        equal = f"that keep {settings.state:,} numbers of a problem's shortest text" + (
            f", and so have {many} parameters" if many else ""
        )
    clock = "of the processor" if results.threads == 1 else "by the clock"
    dropped = any(run.by == "whole trial" for run in results.trials)
    dropout = "dropout where a text is read often" if dropped else "no dropout, since no example is read often"
    text = (
        f"{len(settings.models)} contenders {equal}, two layers each, the same examples in the same order, AdamW with"
        f" warm-up and half a cosine, {len(RATES)} rates tried for each on each problem, seeds"
        f" {', '.join(map(str, seeds))}; {dropout}; no short convolution but Mamba's and the delta net's own, except"
        f" where one is said to stand in front of all; {results.threads}"
        f" {'thread' if results.threads == 1 else 'threads'}, seconds {clock}."
    )
    tables: list[Table] = []
    for name in dict.fromkeys(run.problem for run in results.trials):
        rows = []
        for each, called in title.items():
            loss = {run.rate: f"{run.loss:.3f}" for run in results.tried(name, each, "trial")}
            chosen = results.rate(name, each)
            rows.append([called, *(loss.get(rate, "–") + " ✓" * (rate == chosen) for rate in RATES)])
        tables.append(([f"{name}: loss of the trials by rate", *(f"{rate:g}" for rate in RATES)], rows))
    tables.append((["runs as", ""], [[title[each], CONTENDERS[each].fair] for each in title]))
    return "How it was run", text, tables, []


def _markdown(parts: list[Part], drawings: set[str], command: str) -> str:
    lines = ["# A race: word by word against all at once", ""]
    for heading, text, tables, names in parts:
        lines += [f"## {heading}", "", text, ""]
        for head, rows in tables:
            lines += [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
            lines += [f"| {' | '.join(row)} |" for row in rows]
            lines.append("")
        lines += [f"![{heading}](figures/{name}.svg)\n" for name in names if name in drawings]
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
th:first-child { text-align: left } tbody th { font-weight: normal }
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
            lines = "".join(_row(row) for row in rows)
            body.append(f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>')
        body.append("</section>")
    body.append(f"<section><h2>Again</h2><pre>{escape(command)}</pre></section>")
    title = "A race: word by word against all at once"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style><body>{''.join(body)}</body></html>"
    )


def _row(row: list[str]) -> str:
    first, *others = map(escape, row)
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{each}</td>" for each in others)}</tr>'


def _csv(results: Results, problems: dict[str, Problem]) -> str:
    """A row for each point of a curve, each test and each cost."""
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    about = ("problem", "contender", "by", "rate", "dropout", "seed", "parameters")
    out.writerow(("what", *about, "at", "tokens", "seconds", "value"))
    for run in results.trials + results.runs:
        those = [getattr(run, each) for each in about]
        for point in run.curve:
            out.writerow(("loss", *those, f"step {point.step}", point.tokens, point.seconds, point.loss))
        for place, test in enumerate(tests(problems[run.problem])):
            where = f"{test.at} {test.name}"
            out.writerow(("state", *those, where, "", "", run.kept[place]))
            if run.right is not None:
                out.writerow(("right", *those, where, "", "", run.right[place]))
    for cost in results.costs:
        for name in ("read", "trained", "written", "kept", "chain", "products"):
            out.writerow((name, "", cost.contender, "", "", "", "", "", cost.length, "", "", getattr(cost, name)))
    for contender, by in results.fading.items():
        for at, value in by.items():
            out.writerow(("fading", "recall", contender, "", "", "", "", "", at, "", "", value))
    for sense in results.senses:
        for name in ("apart", "within", "right"):
            what = "told apart" if name == "right" else name
            out.writerow(
                (what, "senses", sense.contender, "", "", "", "", "", sense.word, "", "", getattr(sense, name))
            )
    for word in results.words:
        for name in ("count", "apart", "split"):
            out.writerow((name, "text", word.contender, "", "", "", "", "", word.word, "", "", getattr(word, name)))
    return file.getvalue()

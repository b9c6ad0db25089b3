"""The report card: one HTML file that needs nothing else."""

from collections.abc import Sequence
from html import escape

from limelight.report.choices import QUESTIONS
from limelight.report.instructions import INSTRUCTIONS, SUBJECTS
from limelight.report.measures import Found
from limelight.report.stages import Stage

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top; padding: .3rem .6rem;
border-bottom: 1px solid #ddd } td.n, th.n { text-align: right }
.said { white-space: pre-wrap; overflow-wrap: anywhere }
.no { color: #b4472e } .yes { color: #2f8f83 } svg { width: 100%; height: auto } small { color: #666 }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 1.5rem } mark { color: inherit; padding: 0 .1em }
@media (max-width: 40rem) { .two { grid-template-columns: 1fr } }
"""

WIDE, HIGH, EDGE = 640, 200, 46  # of a figure


def card(stages: Sequence[Stage], before: Found, after: Found, text: str, question: str) -> str:
    """The whole page. text: the name of the other text."""
    name = escape(str(stages[-1].folder))
    kept = [sum(found.kept) for found in (before, after)]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Report on {name}</title><style>{STYLE}</style><h1>{name}</h1>",
        f"<p>Before: {escape(before.name)}. After: {escape(after.name)}. Answers are always the likeliest token.</p>",
        f"<p>Instructions kept: <b>{kept[0]} → {kept[1]}</b> of {len(INSTRUCTIONS)}. Questions with four answers:"
        f" <b>{before.right} → {after.right}</b> of {len(QUESTIONS)} right (by chance {len(QUESTIONS) / 4:.0f})."
        f" Perplexity on {escape(text)}: <b>{before.perplexity:.2f} → {after.perplexity:.2f}</b>"
        f" ({100 * (after.perplexity / before.perplexity - 1):+.1f} %; higher: some of it was forgotten),"
        f" {before.bits:.3f} → {after.bits:.3f} bits a byte.</p>",
        *(_stage(number, stage) for number, stage in enumerate(stages, 1)),
        _rests(before, after, question),
        _instructions(before, after),
        _questions(before, after),
    ]
    return "\n".join(parts) + "\n"


def _stage(number: int, stage: Stage) -> str:
    settings = stage.settings
    how = f"LoRA of rank {settings.lora}" if settings.lora else "all weights"
    rows = [f"<h2>Stage {number}: {settings.task}</h2>"]
    rows.append(f"<p>{escape(stage.folder.name)}, from {escape(settings.model)}; {how}, rate {settings.lr:g}.</p>")
    rows.append(_curve({"learned": stage.values("loss"), "held out": stage.values("valid_loss")}))
    titles = {
        "valid_loss": "loss on what was held out",
        "ranked": "held-out pairs ranked right, %",
        "margin": "margin of rewards",
        "chosen_change": "chosen answers’ own log-probability, a token",
    }
    measured = {title: stage.values(name) for name, title in titles.items() if stage.values(name)}
    if measured:
        rows.append("<table><tr><th><th class=n>first<th class=n>last<th class=n>steps")
        for title, values in measured.items():
            first, last = values[0], values[-1]
            rows.append(
                f"<tr><td>{title}<td class=n>{first[1]:.3f}<td class=n>{last[1]:.3f}<td class=n>{first[0]} to {last[0]}"
            )
        rows.append("</table>")
    return "\n".join(rows)


def _curve(lines: dict[str, list[tuple[int, float]]]) -> str:
    """Lines over steps, as an SVG."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return "<p>No loss was logged yet.</p>"
    most = max(step for step, _ in points)
    low, high = min(value for _, value in points), max(value for _, value in points)
    span = (high - low) or 1.0

    def place(step: int, value: float) -> tuple[float, float]:
        x = EDGE + (WIDE - 2 * EDGE) * step / max(most, 1)
        return round(x, 1), round(20 + (HIGH - 50) * (high - value) / span, 1)

    drawn = [f"<svg viewBox='0 0 {WIDE} {HIGH}' role=img aria-label='loss by step' font-size=12>"]
    for value in (low, high):
        y = place(0, value)[1]
        drawn.append(f"<text x=4 y={y + 4}>{value:.2f}</text><path d='M{EDGE} {y}H{WIDE - EDGE}' stroke='#ddd'/>")
    drawn.append(f"<text x={WIDE - EDGE} y={HIGH - 8} text-anchor=end>step {most:,}</text>")
    for at, ((name, line), colour) in enumerate(zip(lines.items(), ("#3467a8", "#b4472e"), strict=False)):
        places = [place(*point) for point in line]
        drawn.append(f"<polyline points='{' '.join(f'{x},{y}' for x, y in places)}' fill=none stroke='{colour}'/>")
        drawn += [f"<circle cx={x} cy={y} r=3 fill='{colour}'/>" for x, y in places]
        drawn.append(f"<text x={EDGE + 90 * at} y=12 fill='{colour}'>{name}</text>")
    return "".join(drawn) + "</svg>"


def _rests(before: Found, after: Found, question: str) -> str:
    """Which words of the question each answer rests on."""
    sides = []
    for name, found in (("Before", before), ("After", after)):
        words = "<p>It said nothing.</p>"
        if found.rests is not None:
            most = max((heard.importance or 0.0 for heard in found.rests.words), default=0.0)
            shown = []
            for heard in found.rests.words:
                value = max(heard.importance or 0.0, 0.0)
                shade = round(0.75 * value / most, 3) if most > 0 else 0
                title = "not measured" if heard.importance is None else f"loses {heard.importance:.2f} nats"
                shown.append(
                    f"<mark style='background:rgba(217,139,42,{shade})' title='{title}'>{escape(heard.word)}</mark>"
                )
            told = " ".join(escape(sentence) for sentence in found.rests.told())
            words = f"<p>{' '.join(shown)}</p><p><small>{told}</small></p>"
        sides.append(f"<div><h3>{name}</h3><p class=said>{escape(found.answer.strip())}</p>{words}</div>")
    return (
        f"<h2>What the answer rests on</h2><p>Asked: {escape(question)} The darker a word, the less likely the whole"
        f" answer is without it.</p><div class=two>{''.join(sides)}</div>"
    )


def _instructions(before: Found, after: Found) -> str:
    rows = [
        "<h2>Answers side by side</h2><p>Whether an instruction was kept is checked by a rule (in IFEval’s manner);"
        " an answer that says the question again keeps none. Of each rule, one answer of"
        f" {SUBJECTS} is shown; the numbers count all.</p>"
    ]
    rows.append("<table><tr><th>kind<th>asked<th>before<th>after")
    for at in range(0, len(INSTRUCTIONS), SUBJECTS):
        each, cells = INSTRUCTIONS[at], []
        for found in (before, after):
            mark = "<b class=yes>✓</b>" if found.kept[at] else "<b class=no>✗</b>"
            kept = sum(found.kept[at : at + SUBJECTS])
            cells.append(
                f"<td class=said>{mark} {escape(found.answers[at].strip())} <small>{kept} of {SUBJECTS}</small>"
            )
        rows.append(f"<tr><td>{each.kind}<td>{escape(each.asks)}{''.join(cells)}")
    return "\n".join(rows) + "</table>"


def _questions(before: Found, after: Found) -> str:
    """Which of four answers each finds the likeliest."""
    rows = ["<h2>Questions with four answers</h2><p>The likeliest of them, a token of it on average.</p>"]
    rows.append("<table><tr><th>asked<th>right<th>before<th>after")
    for at, each in enumerate(QUESTIONS):
        cells = []
        for chosen in (before.chosen[at], after.chosen[at]):
            mark = "<b class=yes>✓</b>" if chosen == each.right else "<b class=no>✗</b>"
            cells.append(f"<td>{mark} {escape(chosen)}")
        rows.append(f"<tr><td>{escape(each.asks)}<td>{escape(each.right)}{''.join(cells)}")
    return "\n".join(rows) + "</table>"

"""How ``limelight eval classify`` and ``tag`` show how good a model of labels is."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from limelight.cli import screen
from limelight.errors import RequestError
from limelight.look.plain import plain

if TYPE_CHECKING:
    from rich.console import Console

    from limelight.labels import Classifier, Tagger
    from limelight.tasks.judged import Judged

MOST = 20
"""Labels at most that a table on the screen has columns for."""


def classifier(
    console: "Console", model: "Classifier", files: list[str], columns: list[str], picture: Path | None, json: bool
) -> None:
    """Judges a classifier and prints, or draws into a file, what came out. Raises RequestError or FileError."""
    from limelight.tasks.judged import judge
    from limelight.train.examples import columns as found_in
    from limelight.train.examples import labelled

    if picture is not None:
        screen.writable(picture)
        _matplotlib()
    named = found_in(files, columns)
    if not columns and not json:
        screen.remark(f"columns: {named[0]} holds the texts, {named[1]} the labels")
    texts = [(text, label) for text, label in labelled(files, named) if text and label]
    with screen.progress("judging", quiet=json, unit=str, after=0.5) as tell:
        found = judge(model, texts, tell)
    if picture is not None:
        _draw(found, picture)
    if json:
        screen.print_json({"model": model.name, "test": files, **plain(found), "confusion": found.confusion.tolist()})
        return
    console.print(f"{found.texts:,} texts: accuracy {found.accuracy} %, macro-F1 {found.macro_f1} %\n", soft_wrap=True)
    if len(found.labels) <= MOST:
        console.print(_confusion(found))
    for label, heard in found.decides.items():
        said = ", ".join(f"{each.word} ({each.weight:.1f} in {each.texts})" for each in heard[:6])
        if said:
            console.print(screen.clean(f"speaks for {label}: {said}"), soft_wrap=True)
    _mistakes(console, found.mistakes, shares=True)


def tagger(console: "Console", model: "Tagger", files: list[str], json: bool) -> None:
    """Judges a tagger and prints what came out. Raises RequestError or FileError."""
    from limelight.tasks.judged import judge_tags
    from limelight.train.examples import tagged

    texts = list(tagged(files))
    with screen.progress("judging", quiet=json, unit=str, after=0.5) as tell:
        found = judge_tags(model, texts, tell)
    if json:
        screen.print_json({"model": model.name, "test": files, **plain(found)})
        return
    said = f"{found.texts:,} texts: F1 of spans {found.f1} %, accuracy of words {found.accuracy} %\n"
    console.print(said, soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("span", "F1"):
        table.add_column(heading)
    for label, measure in found.by_label.items():
        table.add_row(screen.line(label), str(measure))
    console.print(table)
    _mistakes(console, found.mistakes, shares=False)


def _confusion(found: "Judged") -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title="right ↓ taken for →", title_justify="left")
    table.add_column("")
    for label in found.labels:
        table.add_column(screen.line(label), justify="right")
    for row, label in enumerate(found.labels):
        cells = [f"{count:,}" if count else "·" for count in found.confusion[row].tolist()]
        table.add_row(screen.line(label), *cells)
    return table


def _mistakes(console: "Console", mistakes: Any, *, shares: bool) -> None:
    if mistakes:
        console.print("\nThe mistakes it was surest of:" if shares else "\nMistakes:")
    for each in mistakes:
        sure = f" ({each.probability:.0%})" if shares else ""
        console.print(f"  {screen.line(each.text)}\n    {each.found}{sure}, right: {each.right}", soft_wrap=True)


def _matplotlib() -> None:
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise RequestError('pictures are drawn by matplotlib; install it with: pip install "limelight[train]"')


def _draw(found: "Judged", file: Path) -> None:
    """The words that decide each label, as bars."""
    from matplotlib.figure import Figure  # type: ignore[import-not-found,unused-ignore]

    shown = [(label, heard) for label, heard in found.decides.items() if heard]
    figure = Figure(figsize=(4 * min(3, max(1, len(shown))), 2.6 * -(-len(shown) // 3) or 2.6), layout="constrained")
    all_axes = figure.subplots(max(1, -(-len(shown) // 3)), min(3, max(1, len(shown))), squeeze=False).flatten()
    for axes in all_axes[len(shown) :]:
        axes.set_axis_off()
    for axes, (label, heard) in zip(all_axes, shown, strict=False):
        axes.barh([each.word for each in heard][::-1], [each.weight for each in heard][::-1])
        axes.set(title=label, xlabel="log-odds lost without it")
    with screen.beside(file) as stream:
        figure.savefig(stream, dpi=120, format="png")

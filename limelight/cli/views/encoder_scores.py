"""How ``limelight eval`` shows how good a model is at a verb: by its labels, answers, vectors, words or summaries."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.table import Table

from limelight.cli import screen
from limelight.errors import RequestError
from limelight.look.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

    from limelight import Model, Translator
    from limelight.encoder import Embedder, EncoderModel, MaskedModel
    from limelight.labels import Classifier, SpanModel, Tagger
    from limelight.tasks.evaluation.labels import Judged
    from limelight.tasks.evaluation.measures import Measure, Progress

R = TypeVar("R")

MOST = 20
"""Labels at most that a table on the screen has columns for."""


def classifier(
    console: "Console", model: "Classifier", files: list[str], columns: list[str], picture: Path | None, json: bool
) -> None:
    """Judges a classifier and prints, or draws into a file, what came out. Raises RequestError or FileError."""
    from limelight.tasks.evaluation.labels import judge, judge_several
    from limelight.train.examples import columns as found_in
    from limelight.train.examples import headless, labelled

    if picture is not None:
        screen.writable(picture)
        _matplotlib()
    named = found_in(files, columns)
    if not columns and not json:
        screen.remark(f"columns: {named[0]} holds the texts, {named[1]} the labels{headless(named)}")
    texts = [(text, labels) for text, labels in labelled(files, named) if text and labels is not None]
    if model.several:
        if picture is not None:
            raise RequestError("--picture draws the words that decide between labels; of this model several may fit")
        several = _judged(lambda tell: judge_several(model, texts, tell), model, files, json)
        if json:
            return
        said = f"{several.texts:,} texts: F1 of labels {several.f1} %, all labels of a text right {several.exact} %\n"
        console.print(said, soft_wrap=True)
        console.print(_each(several.by_label, "label"))
        _mistakes(console, several.mistakes, shares=True)
        return
    if long := [text for text, labels in texts if len(labels) != 1]:
        raise RequestError(f"{model.name} gives a text one label, and {len(long):,} of these have none or several")

    def judged(tell: "Progress") -> "Judged":
        found = judge(model, [(text, label) for text, (label,) in texts], tell)
        if picture is not None:
            _draw(found, picture)
        return found

    found = _judged(judged, model, files, json)
    if json:
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
    from limelight.tasks.evaluation.labels import judge_tags
    from limelight.train.examples import tagged

    texts = list(tagged(files))
    found = _judged(lambda tell: judge_tags(model, texts, tell), model, files, json)
    if json:
        return
    said = f"{found.texts:,} texts: F1 of spans {found.f1} %, accuracy of words {found.accuracy} %\n"
    console.print(said, soft_wrap=True)
    console.print(_each(found.by_label, "span"))
    _mistakes(console, found.mistakes, shares=False)


def answers(console: "Console", model: "SpanModel", files: list[str], json: bool) -> None:
    """Judges a model that marks answers and prints what came out. Raises RequestError or FileError."""
    from limelight.tasks.evaluation.encoders import judge_answers
    from limelight.train.questions import questions

    asked = list(questions(files))
    found = _judged(lambda tell: judge_answers(model, asked, tell), model, files, json)
    if json:
        return
    console.print(f"{found.questions:,} questions: exact {found.exact} %, F1 {found.f1} %", soft_wrap=True)
    if found.mistakes:
        console.print("\nThe mistakes it was surest of:")
    for each in found.mistakes:
        said, right = each.found or "no answer", each.right or "no answer"
        console.print(
            screen.clean(f"  {screen.line(each.question)}\n    {said} ({each.probability:.0%}), right: {right}"),
            soft_wrap=True,
        )


def vectors(console: "Console", model: "Embedder", files: list[str], columns: list[str], json: bool) -> None:
    """Judges a model that makes vectors and prints what came out. Raises RequestError or FileError."""
    from limelight.tasks.evaluation.encoders import judge_vectors
    from limelight.train.examples import headless
    from limelight.train.similar import beside
    from limelight.train.similar import columns as found_in

    named = found_in(files, columns)
    if not columns and not json:
        screen.remark(f"columns: {', '.join(named)}{headless(named)}")
    pairs = [each for each in beside(files, named) if each is not None]
    found = _judged(lambda tell: judge_vectors(model, pairs, tell), model, files, json)
    if json:
        return
    if found.rank is not None:
        console.print(f"{found.pairs:,} pairs: rank correlation of scores and cosines {found.rank}", soft_wrap=True)
    else:
        said = f"{found.pairs:,} pairs: the second text is the nearest of all {found.first} %"
        console.print(f"{said}, mean reciprocal rank {found.reciprocal}", soft_wrap=True)


def fills(console: "Console", model: "MaskedModel", files: list[str], columns: list[str], json: bool) -> None:
    """Judges a model that fills gaps and prints what came out. Raises RequestError or FileError."""
    from limelight.tasks.evaluation.masked import judge_fills
    from limelight.train.examples import column_of_texts, headless, plain_texts

    named = column_of_texts(files, columns)
    if named and not columns and not json:
        screen.remark(f"column: {named[0]}{headless(named)}")
    found = _judged(lambda tell: judge_fills(model, plain_texts(files, named), tell), model, files, json)
    if not json:
        said = f"{found.gaps:,} gaps in {found.windows:,} windows: perplexity {found.perplexity}"
        console.print(f"{said}, likeliest token right {found.accuracy} %", soft_wrap=True)


def summaries(
    console: "Console", model: "Model | Translator", files: list[str], columns: list[str], json: bool
) -> None:
    """Judges what sums up texts and prints what came out. Raises RequestError or FileError."""
    from limelight.tasks.evaluation.summaries import judge_summaries, rouge
    from limelight.train.examples import headless
    from limelight.train.summaries import columns as found_in
    from limelight.train.summaries import shorts

    rouge([""], [[""]])  # says what is missing
    named = found_in(files, columns)
    if not columns and not json:
        screen.remark(f"columns: {named[0]} holds the texts, {named[1]} the summaries{headless(named)}")
    texts = [each for each in shorts(files, named) if each is not None]
    found = _judged(lambda tell: judge_summaries(model.summarise, texts, tell), model, files, json)
    if json:
        return
    console.print(f"{found.texts:,} texts, ROUGE's F1 × 100\n", soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "ROUGE-1", "ROUGE-2", "ROUGE-L"):
        table.add_column(heading)
    for what, side in (("the model", found.rouge), ("first sentence", found.first_sentence)):
        table.add_row(what, *map(str, side.values()))
    console.print(table)


def _judged(
    judge: "Callable[[Progress], R]", model: "EncoderModel | Model | Translator", files: list[str], json: bool
) -> R:
    """What came out, which is printed if it is wanted as JSON."""
    with screen.progress("judging", quiet=json, unit=str, after=0.5) as tell:
        found = judge(tell)
    if json:
        screen.print_json({"model": model.name, "test": files, **plain(found)})
    return found


def _each(measures: "Mapping[str, Measure]", what: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in (what, "F1"):
        table.add_column(heading)
    for label, measure in measures.items():
        table.add_row(screen.line(label), str(measure))
    return table


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

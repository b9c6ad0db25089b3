"""``limelight report``: what became of a model that was trained on."""

from pathlib import Path
from typing import Annotated

import typer

from limelight.cli import options as o


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page; else report.html in the run's folder.")
    ] = None,
    question: Annotated[
        str, typer.Option(metavar="TEXT", help="What is asked to see on which words the answer rests.")
    ] = "Name an animal that lives in the sea and say why people like it.",
    text: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Other text, on which perplexity is measured before and after.")
    ] = None,
    device: o.Device = "cpu",
) -> None:
    """Write a report card on an assistant: one HTML file.

    The loss by stage, how many instructions are kept (checked by rules), pairs
    ranked right, questions with four answers, perplexity on other text, twenty
    answers side by side, and on which words of a question the answer rests:
    before the training and after.

    Example:

      limelight report runs/helper
    """
    from limelight import Model
    from limelight.cli import screen
    from limelight.cli.screen import progress
    from limelight.errors import RequestError
    from limelight.report.card import card
    from limelight.report.measures import OTHER, Found, measure
    from limelight.report.stages import first, stages
    from limelight.train.data import read_texts
    from limelight.train.disk import write

    if not (run / "settings.toml").is_file():
        raise RequestError(f"{run} is no folder of a training; name one that limelight train assistant wrote")
    if not question.strip():
        raise RequestError("the question is empty; ask something")
    page = out or run / "report.html"
    if page.is_dir():
        raise RequestError(f"{page} is a folder; name a file for the report")
    found = stages(run)
    other = OTHER if text is None else "".join(piece for piece, _ in read_texts([text]))
    measured: list[Found] = []
    for model, name in ((first(found), "before"), (str(run), "after")):
        opened = o.open_model(model, device=device, dtype="float32", quiet=True)
        assert isinstance(opened, Model)
        with progress(f"asking the model {name}", quiet=False, unit=str) as tell:
            measured.append(measure(opened, model, other, question, tell))
        del opened
    before, after = measured
    write(page, card(found, before, after, "a page of prose" if text is None else text.name, question))
    kept = [sum(each.kept) for each in measured]
    screen.stdout().print(
        f"Instructions kept: {kept[0]} → {kept[1]} of {len(before.kept)}; questions right: {before.right} →"
        f" {after.right} of {len(before.chosen)}; perplexity on other text: {before.perplexity:.2f} →"
        f" {after.perplexity:.2f}.\n\nThe report: {page}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )

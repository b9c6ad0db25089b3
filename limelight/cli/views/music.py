"""How ``limelight look --bar`` shows which earlier bars of a tune a bar is listening to."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from limelight.cli.screen import beside, clean, print_json, progress
from limelight.look.question import Question
from limelight.look.wording import folded

if TYPE_CHECKING:
    from limelight import Model

OPTIONS = frozenset(("text", "model", "bar", "note", "html", "json", "device", "dtype"))
"""The options that mean something with ``--bar``."""


def show(
    console: Console, model: "Model", text: str, bar: int, note: int | None, html: Path | None, json: bool
) -> None:
    """Prints which of the header and the bars before a bar, or a note of it, rests on. Raises a LimelightError for what
    is no tune, or a model of something else."""
    from limelight.tasks.compose import About
    from limelight.tasks.look_music import SeenTune
    from limelight.tasks.pieces import tune

    About.of(model.path).of_tunes(model.name)
    read = tune(text)
    seen = SeenTune(model.opened, model.tokenizer, read, model._checked)
    with progress("taking bars away", quiet=json, unit=str, after=0.5) as tell:
        found = seen.importance(bar, note, tell)
        if html is not None:
            from limelight.views import staff

            page = staff.page(seen, read, bar, note, model.title, tell)
            with beside(html) as stream:
                stream.write(page.encode())
    if json:
        print_json({"model": model.name, "tune": seen.text, **found.to_json()})
        return
    for sentence in found.told():
        console.print(clean(sentence), soft_wrap=True)
    console.print()
    table = Table.grid(padding=(0, 2))
    for place, each in enumerate(found.words):
        loss = each.importance or 0.0
        owes = f"{folded(loss)} likely" if abs(loss) > Question.least else "about as likely"
        table.add_row(Text(clean(each.word.replace("\n", " ")), "bold" if place in found.named else ""), owes)
    console.print(table)
    if html is not None:
        console.print(f"\n{clean(str(html))} opens in any browser, without a network.", soft_wrap=True)
    console.print("\nMeasured: How much less likely is it when the bar is hidden from all that follows?")

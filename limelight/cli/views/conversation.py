"""How ``limelight look --chat`` shows a whole answer: which sentences of the prompt it rests on, then which words."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from limelight.cli.screen import ADDED, clean, print_json, progress
from limelight.look.plain import plain
from limelight.look.question import Question
from limelight.look.wording import folded, quoted

if TYPE_CHECKING:
    from limelight import Model

OPTIONS = frozenset(("text", "model", "chat", "json", "device", "dtype"))
"""The options that mean something with ``--chat``."""


def show(console: Console, model: "Model", prompt: str, json: bool) -> None:
    """Prints the model's answer to a message, what each sentence of it owes to which sentence of the message, and the
    words that the whole of it depends on."""
    with progress("writing an answer", quiet=json):
        seen = model.look([{"role": "user", "content": prompt}])
    with progress("hiding each sentence", quiet=json, unit=str, after=0.5) as tell:
        matrix = seen.matrix("sentence", "sentence", tell)
    with progress("taking words away", quiet=json, unit=str, after=0.5) as tell:
        found = seen.importance(by="word", progress=tell)
    if json:
        told = {"model": model.name, "prompt": prompt, "answer": seen.answer}
        sides = {"rows": plain(matrix.rows), "columns": plain(matrix.columns), "losses": matrix.values.tolist()}
        print_json({**told, "matrix": sides, "importance": found.to_json()})
        return
    console.print(Text(clean(seen.answer), ADDED), soft_wrap=True)
    console.print()
    table = Table.grid(padding=(0, 2))
    for part, row in zip(matrix.rows, matrix.values, strict=True):
        place = int(row.argmax())
        loss = float(row[place])
        owes = f"{folded(loss)} likely without {quoted(clean(matrix.columns[place].text))}"
        if loss <= Question.least:
            owes = "no sentence of yours makes a difference"
        table.add_row(Text(quoted(clean(part.text)), "bold"), owes)
    console.print(table)
    console.print()
    for sentence in found.told()[1:]:
        console.print(clean(sentence))

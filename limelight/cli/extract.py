"""``limelight extract``: a JSON object out of free text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight.cli.rows import Answer, Row


def extract(
    schema: Annotated[Path, typer.Option(metavar="FILE", help="A JSON schema of what is wanted.")],
    texts: o.Texts = None,
    model: o.ModelOption = None,
    file: o.Files = None,
    columns: o.Columns = None,
    out: o.Out = None,
    json: o.JsonLines = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Read a JSON object off each text; it always has the schema's shape.

    The schema's names and descriptions are what the chat model is told.

    Example:

      limelight extract --schema order.json "Two pizzas for Ada, please."
      limelight extract --schema order.json --file mails.csv --out orders.jsonl
    """
    from json import dumps

    from limelight.checkpoints.files import read_json
    from limelight.cli import rows

    wanted = read_json(schema, "it says what is wanted")
    given = rows.given(texts, file, columns)
    opened = o.open_model(model, device=device, dtype=dtype, quiet=json)

    def verb(part: list["Row"]) -> list["Answer"]:
        return [{"found": opened.extract(row.text, wanted)} for row in part]

    def show(row: "Row", found: "Answer") -> str:
        return dumps(found["found"], ensure_ascii=False) + "\n"

    rows.answer(given, verb, show, out=out, json=json, window=1, title="extracting")

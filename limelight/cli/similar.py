"""``limelight similar``: how near two texts are in meaning."""

from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight.cli.rows import Answer, Row


def similar(
    texts: o.Texts = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="A model that embeds texts, or a cross-encoder.")
    ] = "minilm",
    file: o.Files = None,
    columns: o.Columns = None,
    out: o.Out = None,
    json: o.JsonLines = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Say how near the texts of a pair are: the cosine of their vectors, or a cross-encoder's score.

    A pair is two texts, or two columns of a table.

    Example:

      limelight similar "A cat sleeps." "A kitten naps."
      limelight similar --file pairs.csv --columns question answer --out near.csv
    """
    from limelight.cli import rows

    given = rows.given(texts, file, columns, pairs=True)
    opened = o.open_scorer(model, device=device, dtype=dtype, quiet=json)

    def verb(part: list["Row"]) -> list["Answer"]:
        found = opened.score([(row.text, row.other) for row in part])
        return [{"other": row.other, "score": score} for row, score in zip(part, found, strict=True)]

    def show(row: "Row", found: "Answer") -> str:
        return f"{found['score']:.3f}\n".replace("-", "−")

    rows.answer(given, verb, show, out=out, json=json, title="comparing")

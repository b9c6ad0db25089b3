"""``limelight fill``: words for the gaps in a text."""

from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight.cli.rows import Answer, Row


def fill(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="A model that fills gaps: a name, folder or hub id.")
    ],
    texts: o.Texts = None,
    n: Annotated[
        int, typer.Option("--n", "-n", metavar="N", min=1, help="Show the N likeliest words of each gap.")
    ] = 5,
    file: o.Files = None,
    columns: o.Columns = None,
    out: o.Out = None,
    json: o.JsonLines = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Show the likeliest words for each gap in a text.

    A gap is the model's own mask: [MASK] for BERT, <mask> for RoBERTa.

    Example:

      limelight fill --model bert-base-uncased "The cat [MASK] on the mat."
    """
    import limelight
    from limelight.cli import rows

    given = rows.given(texts, file, columns)
    opened = o.open_encoder(model, limelight.MaskedModel, "fills gaps", device=device, dtype=dtype, quiet=json)

    def verb(part: list["Row"]) -> list["Answer"]:
        found = [opened.fill(row.text, n) for row in part]
        return [{"gaps": [[{"token": t, "probability": p} for t, p in gap] for gap in gaps]} for gaps in found]

    def show(row: "Row", found: "Answer") -> str:
        gaps = ["  ".join(f"{each['token']} {each['probability']:.1%}" for each in gap) for gap in found["gaps"]]
        return "".join(f"gap {number}: {said}\n" if gaps[1:] else f"{said}\n" for number, said in enumerate(gaps, 1))

    rows.answer(given, verb, show, out=out, json=json, window=1, title="filling")

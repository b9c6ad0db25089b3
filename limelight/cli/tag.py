"""``limelight tag``: names, slots, parts of speech: the labels of a text's words."""

from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight.cli.rows import Answer, Row


def tag(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="A model that labels words: a training's folder, …")
    ],
    texts: o.Texts = None,
    file: o.Files = None,
    columns: o.Columns = None,
    out: o.Out = None,
    json: o.JsonLines = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Label the words of texts: spans of whole words, with their places.

    Example:

      limelight tag --model runs/names "Ada Lovelace lived in London."
      limelight tag --model runs/names --file mails.csv --columns body --out tags.jsonl
    """
    import limelight
    from limelight.cli import rows

    opened = o.open_encoder(model, limelight.Tagger, "labels words", device=device, dtype=dtype, quiet=json)

    def verb(part: list["Row"]) -> list["Answer"]:
        found = opened.tag([row.text for row in part])
        return [{"spans": [vars(span) for span in spans]} for spans in found]

    def show(row: "Row", found: "Answer") -> str:
        parts, at = [], 0
        for span in found["spans"]:
            parts += [row.text[at : span["start"]], f"[{span['text']}]({span['label']})"]
            at = span["end"]
        return "".join([*parts, row.text[at:]]) + "\n"

    rows.answer(rows.given(texts, file, columns), verb, show, out=out, json=json, title="tagging")

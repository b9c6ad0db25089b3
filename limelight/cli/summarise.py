"""``limelight summarise``: texts in a sentence or two."""

from typing import TYPE_CHECKING

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight.cli.rows import Answer, Row


def summarise(
    texts: o.Texts = None,
    model: o.ModelOption = None,
    file: o.Files = None,
    columns: o.Columns = None,
    out: o.Out = None,
    json: o.JsonLines = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Say in short what texts say; a long one by parts, then their summaries together.

    By a chat model, or an encoder–decoder that was made for it (T5, BART, Pegasus).

    Example:

      limelight summarise --file report.txt
      limelight summarise --file papers/ --out summaries.jsonl
    """
    import limelight
    from limelight.cli import rows
    from limelight.errors import RequestError

    given = rows.given(texts, file, columns, whole=True)
    opened = o.open_whatever(model, device=device, dtype=dtype, quiet=json)
    if not isinstance(opened, limelight.Model | limelight.Translator):
        raise RequestError(f"{opened.name} {o.what(opened)}; name a chat model, or an encoder–decoder")

    def verb(part: list["Row"]) -> list["Answer"]:
        return [{"summary": opened.summarise(row.text)} for row in part]

    def show(row: "Row", found: "Answer") -> str:
        return (f"{row.named}: " if row.named else "") + f"{found['summary']}\n"

    rows.answer(given, verb, show, out=out, json=json, window=1, title="summarising")

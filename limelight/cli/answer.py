"""``limelight answer``: the answer to a question, out of texts, with its place."""

from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight.cli.rows import Answer, Row


def answer(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to look for.", show_default=False)],
    texts: o.Texts = None,
    model: o.ModelOption = None,
    file: o.Files = None,
    columns: o.Columns = None,
    out: o.Out = None,
    json: o.JsonLines = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Find the answer to a question in texts, and where it stands.

    A model that marks answers (limelight opens any …ForQuestionAnswering) reads
    them in windows; a chat model is asked about each, by parts if it is long.
    Both may say that the text does not hold the answer.

    Example:

      limelight answer "Who wrote it?" "Emma is a novel by Jane Austen."
      limelight answer "When is rent due?" --file lease.txt --model smollm2
    """
    import limelight
    from limelight.cli import rows
    from limelight.errors import RequestError

    given = rows.given(texts, file, columns, whole=True)
    opened = o.open_whatever(model, device=device, dtype=dtype, quiet=json)
    if not isinstance(opened, limelight.Model | limelight.SpanModel):
        raise RequestError(f"{opened.name} {o.what(opened)}; name a model that marks answers, or a chat model")

    def verb(part: list["Row"]) -> list["Answer"]:
        found = opened.answer(question, [row.text for row in part])
        return [{"answer": each.text or None, **{n: v for n, v in vars(each).items() if n != "text"}} for each in found]

    def show(row: "Row", found: "Answer") -> str:
        where = f"{row.named}: " if row.named else ""
        if found["answer"] is None:
            return f"{where}no answer\n"
        if not found["end"]:
            return f"{where}{found['answer']}  (no sentence makes a difference)\n"
        place = f"characters {found['start']:,} to {found['end']:,}"
        stands = " ".join(row.text[found["start"] : found["end"]].split())
        said = "" if stands.casefold() == found["answer"].casefold() else f": {stands}"
        return f"{where}{found['answer']}  ({place}{said})\n"

    rows.answer(given, verb, show, out=out, json=json, window=1, title="reading")

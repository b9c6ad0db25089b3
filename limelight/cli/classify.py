"""``limelight classify``: one of some labels for each text, or any number of them."""

from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from limelight.cli.rows import Answer, Row

SHOWN = 3
"""Labels of a text that are shown on the screen."""


def classify(
    texts: o.Texts = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="A classifier, or with --labels a model of entailment or a language model.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option(metavar="LABEL...", help="Labels of your own, without a training.")
    ] = None,
    least: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", min=0.0, max=1.0, help="Of several labels those that are at least so likely; mostly 0.5."
        ),
    ] = None,
    file: o.Files = None,
    columns: o.Columns = None,
    out: o.Out = None,
    json: o.JsonLines = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Say which label fits each text, and how sure that is.

    A classifier brings its labels; limelight train classify makes one of your
    own texts. With --labels a model of entailment or a language model chooses
    from yours, as well as it can.

    Example:

      limelight classify --model runs/mood "The plot is thin, but I laughed."
      limelight classify --model runs/mood --file reviews.csv --out moods.csv
      limelight classify "The keeper saved a penalty." --labels sport politics
    """
    import limelight
    from limelight.cli import rows
    from limelight.errors import RequestError

    if model is None and not labels:
        raise RequestError(
            "name a classifier with --model (limelight train classify makes one), or labels with --labels"
        )
    given = rows.given(texts, file, columns)
    opened = o.open_whatever(model, device=device, dtype=dtype, quiet=json)
    if isinstance(opened, limelight.Model):
        if not labels:
            raise RequestError(f"{opened.name} writes text and has no labels; name some with --labels")
    elif not isinstance(opened, limelight.Classifier):
        raise RequestError(f"{opened.name} {o.what(opened)}; name a model that classifies texts")

    several = isinstance(opened, limelight.Classifier) and opened.several and not labels
    if least is not None and not several:
        raise RequestError("--least is for a model several of whose labels may fit a text; leave it out")
    bar = 0.5 if least is None else least

    def verb(part: list["Row"]) -> list["Answer"]:
        found = opened.classify([row.text for row in part], labels or ())
        if several:
            return [
                {"labels": [label for label, share in shares.items() if share >= bar], "probabilities": shares}
                for shares in found
            ]
        return [
            {"label": label, "probability": shares[label], "probabilities": shares}
            for shares in found
            for label in list(shares)[:1]
        ]

    def show(row: "Row", found: "Answer") -> str:
        shares = found["probabilities"]
        shown = found["labels"] if several else list(shares)[:SHOWN]
        said = "  ".join(f"{label} {shares[label]:.1%}" for label in shown) or "none"
        return f"{said}\t{' '.join(row.text.split())}\n"

    rows.answer(given, verb, show, out=out, json=json, title="classifying")

"""``limelight rerank``: texts in the order in which they answer a query."""

from typing import Annotated

import typer

from limelight.cli import options as o


def rerank(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What the texts should be about.", show_default=False)],
    texts: o.Texts = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="A cross-encoder, or a model that embeds texts.")
    ] = "minilm",
    file: o.Files = None,
    columns: o.Columns = None,
    n: Annotated[int | None, typer.Option("--n", "-n", metavar="N", min=1, help="Only the N best.")] = None,
    json: o.JsonLines = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Put texts in order, the best for a query first.

    Example:

      limelight rerank "cat naps" "A kitten sleeps." "Rates rose again."
      limelight rerank "late delivery" --file mails.csv -n 10
    """
    from json import dumps

    from limelight.cli import rows, screen

    given = list(rows.given(texts, file, columns).rows)
    opened = o.open_scorer(model, device=device, dtype=dtype, quiet=json)
    ranked = opened.rerank(query, [row.text for row in given]) if given else []
    console = screen.stdout()
    for place, score in ranked[:n]:
        row = given[place]
        if json:
            screen.put(console, dumps(row.key | {"score": score}, ensure_ascii=False) + "\n")
        else:
            screen.put(console, f"{score:.3f}".replace("-", "−") + f"  {row.named or ' '.join(row.text.split())}\n")

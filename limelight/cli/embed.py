"""``limelight embed``: texts in, vectors out."""

from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from torch import Tensor

    from limelight.cli.rows import Answer, Row

WINDOW = 256
"""Texts that are read together."""


def embed(
    ctx: typer.Context,
    texts: o.Texts = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="A model that embeds texts: a name, folder or hub id.")
    ] = "minilm",
    prompt: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of the model's prompts, such as query.", show_default=False)
    ] = None,
    file: o.Files = None,
    columns: o.Columns = None,
    out: o.Out = None,
    json: o.JsonLines = False,
    server: o.ServerOption = None,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Make a vector of each text.

    A terminal shows how near several texts are to each other (the cosine of
    their vectors); a file or a pipe gets the vectors, a line a text, and an empty
    one for an empty text.

    Example:

      limelight embed "A cat sleeps on the sofa." "A kitten naps." "Rates rose."
      limelight embed < sentences.txt > vectors.txt
      limelight embed --file reviews.csv --out vectors.jsonl
    """
    import torch

    import limelight
    from limelight.cli import remote, rows, screen

    given = rows.given(texts, file, columns)
    if server is not None:
        o.refuse_local(ctx)
        o.refuse(ctx, ("prompt",), "is not known to --server; put it in front of the texts")
        by_server = remote.Server(server)

        def vectors(texts: list[str]) -> "Tensor":
            body = {"model": model, "input": texts, "encoding_format": "float"}
            return torch.tensor([each["embedding"] for each in by_server.ask("/v1/embeddings", body)["data"]])

    else:
        opened = o.open_encoder(model, limelight.Embedder, "embeds texts", device=device, dtype=dtype, quiet=json)

        def vectors(texts: list[str]) -> "Tensor":
            return opened.embed(texts, prompt)

    if screen.stdout().is_terminal and texts and not json and out is None:
        _show(texts, vectors(texts))
        return
    line = 0

    def verb(part: list["Row"]) -> list["Answer"]:
        return [{"vector": vector} for vector in vectors([row.text for row in part]).tolist()]

    def show(row: "Row", found: "Answer") -> str:
        nonlocal line
        empty, line = row.number - line - 1, row.number
        return "\n" * empty + " ".join(f"{value:.7g}" for value in found["vector"]) + "\n"

    rows.answer(given, verb, show, out=out, json=json, window=WINDOW, title="embedding")


def _show(texts: list[str], vectors: "Tensor") -> None:
    import torch
    from rich.table import Table

    from limelight.cli import screen

    console = screen.stdout()
    console.print(f"{len(texts)} vectors of {vectors.shape[1]} numbers" if texts[1:] else _numbers(vectors[0].tolist()))
    if not texts[1:]:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", *(str(number) for number in range(1, len(texts) + 1))):
        table.add_column(heading, justify="right" if heading else "left")
    units = torch.nn.functional.normalize(vectors, dim=-1)
    for number, (text, row) in enumerate(zip(texts, (units @ units.T).tolist(), strict=True), 1):
        table.add_row(f"{number} {screen.line(text)}", *(f"{value:.2f}".replace("-", "−") for value in row))
    console.print(table)


def _numbers(vector: list[float]) -> str:
    shown = " ".join(f"{value:.4f}" for value in vector[:8])
    return f"{shown} … ({len(vector)} numbers)" if vector[8:] else shown

"""``limelight embed``: texts in, vectors out."""

from typing import TYPE_CHECKING, Annotated

import typer

from limelight.cli import options as o

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = 256
"""Lines of standard input that are read together."""


def embed(
    ctx: typer.Context,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts; without any, lines of standard input.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="A model that embeds texts: a name, folder or hub id.")
    ] = "minilm",
    prompt: Annotated[
        str | None, typer.Option(metavar="NAME", help="One of the model's prompts, such as query.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each text.")] = False,
    server: o.ServerOption = None,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Make a vector of each text.

    A terminal shows how near several texts are to each other (the cosine of
    their vectors); a file or a pipe gets the vectors, a line a text.

    Example:

      limelight embed "A cat sleeps on the sofa." "A kitten naps." "Rates rose."
      limelight embed < sentences.txt > vectors.txt
      limelight embed --json "A cat sleeps on the sofa."
    """
    from json import dumps

    import torch

    import limelight
    from limelight.cli import remote, screen

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

    console = screen.stdout()
    if console.is_terminal and texts and not json:
        _show(texts, vectors(texts))
        return
    lines = iter(texts) if texts else screen.lines()
    while window := [line for line, _ in zip(lines, range(WINDOW), strict=False)]:
        for text, vector in zip(window, vectors(window).tolist(), strict=True):
            if json:
                screen.put(console, dumps({"text": text, "vector": vector}, ensure_ascii=False) + "\n")
            else:
                screen.put(console, " ".join(f"{value:.7g}" for value in vector) + "\n")


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

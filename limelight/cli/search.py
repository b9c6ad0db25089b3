"""``limelight search``: a folder searched by meaning."""

from pathlib import Path
from typing import Annotated

import typer

from limelight.cli import options as o


def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What to look for.", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where to look.")] = Path(),
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="A model that embeds texts: a name, folder or hub id.")
    ] = "minilm",
    index: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the index is kept; in the folder by default.", show_default=False),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", metavar="N", min=1, help="Show the N best passages.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each passage.")] = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Find the passages of a folder's texts that are nearest to a query in meaning.

    The first search reads the folder and writes an index, one file; later ones
    read only what is new or changed.

    Example:

      limelight search "how do I cancel?" contracts/
      limelight search "late delivery" mails/ -n 20 --json
    """
    from json import dumps

    import limelight
    from limelight.cli import screen
    from limelight.tasks.index import Index

    opened = o.open_encoder(model, limelight.Embedder, "embeds texts", device=device, dtype=dtype, quiet=json)
    found = Index(folder, opened, index)
    try:
        with screen.progress("reading", quiet=json, unit=str, after=0.5) as tell:
            found.update(tell)
        passages = found.search(query, n)
    finally:
        found.close()
    console = screen.stdout()
    for each in passages:
        if json:
            screen.put(console, dumps(vars(each), ensure_ascii=False) + "\n")
        else:
            text = " ".join(each.text.split())
            shown = f"{each.score:.2f}".replace("-", "−")
            screen.put(console, f"{shown}  {each.file}, characters {each.start:,} to {each.end:,}\n      {text}\n")

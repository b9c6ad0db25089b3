"""``limelight fill``: words for the gaps in a text."""

from typing import Annotated

import typer

from limelight.cli import options as o


def fill(
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="A model that fills gaps: a name, folder or hub id.")
    ],
    text: Annotated[
        str, typer.Argument(metavar="[TEXT]", help="The text; without it lines of standard input are filled.")
    ] = "-",
    n: Annotated[
        int, typer.Option("--n", "-n", metavar="N", min=1, help="Show the N likeliest words of each gap.")
    ] = 5,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each text.")] = False,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Show the likeliest words for each gap in a text.

    A gap is the model's own mask: [MASK] for BERT, <mask> for RoBERTa.

    Example:

      limelight fill --model bert-base-uncased "The cat [MASK] on the mat."
    """
    from json import dumps

    import limelight
    from limelight.cli import screen

    opened = o.open_encoder(model, limelight.MaskedModel, "fills gaps", device=device, dtype=dtype, quiet=json)
    console = screen.stdout()
    for line in screen.lines() if text == "-" else [text]:
        gaps = opened.fill(line, n)
        if json:
            found = [[{"token": token, "probability": value} for token, value in gap] for gap in gaps]
            screen.put(console, dumps({"text": line, "gaps": found}, ensure_ascii=False) + "\n")
            continue
        for number, gap in enumerate(gaps, 1):
            words = "  ".join(f"{token} {value:.1%}" for token, value in gap)
            screen.put(console, f"gap {number}: {words}\n" if gaps[1:] else words + "\n")

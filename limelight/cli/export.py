"""``limelight export``: a model in a form that other programs open."""

from pathlib import Path
from typing import Annotated

import typer

from limelight.cli import options as o


def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A short name, a folder (also that of a training), a file or a hub id (org/name).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="A new folder, or a new file that ends in .gguf.", show_default=False),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Of a .gguf file's matrices: f32, f16 (the default), q8_0 (8 bits) or q4_0 (4 bits).",
            show_default=False,
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """Write a model so that other programs open it.

    OUT is a Hugging Face folder, which transformers opens, or a file that ends in
    .gguf, which llama.cpp opens (language models). Tokenizer and chat template
    are in both.

    Example:

      limelight export runs/helper helper.gguf --type q8_0
      limelight export smollm2 smollm2-folder
    """
    from limelight.cli import screen
    from limelight.opening import destination, save

    destination(out, kind)  # refused before a model is opened, which takes time
    save(o.open_whatever(model, device="cpu", dtype=None, quiet=json), out, kind)
    size = sum(file.stat().st_size for file in (out.rglob("*") if out.is_dir() else [out]) if file.is_file())
    if json:
        screen.print_json({"model": model, "path": str(out), "bytes": size})
        return
    screen.stdout().print(f"{out}: {size / 1e6:,.1f} MB", markup=False, highlight=False, soft_wrap=True)

"""``limelight serve``: models behind the standard API."""

import os
from typing import Annotated

import typer

from limelight.cli import options as o

OWN = 350_000_000
"""Bytes that Python, torch and the requests themselves take."""


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help=f"A short name, folder, file or hub id; may be repeated. {o.default_model()} by default.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="The port to listen on; 0: any free one.")
    ] = 11211,
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST", help="The address to listen on: 127.0.0.1 for this machine alone, 0.0.0.0 for all."
        ),
    ] = "127.0.0.1",
    api_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Ask everybody for this key; better given as LIMELIGHT_API_KEY in the environment.",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[int, typer.Option(metavar="N", min=1, max=1024, help="Texts that are written together.")] = 16,
    waiting: Annotated[
        int, typer.Option(metavar="N", min=0, max=100_000, help="Texts that may wait; more are refused.")
    ] = 64,
    keep: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=100_000, help="Keep the last N requests, in memory for an hour, to look into them."
        ),
    ] = 0,
    page: Annotated[
        bool, typer.Option("--page", help="Serve the page about the first model, too; whoever reaches it needs no key.")
    ] = False,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="What the server may take in all, such as 8GB; models not used for longest are closed.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name of this machine by which it may be asked; may be repeated."),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="A web page's origin that may ask, or * for all; may be repeated."),
    ] = None,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Serve models by the API of OpenAI, for any client of it.

    It contacts no other machine. Ctrl-C ends it when all is answered; a
    second one at once.

    Example:

      limelight serve
      limelight serve --model smollm2 --model minilm --memory 4GB
      limelight serve --keep 100
      limelight look --request ID --server http://127.0.0.1:11211
    """
    from rich.text import Text

    from limelight.checkpoints.source import resolve
    from limelight.cli import screen
    from limelight.errors import RequestError
    from limelight.serve.api.run import serve as run
    from limelight.serve.api.shelf import Shelf
    from limelight.serve.run import address, listen

    names = model or [o.default_model()]
    size = None if memory is None else _bytes(memory) - OWN
    if size is not None and size <= 0:
        raise RequestError(f"--memory is {memory!r}; Python and torch alone take 350MB, and the models come on top")
    key = api_key or os.environ.get("LIMELIGHT_API_KEY")
    for each in names:
        resolve(each)  # before anything is begun
    if page and key:
        raise o.Misused("the page asks nobody for a key; leave out --page, or the key")
    sock = listen(host, port)
    where = address(sock, None)

    def shelf() -> Shelf:
        return Shelf(names, rows=rows, waiting=waiting, memory=size, device=device, dtype=dtype)

    console = screen.stdout()

    def ready(names: list[str]) -> None:
        console.print(
            Text.assemble(
                ", ".join(names),
                " is at " if len(names) == 1 else " are at ",
                (f"{where}v1", "bold"),
                ". Ctrl-C ends it.",
            )
        )
        bearer = "-H 'authorization: Bearer KEY' " if key else ""
        body = '{"messages": [{"role": "user", "content": "Hello!"}]}'
        example = f"curl {where}v1/chat/completions {bearer}-H 'content-type: application/json' -d '{body}'"
        console.print(example, soft_wrap=True, highlight=False, markup=False)
        if page:
            console.print(Text.assemble("The page is at ", (where, "bold")))
        if key is None and sock.getsockname()[0] not in ("127.0.0.1", "::1"):
            screen.remark("everybody who reaches this machine may ask; --api-key changes that")

    run(
        sock,
        shelf,
        ready,
        keep=keep,
        page=page,
        keys=(key,) if key else (),
        names=frozenset(name or ()),
        origins=frozenset(cors or ()),
    )


def _bytes(size: str) -> int:
    """A size as people write it. Raises RequestError."""
    import re

    from limelight.errors import RequestError

    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(i?)B?\s*", size, re.IGNORECASE)
    if found is None or not float(found[1]):
        raise RequestError(f"--memory is {size!r}; write a size such as 8GB or 500MB")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** ("KMGT".find(found[2].upper()) + 1 if found[2] else 0))

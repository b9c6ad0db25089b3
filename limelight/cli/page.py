"""``limelight page``: the page in the browser."""

from typing import Annotated

import typer

from limelight.cli import options as o


def page(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="The sentence to start with.", show_default=False)
    ] = None,
    model: o.ModelOption = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=1, max=65535, help="The port to listen on; any free one by default."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST", help="The address to listen on: 127.0.0.1 for this machine alone, 0.0.0.0 for all."
        ),
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser.")] = True,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
) -> None:
    """Open the page: write a sentence and see which words the model listens to.

    It runs on this machine and contacts no other. Ctrl-C ends it.

    Example:

      limelight page
      limelight page "Mary and John went out. John gave a drink to" --port 8000
    """
    from rich.text import Text

    from limelight.checkpoints.source import resolve
    from limelight.cli import screen
    from limelight.serve.run import address, listen, serve
    from limelight.serve.session import PageSession

    name = model or o.default_model()
    resolve(name)
    sock = listen(host, port)
    console = screen.stdout()
    where = address(sock, None if browser else text)
    console.print(Text.assemble("limelight is at ", (where, "bold"), ". Ctrl-C ends it."), soft_wrap=True)
    serve(sock, PageSession(name, device, dtype), text, browser)

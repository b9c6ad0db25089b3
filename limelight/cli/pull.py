"""``limelight pull``: fetch a model."""

from typing import Annotated

import typer

from limelight.cli import options as o


def pull(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A short name or a hub id (org/name).", show_default=False)
    ],
    json: o.Json = False,
) -> None:
    """Fetch a model that is not on this machine yet.

    Example:

      limelight pull smollm2
    """
    from rich.text import Text

    from limelight.checkpoints.catalog import catalog
    from limelight.checkpoints.source import fetch, resolve
    from limelight.cli import screen

    source = resolve(name)
    fetched = False
    with screen.progress(f"looking for {name}", quiet=json) as show:

        def tell(done: int, total: int, note: str) -> None:
            nonlocal fetched
            fetched = True
            show(done, total, f"{note} {name}")

        path = fetch(source, tell)
    entry = catalog()[source.name] if source.kind == "named" else None
    digest = None if entry is None else entry.sha256
    if json:
        screen.print_json({"name": name, "path": str(path), "fetched": fetched, "sha256": digest})
        return
    checked = "" if digest is None else f"\nIts SHA-256 is as expected: {digest}."
    if entry is not None and entry.terms:
        checked += f"\nIt comes under the licence {entry.licence}: {entry.terms}."
    start = f"{name} was fetched to" if fetched else f"{name} is already on this machine:"
    screen.stdout().print(Text(screen.clean(f"{start} {path}{checked}")), soft_wrap=True)

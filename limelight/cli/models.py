"""``limelight models``: what is here, and what can be fetched by name."""

from limelight.cli import options as o


def models(json: o.Json = False) -> None:
    """List the models on this machine, and those that can be fetched by name, by what they do.

    Example:

      limelight models
    """
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    from limelight.checkpoints.catalog import KINDS
    from limelight.checkpoints.source import available
    from limelight.cli import screen

    found = available()
    if json:
        screen.print_json(
            [
                {
                    "name": model.name,
                    "title": model.title,
                    "family": model.family,
                    "licence": model.licence,
                    "size": model.size,
                    "path": None if model.path is None else str(model.path),
                    "kind": model.kind,
                    "good_for": model.good_for,
                }
                for model in found
            ]
        )
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("name", "what it is and what it is good for", "family", "licence"):
        table.add_column(heading)
    table.add_column("size", justify="right")
    table.add_column("here")
    for kind, heading in KINDS.items():
        of_kind = [model for model in found if model.kind == kind]
        if of_kind:
            table.add_row(Text(f"\n{heading}", "underline"))
        for model in of_kind:
            said = Text(screen.line(model.title))
            if model.good_for:
                said.append(f"\n{model.good_for}", "dim")
            table.add_row(
                Text(screen.line(model.name), "bold"),
                said,
                *(Text(screen.line(cell)) for cell in (model.family, model.licence)),
                decimal(model.size),
                Text("no", "dim") if model.path is None else Text("yes", "green"),
            )
    console = screen.stdout()
    console.print(table)
    for model in found:
        if model.path is not None:
            console.print(
                Text(f"\n{screen.line(model.name)} is at {screen.line(str(model.path))}", "dim"), soft_wrap=True
            )
    if missing := [model.name for model in found if model.path is None]:
        console.print(Text(f"\nlimelight pull {missing[0]}  fetches one that is not here yet.", "dim"))

"""``limelight models``: what is here, and what can be fetched by name."""

from limelight.cli import options as o


def models(json: o.Json = False) -> None:
    """List the models on this machine, and those that can be fetched by name, by what they do.

    Example:

      limelight models
    """
    from rich.filesize import decimal
    from rich.padding import Padding
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
    console = screen.stdout()
    rows = [
        (model.name, model.family, model.licence, decimal(model.size), "no" if model.path is None else "yes")
        for model in found
    ]
    lines = [tuple(map(screen.line, row)) for row in (("name", "family", "licence", "size", "here"), *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def show(cells: tuple[str, ...], style: str = "") -> None:
        """A row of the table; sizes stand on the right."""
        padded = [c.rjust(w) if i == 3 else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        console.print(Text("  ".join(("", *padded)).rstrip(), style), soft_wrap=True)

    show(lines[0], "dim")
    for kind, heading in KINDS.items():
        of_kind = [(model, cells) for model, cells in zip(found, lines[1:], strict=True) if model.kind == kind]
        if of_kind:
            console.print(Text(f"\n{heading}", "underline"))
        for model, cells in of_kind:
            show(cells, "bold")
            if said := ": ".join(filter(None, (model.title, model.good_for))):
                console.print(Padding(Text(screen.line(said), "dim"), (0, 0, 0, 4)))
    for model in found:
        if model.path is not None:
            console.print(
                Text(f"\n{screen.line(model.name)} is at {screen.line(str(model.path))}", "dim"), soft_wrap=True
            )
    if missing := [model.name for model in found if model.path is None]:
        console.print(Text(f"\nlimelight pull {missing[0]}  fetches one that is not here yet.", "dim"))

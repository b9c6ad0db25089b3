"""Writes docs/reference/commands.md from what each command says of itself; `make docs` runs it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limelight.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"
HEAD = """# Commands

Each command says this of itself by `-h`. `limelight` alone opens the page.
"""


def section(command: Any, path: str) -> Iterator[str]:
    """A command in Markdown, or those below it."""
    with command.context_class(command, info_name=path) as context:
        if hasattr(command, "list_commands"):
            for name in command.list_commands(context):
                yield from section(command.resolve_command(context, [name])[1], f"{path} {name}")
            return
        usage = " ".join(command.collect_usage_pieces(context))
        said, _, example = plain(command.help).partition("\nExample:\n")
        yield f"## {path}\n\n{said}\n\n```\n{path} {usage}\n```\n"
        if example:
            yield f"For example:\n\n```\n{example.strip()}\n```\n"
        rows = [record for each in command.params if (record := each.get_help_record(context))]
        yield "| option | |\n|---|---|"
        yield from (f"| `{option}` | {cell(text)} |" for option, text in rows)
        yield ""


def plain(text: str) -> str:
    """Help without Typer's marks."""
    return "\n".join(line.strip() for line in text.replace("\b", "").replace("\\[", "[").splitlines())


def cell(text: str) -> str:
    return " ".join(text.split()).replace("\\[", "[").replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text("\n".join([HEAD, *section(app(), "limelight")]), "utf-8")
    print(PAGE)

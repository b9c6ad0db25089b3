"""The command line. A command is a file of its own name with a function of that name, and a line in `COMMANDS`.

A command's file is imported when that command runs, and what it needs inside its function, so that ``--help`` answers
at once.
"""

import io
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from limelight import __version__
from limelight.errors import LimelightError, RequestError

COMMANDS = {
    "page": "Open the page in the browser, as limelight alone does.",
    "look": "Continue a sentence and show which words the model listened to.",
    "complete": "Continue a text.",
    "chat": "Talk with a model.",
    "compose": "Write music with a model that learned to.",
    "serve": "Serve models by the API of OpenAI.",
    "train": "Train a model on your own text.",
    "report": "Write a report card on an assistant that was trained.",
    "classify": "Say which label fits each text.",
    "tag": "Label the words of texts.",
    "answer": "Find the answer to a question in texts.",
    "summarise": "Say in short what texts say.",
    "extract": "Read JSON of a shape off texts.",
    "translate": "Translate lines.",
    "embed": "Make vectors of texts, and show how near they are.",
    "search": "Find passages of a folder by their meaning.",
    "similar": "Say how near two texts are.",
    "rerank": "Put texts in the order in which they answer a query.",
    "fill": "Show the likeliest words for the gaps in a text.",
    "eval": "Score translations, alignments, classes or tags.",
    "race": "Race models that read word by word against models that read all at once.",
    "models": "List the models on this machine, and those to fetch by name.",
    "pull": "Fetch a model.",
    "export": "Write a model so that other programs open it.",
    "show": "Show what a model is made of.",
    "doctor": "Show what limelight finds on this machine and what is missing.",
}


class LazyGroup(TyperGroup):
    """The commands of the table: their lines are known, their files are imported when they run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, _load(name) if name else None, rest


class Command(TyperCommand):
    """A command; an option shown as ``FILE...`` takes all values up to the next option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        many = {each: p for p in self.params for each in p.opts if str(getattr(p, "metavar", "")).endswith("...")}
        spread: list[str] = []
        option = None
        for arg in args:
            if arg.startswith("-") and arg != "-":
                option = arg if arg in many else None
                spread += [] if option else [arg]
            else:
                spread += [option, arg] if option else [arg]
        return super().parse_args(ctx, spread)


HELP = {"help_option_names": ["-h", "--help"]}


def _load(name: str) -> Any:
    """The command called `name`, as Typer reads it off its function."""
    from rich.markup import escape

    app = typer.Typer(add_completion=False)
    app.command(name, cls=Command, context_settings=HELP)(getattr(import_module(f"limelight.cli.{name}"), name))
    command = get_command(app)
    for each in (command, *command.params):  # Rich would take limelight[train] for limelight in the style "train"
        each.help = escape(each.help or "")  # type: ignore[attr-defined] # arguments have one, too
    return command


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"limelight {__version__}")
        raise typer.Exit


def app() -> Any:
    """The whole command line as Typer builds it: `main` runs it, and documents are made of it."""
    group = typer.Typer(
        cls=LazyGroup,
        context_settings=HELP,
        help="Open a transformer, run it, and see which words it is listening to.",
        epilog='Start with:  limelight look "The cat sat on the mat because it was tired"',
    )

    @group.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
        ] = False,
    ) -> None:
        pass

    for name, line in COMMANDS.items():
        group.command(name, help=line)(lambda: None)
    return get_command(group)


def main(args: Sequence[str] | None = None) -> None:
    """Runs one command line (that of the process, if none is given) and exits.

    Exit codes: 0 done, 1 a LimelightError, 2 a command line that makes no sense, 130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what the terminal's character set lacks becomes "?"
            stream.reconfigure(errors="replace")
    args = list(sys.argv[1:] if args is None else args)
    try:
        for number, arg in enumerate(args, 1):
            if _undecoded(arg) and not os.path.exists(arg):
                raise RequestError(f"argument {number} on the command line is not UTF-8 text")
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            app().main(args or ["page"], prog_name="limelight")
    except LimelightError as error:
        from limelight.cli.screen import complain

        complain(str(error))
        sys.exit(1)


def _undecoded(arg: str) -> bool:
    """Whether it holds bytes that are no text, which Python hands on as half surrogate pairs."""
    try:
        arg.encode()
    except UnicodeEncodeError:
        return True
    return False


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """What Python calls with a warning; where in the code it arose is nothing to the user."""
    from limelight.cli.screen import remark

    remark(str(message))

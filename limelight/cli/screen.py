"""What all commands share on the screen: the two consoles, text that is only text, progress, and plain input."""

import codecs
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rich.cells import cell_len
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment, Segments
from rich.text import Text

from limelight.errors import FileError, RequestError

_BREAKS = re.compile(r"( +|\n)")

ADDED = "cyan"
"""The tone of what a model says, beside what was said to it."""

# Control characters drive a terminal, and text comes from anywhere: C0 and DEL are shown as their Unicode pictures, C1
# as the replacement character; newline and tab stay.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_PICTURES |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}


def stdout() -> Console:
    """Where answers go."""
    return Console(highlight=False, markup=False, emoji=False)


def stderr() -> Console:
    """Where everything else goes."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def clean(text: str) -> str:
    """`text` with its control characters made visible, so that none of them reaches the terminal."""
    return text.translate(_PICTURES)


def line(text: str) -> str:
    """`text` as one clean line."""
    return clean(" ".join(text.split()))


def put(console: Console, text: str, style: str = "") -> None:
    """Writes text as it is, character by character, with nothing wrapped or expanded; on a terminal in `style` and
    with its control characters made visible."""
    text = clean(text) if console.is_terminal else text
    # Anything but a bare segment would lose carriage returns and turn tabs into spaces.
    console.print(Segments([Segment(text, console.get_style(style))]), end="", crop=False)


class Wrapped:
    """Text that arrives in pieces, broken between words where a terminal's line ends; elsewhere as it is."""

    def __init__(self, console: Console, style: str) -> None:
        self._console = console
        self._style = style
        self._column = 0
        self._word = ""  # the end of what came, which may go on

    def put(self, piece: str) -> None:
        """Writes all but the last word, which may not be whole."""
        if not self._console.is_terminal:
            put(self._console, piece)
            return
        *done, self._word = _BREAKS.split(self._word + piece)
        if cell_len(self._word) >= self._console.width:  # no word is
            done, self._word = [*done, self._word], ""
        self._write(done)

    def close(self) -> None:
        """Writes what is left, and ends the line."""
        self._write([self._word])
        put(self._console, "\n")

    def _write(self, parts: Sequence[str]) -> None:
        lines = []
        for part in filter(None, parts):
            wide = cell_len(part)
            if part == "\n":
                self._column = 0
            elif self._column + wide > self._console.width and self._column:
                lines.append("\n")
                part = part.lstrip(" ")
                self._column = cell_len(part)
            else:
                self._column += wide
            lines.append(part)
        put(self._console, "".join(lines), self._style)


@contextmanager
def beside(file: Path) -> Iterator[IO[bytes]]:
    """A file beside `file` that takes its name when all is written. Raises FileError if it cannot be written."""
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(file)
    except OSError as error:
        raise FileError(f"cannot write {file}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def writable(file: Path) -> None:
    """Raises FileError where `beside` would, as far as that is known before anything is written."""
    folder = file.parent
    if not folder.is_dir():
        raise FileError(f"cannot write {file}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise FileError(f"cannot write {file}: the folder {folder} is not writable")


def complain(message: str) -> None:
    """Says on stderr, in one line, why the command failed."""
    stderr().print(Text.assemble(("limelight: ", "bold red"), line(message)), soft_wrap=True)


def remark(message: str) -> None:
    """Says something by the way, in one dim line on stderr."""
    stderr().print(Text(f"limelight: {line(message)}", "dim"), soft_wrap=True)


def print_json(value: Any) -> None:
    """Prints the one object that a command answers with under ``--json``."""
    print(json.dumps(value, indent=2))


def read(text: str) -> str:
    """The text that was given, or for "-" all of standard input, without its last line break and a byte order mark.

    Raises RequestError if that is not UTF-8.
    """
    if text != "-":
        return text
    try:
        given = sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"standard input is not UTF-8 text: byte {error.start} cannot be read") from None
    return given.removesuffix("\n").removesuffix("\r")


def lines() -> Iterator[str]:
    """The lines of standard input as they come, without their ends and a byte order mark.

    Raises RequestError for one that is not UTF-8.
    """
    for number, line in enumerate(sys.stdin.buffer, 1):
        plain = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        try:
            yield plain.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise RequestError(
                f"standard input, line {number}, is not UTF-8 text: byte {error.start} cannot be read"
            ) from None


Tell = Callable[..., None]
"""``tell(done, total, note)``, the note being the step's title if it is left out."""


@contextmanager
def progress(title: str, *, quiet: bool, unit: Callable[[int], str] = decimal, after: float = 0.0) -> Iterator[Tell]:
    """A bar on stderr that is gone when the step is done; nothing at all if `quiet` or where no terminal looks.

    unit: how an amount is written, bytes if not said. after: seconds that the step may take before a bar appears.
    """
    console = stderr()
    if quiet or not sys.stderr.isatty() or console.is_dumb_terminal:
        yield lambda done, total, note=title: None
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(24),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task(line(title), total=None, amount="")
    begun = time.monotonic()

    def tell(done: int, total: int, note: str = title) -> None:
        if time.monotonic() - begun >= after:
            bar.start()
        bar.update(task, completed=done, total=total, description=line(note), amount=f"{unit(done)} of {unit(total)}")

    if not after:
        bar.start()
    try:
        yield tell
    finally:
        bar.stop()

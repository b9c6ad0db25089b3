"""What a caller gives, taken by type and range: each of these returns the value or raises RequestError naming it."""

import math
import operator
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from limelight.errors import RequestError, suggestion

T = TypeVar("T")

_SHOWN = 60  # characters of a wrong value that a sentence repeats


def text(name: str, value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        _refuse(name, value, "a string")
    return value


def texts(name: str, value: Iterable[str]) -> list[str]:
    """Several strings; a single one, which Python would take for its letters, is refused."""
    given = many(name, value, "strings")
    return [text(f"part {number} of {name}", each) for number, each in given]


def many(name: str, value: Iterable[T], of: str) -> Iterable[tuple[int, T]]:
    """The parts of a list or another iterable, numbered from 1. of: what they are, in the plural."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return enumerate(iter(value), 1)
    except TypeError:
        _refuse(name, value, f"a list of {of}")


def whole(name: str, value: object, low: int | None = None, high: int | None = None) -> int:
    """A whole number from `low` to `high`, numpy's and torch's included."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type] # that it may be anything is the point
    except (TypeError, ValueError, RuntimeError):  # the last is torch's, for a tensor of several numbers
        _refuse(name, value, "a whole number")
    if (low is not None and number < low) or (high is not None and number > high):
        _refuse(name, number, f"at least {low}" if high is None else f"from {low} to {high}")
    return number


def ids(name: str, value: Iterable[int], vocab: int) -> list[int]:
    """Tokens by their ids, of a vocabulary of so many."""
    return [whole(f"token {number} of {name}", each, 0, vocab - 1) for number, each in many(name, value, "token ids")]


def pairs(name: str, value: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Several pairs of strings."""
    found = []
    for number, each in many(name, value, "pairs of strings"):
        parts = texts(f"pair {number} of {name}", each)
        if len(parts) != 2:
            _refuse(f"pair {number} of {name}", each, "two strings")
        found.append((parts[0], parts[1]))
    return found


def places(name: str, value: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Several places in a text, `[start, end)` in characters."""
    found = []
    for number, each in many(name, value, "places"):
        called = f"part {number} of {name}"
        ends = [whole(called, end, 0) for _, end in many(called, each, "characters")]
        if len(ends) != 2 or ends[0] > ends[1]:
            _refuse(called, each, "a start and an end")
        found.append((ends[0], ends[1]))
    return found


def number(name: str, value: object) -> float:
    """A finite number."""
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        taken = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, RuntimeError):
        _refuse(name, value, "a number")
    if not math.isfinite(taken):
        _refuse(name, value, "a finite number")
    return taken


def flag(name: str, value: object) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        _refuse(name, value, "True or False")
    return value


def one_of(name: str, value: object, known: Collection[str]) -> str:
    """One of some names."""
    if not isinstance(value, str) or value not in known:
        near = suggestion(value, known) if isinstance(value, str) else ""
        _refuse(name, value, f"one of {', '.join(known)}{near}")
    return value


def path(name: str, value: str | Path) -> Path:
    """The path of a file or folder."""
    if not isinstance(value, str | Path):
        _refuse(name, value, "a path")
    try:
        os.fsencode(value)
    except UnicodeError:
        _refuse(name, value, "a path that the system can write")
    if "\0" in str(value):
        _refuse(name, value, "a path without zero characters")
    return Path(value)


def callback(name: str, value: Callable[..., Any] | None) -> None:
    """Something to call, or None."""
    if value is not None and not callable(value):
        _refuse(name, value, "a function or None")


def mapping(name: str, value: Mapping[str, Any], of: str) -> Mapping[str, Any]:
    """A dictionary, or what is like one. of: what it holds."""
    if not isinstance(value, Mapping):
        _refuse(name, value, f"a dictionary with {of}")
    return value


def a(kind: type[T], name: str, value: T, wanted: str) -> T:
    """An instance of `kind`. wanted: what that is, in words."""
    if not isinstance(value, kind):
        _refuse(name, value, wanted)
    return value


def shown(value: object) -> str:
    """A value as Python writes it, on one line and not too long."""
    try:
        written = " ".join(repr(value).split())
    except Exception:  # somebody else's class
        written = f"a {type(value).__name__}"
    return written if len(written) <= _SHOWN else f"{written[: _SHOWN - 1]}…"


def _refuse(name: str, value: object, wanted: str) -> NoReturn:
    raise RequestError(f"{name} is {shown(value)}; it must be {wanted}")

"""The errors of limelight. Each says what was wrong, where, and what to do.

    LimelightError
    ├── FileError       a file is missing, damaged, foreign or hostile
    ├── ConfigError     a model's description is unknown, misspelt or contradicts its weights
    ├── SourceError     a model could not be found or fetched
    ├── TextError       a tokenizer or chat template is missing or does not fit
    └── RequestError    what was asked for cannot be done (too long, no such word, no such layer)

The command line prints the message alone; a traceback would be a defect.
"""

from collections.abc import Iterable

LONGEST = 1500
"""Characters of a message; what files and people say is quoted in it, and may be of any length."""


class LimelightError(Exception):
    """Anything that limelight refuses; its text is one clear sentence for the person who asked."""

    def __init__(self, text: str = "") -> None:
        half = LONGEST // 2
        super().__init__(text if len(text) <= LONGEST else f"{text[:half]} … {text[-half:]}")


class FileError(LimelightError):
    """A file is missing, damaged, foreign or hostile; the text names the file and the field."""


class ConfigError(LimelightError):
    """A model's description is unknown, misspelt, or contradicts its weights."""


class SourceError(LimelightError):
    """A model could not be found or fetched; the text says how to provide it by hand."""


class TextError(LimelightError):
    """A tokenizer or a chat template is missing, damaged or does not fit the model."""


class RequestError(LimelightError):
    """What was asked for cannot be done with this model or this text."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the known name that `name` likely stands for, or nothing: with one slip of the
    keyboard, or one for every four letters, or with an end that is missing or too much."""
    if not 1 < len(name) <= 64:
        return ""
    most = max(1, len(name) // 4)
    near = []
    for other in known:
        cut = min(len(name), len(other)) >= 3 and (name.startswith(other) or other.startswith(name))
        if other != name and len(other) <= 64 and (cut or abs(len(other) - len(name)) <= most):
            slips = _slips(name.lower(), other.lower())
            near += [(slips, other)] if cut or slips <= most else []
    return f"; did you mean {min(near)[1]!r}?" if near else ""


def _slips(a: str, b: str) -> int:
    """How many letters are wrong, missing, too many or swapped with the next (Damerau, 1964)."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, 1):
        rows.append([i])
        for j, y in enumerate(b, 1):
            ways = [rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (x != y)]
            if i > 1 and j > 1 and (x, a[i - 2]) == (b[j - 2], y):
                ways.append(rows[i - 2][j - 2] + 1)
            rows[i].append(min(ways))
    return rows[-1][-1]

"""The errors of limelight. Each says what was wrong, where, and what to do.

    LimelightError
    ├── FileError       a file is missing, damaged, foreign or hostile
    ├── ConfigError     a model's description is unknown, misspelt or contradicts its weights
    ├── SourceError     a model could not be found or fetched
    ├── TextError       a tokenizer or chat template is missing or does not fit
    └── RequestError    what was asked for cannot be done (too long, no such word, no such layer)

The command line prints the message alone; a traceback would be a defect.
"""

import difflib
from collections.abc import Iterable


class LimelightError(Exception):
    """Anything that limelight refuses; its text is one clear sentence for the person who asked."""


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
    """``"; did you mean 'x'?"`` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""

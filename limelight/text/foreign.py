"""What keeps the tokenizers library, and what strangers ask of it, from taking the program with it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from limelight.errors import LimelightError, TextError
from limelight.text.apart import apart

_PIPELINE = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_MOST = 300  # characters of the library's own words that are passed on


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turns whatever the library raises into a TextError that begins with `what`."""
    try:
        yield
    except LimelightError:
        raise
    except BaseException as problem:
        # A panic of the Rust side is no Exception, so that it would pass every handler.
        if not isinstance(problem, Exception) and type(problem).__name__ != "PanicException":
            raise
        raise TextError(f"{what}: {' '.join(str(problem).split())[:_MOST]}") from problem


def tried(definition: dict[str, Any], what: str) -> None:
    """Tries the rules of a tokenizer.json in a process that may die. Raises TextError if they are no good.

    They can grow without bound, search for ever or break the library, and nothing stops them once they run. `what` it
    is begins the sentence.
    """
    _tried(json.dumps({name: definition.get(name) for name in _PIPELINE}), what)


@lru_cache(maxsize=64)
def _tried(pipeline: str, what: str) -> None:
    apart("limelight.text.trial.trial", pipeline, what, what=what)

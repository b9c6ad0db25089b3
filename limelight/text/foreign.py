"""What keeps the tokenizers library, and what strangers ask of it, from taking the program with it."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from limelight.errors import LimelightError, TextError
from limelight.text.apart import apart

_PIPELINE = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_sound: set[bytes] = set()  # the digests of rules that were tried: models of a family share them
_LONGEST = 8_000_000  # characters of rules; the longest real ones, tables of Unicode, take 500,000
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
    pipeline = json.dumps({name: definition.get(name) for name in _PIPELINE})
    if len(pipeline) > _LONGEST:
        raise TextError(f"{what} has rules of {len(pipeline):,} characters; at most {_LONGEST:,} are read")
    digest = hashlib.sha256(pipeline.encode()).digest()
    if digest not in _sound:
        apart("limelight.text.trial.trial", pipeline, what, what=what)
        _sound.add(digest)

"""What keeps the tokenizers library, and what strangers ask of it, from taking the program with it."""

import hashlib
import json
from typing import Any

from limelight.errors import LimelightError, TextError
from limelight.text.apart import apart

_PIPELINE = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_sound: set[bytes] = set()  # the digests of rules that were tried: models of a family share them
_LONGEST = 8_000_000  # characters of rules; the longest real ones, tables of Unicode, take 500,000
_MOST = 300  # characters of the library's own words that are passed on


class guarded:  # noqa: N801 (called like a function, as contextlib.suppress is)
    """Turns whatever the library raises into a TextError that begins with `what`."""

    # No `@contextmanager`, which took a twelfth of what a served token costs in Python.
    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, problem: BaseException | None, trace: object) -> None:
        if problem is None or isinstance(problem, LimelightError):
            return
        # A panic of the Rust side is no Exception, so that it would pass every handler.
        if isinstance(problem, Exception) or type(problem).__name__ == "PanicException":
            raise TextError(f"{self._what}: {' '.join(str(problem).split())[:_MOST]}") from problem


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

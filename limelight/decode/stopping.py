"""Stop strings in text that arrives in pieces."""

import re
from collections.abc import Collection

from limelight import given
from limelight.errors import RequestError


class StopStrings:
    """Lets text through up to the first stop string, whatever pieces the text arrives in.

    What ``push`` and ``flush`` return, joined, is the whole text cut at the first place where any stop string occurs.
    Text that may still turn out to begin a stop string is held back until that is decided.

    Raises RequestError if one of the stop strings is empty or no string.
    """

    def __init__(self, stops: Collection[str]) -> None:
        stops = given.texts("stop", stops)
        if not all(stops):
            raise RequestError("a stop string is empty; give at least one character, or leave it out")
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=0)
        self._any = re.compile("|".join(map(re.escape, stops)) or r"(?!)")  # (?!) matches nowhere
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """The text that is now certain to come before any stop string; nothing once stopped."""
        if self.stopped:
            return ""
        if not self._stops:
            return piece
        text = self._held + piece
        undecided = self._undecided(text)
        found = self._any.search(text)
        # A stop string only counts once no longer one can begin before it: given "bc" and "abcd", "abc" waits.
        self.stopped = found is not None and found.start() <= undecided
        end = found.start() if found and self.stopped else undecided
        self._held = "" if self.stopped else text[end:]
        return text[:end]

    def flush(self) -> str:
        """The text still held back, when no more is to come."""
        text, self._held = self._held, ""
        found = self._any.search(text)
        self.stopped = self.stopped or found is not None
        return text[: found.start()] if found else text

    def _undecided(self, text: str) -> int:
        """The first position from which the text is the beginning of a stop string; its length if there is none."""
        nearest = max(0, len(text) - self._longest + 1)
        for at in range(nearest, len(text)):
            tail = text[at:]
            if any(stop.startswith(tail) for stop in self._stops):
                return at
        return len(text)

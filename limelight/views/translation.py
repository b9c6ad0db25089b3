"""One source text and its translation looked at: what a page asks of them, as plain numbers."""

from functools import cached_property
from typing import TYPE_CHECKING

import torch

from limelight.decode import Sampling
from limelight.errors import RequestError
from limelight.look.session import Progress
from limelight.views.numbers import Numbers
from limelight.views.parts import last, likely, listed, told

if TYPE_CHECKING:
    from limelight import Translator
    from limelight.tasks.look_translation import SeenTranslation


class TranslationViews:
    """A source text and its translation under a translation model.

    Their words stand in one list, numbered from 0, those of the source first: to a page a translation is a text that
    the model added to the one it was given.
    """

    def __init__(self, translator: "Translator", source: str, target: str) -> None:
        self._language = translator.language
        self.source = source.strip()
        # Without a translation, its words are those of the source: they are never shown.
        self._seen: SeenTranslation = translator.look(source, target or source)
        self.target = target.strip()

    def last(self, text: str | None = None) -> int:
        """The last place of a word of the translation, or of its last word if it does not have it."""
        return self._first + last(self._seen.target_words, text)

    def words(self) -> Numbers:
        """Both texts cut into words, see `TextViews.words`; the translation begins on a line of its own."""
        seen, language = self._seen, self._language
        found = listed(self.source, seen.source_words, language.source.encode(self.source).ids, language.source)
        for word in found["words"]:
            word["given"] = True
        if self.target:
            theirs = listed(self.target, seen.target_words, language.target.encode(self.target).ids, language.target)
            for word in theirs["words"]:
                word["given"] = False
            theirs["words"][0]["gap"] = f"{found['tail']}\n{theirs['words'][0]['gap']}"
            count = found["count"] + theirs["count"]
            found = {"words": found["words"] + theirs["words"], "tail": theirs["tail"], "count": count}
        return found

    def next(self, word: int | None, sampling: Sampling, n: int = 10) -> Numbers:
        """What else the model could have said in the place of a word of the translation; see `likely`."""
        number = self._number(word)
        logits = self._seen.logits(number)[:1]
        own = self._language.target.encode(self.target).ids[self._seen.target_words[number - 1].tokens.start]
        return {"word": self._first + number - 1, **likely(logits, own, self._language.target, sampling, n)}

    def importance(
        self,
        word: int | None,
        foil: str | None,
        method: str | None = None,
        progress: Progress | None = None,
        check: bool = True,
    ) -> Numbers:
        """Which words of the source and of the translation so far made the model say a word; see `told`."""
        number = self._number(word)
        found = self._seen.importance(number, foil=foil, method=method, written=True, check=check, progress=progress)
        return {**told(found), "word": self._first + number - 1, "checked": check, "telling": None}

    def estimate(self, word: int | None) -> Numbers | None:
        """None: there is no quicker way to a translation; compare `TextViews.estimate`."""
        return None

    def alignment(self, grid: list[list[float | None]]) -> Numbers:
        """The words of the translation against those of the source: how much they listen to them, and what they owe.

        alignment: [L][M][N], the mean over heads of each layer; no layer for a model that listens to no single word.
        layer, step: the one of them that listens most to the words that mattered, and where, see
        `SeenTranslation.listening`. grid: given on.
        """
        if not self._seen.layers:
            return {"alignment": [], "layer": 0, "step": "output", "grid": grid}
        owed = torch.tensor([[value or 0.0 for value in row[: self._first]] for row in grid])
        weights, layer, step = self._seen.listening(owed)
        return {"alignment": weights.tolist(), "layer": layer, "step": step, "grid": grid}

    def grid(self, progress: Progress | None = None) -> list[list[float | None]]:
        """What each word of the translation owes to all words in front of it, measured as `importance` measures single
        words: by replacing them. None for the word that asks, in whose place another would ask for another word."""
        rows: list[list[float | None]] = []
        for number in range(1, len(self._seen.target_words) + 1):
            found = self._seen.importance(number, method="leave-one-replaced", written=True, check=False)
            rows.append([None if heard.asks else heard.importance or 0.0 for heard in found.words])
            if progress is not None:
                progress(number, len(self._seen.target_words))
        return rows

    @cached_property
    def _first(self) -> int:
        """The place of the translation's first word."""
        return len(self._seen.source_words)

    def _number(self, word: int | None) -> int:
        """A word of the translation, counted from 1. Raises RequestError for one of the source, or for none."""
        if not self.target:
            raise RequestError("there is no translation yet to ask about")
        count = len(self._seen.target_words)
        number = count if word is None else word - self._first + 1
        if not 1 <= number <= count:
            raise RequestError("the model did not say this word, it read it; choose a word of the translation")
        return number

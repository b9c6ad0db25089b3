"""What is asked of a model: each question turns what the head answers into one number, in a unit that it names."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from limelight.errors import RequestError

ALTERNATIVES = 10
"""The likeliest other answers that one is held against where no foil is named."""


@dataclass(frozen=True)
class Question(ABC):
    """at: the positions [n] whose answers are asked for; none where the head answers for the whole text."""

    at: tuple[int, ...]
    unit: ClassVar[str] = "log-odds"
    """What `value` is measured in."""

    least: ClassVar[float] = 0.14
    """The smallest loss that counts as a fall: with less, the odds stay within a seventh of what they were."""

    @abstractmethod
    def value(self, answers: Tensor) -> Tensor:
        """One number for each row: [B] on the CPU. answers: [B, n, C] of the head at `at`, or [B, C] of a whole text;
        -inf at a position that was left out."""


@dataclass(frozen=True)
class Odds(Question):
    """How likely an answer is, held against others: log-odds, summed over `at`.

    answer: [n], the answer's ids at each place; one where the head answers for the whole text. alternatives: for each
    of them the ids that it is held against; one of them is a foil.
    """

    answer: tuple[int, ...]
    alternatives: tuple[tuple[int, ...], ...]

    def value(self, answers: Tensor) -> Tensor:
        answers = self._placed(answers)
        total = torch.zeros(len(answers))
        for i, (id, others) in enumerate(zip(self.answer, self.alternatives, strict=True)):
            total = total + (answers[:, i, id] - answers[:, i, list(others)].logsumexp(-1)).cpu()
        return total

    def logprob(self, answers: Tensor) -> Tensor:
        """Natural logarithm of the answer's probability, summed over `at`: [B] from answers as in `value`."""
        scores = self._placed(answers).log_softmax(-1)
        return scores[:, range(len(self.answer)), list(self.answer)].sum(-1).cpu()

    def _placed(self, answers: Tensor) -> Tensor:
        return answers if self.at else answers[:, None]

    @classmethod
    def likeliest(cls, at: Sequence[int], answer: Sequence[int], answers: Tensor) -> Self:
        """`answer` at some places, against the likeliest others there by the model's own answers [n, C]."""
        alternatives = []
        for scores, id in zip(answers, answer, strict=True):
            best = scores.topk(min(ALTERNATIVES + 1, len(scores))).indices.tolist()
            alternatives.append(tuple(each for each in best if each != id)[:ALTERNATIVES])
        return cls(tuple(at), tuple(answer), tuple(alternatives))

    @classmethod
    def foil(cls, at: Sequence[int], answer: Sequence[int], other: Sequence[int], spelled: str) -> Self:
        """`answer` at some places against a foil, at the first place where the two differ.

        spelled: the foil as text. Raises RequestError if one is the beginning of the other, so that nothing tells them
        apart.
        """
        for place, id, foil in zip(at, answer, other, strict=False):
            if id != foil:
                return cls((place,), (id,), ((foil,),))
        raise RequestError(
            f"{spelled!r} and the word in question begin alike, so no token tells them apart; name another word"
        )


@dataclass(frozen=True)
class GivenWord(Odds):
    """A word that stands in the text, predicted from what is before it. at: the positions in front of its tokens."""


@dataclass(frozen=True)
class NextWord(Odds):
    """A word that the model would add, predicted from all of the text. at: the text's last position."""


@dataclass(frozen=True)
class MaskedWord(Odds):
    """A word that is masked, predicted from both sides. at: the positions of its masks."""


@dataclass(frozen=True)
class Tag(Odds):
    """A label of one position: `at` holds it alone."""


@dataclass(frozen=True)
class Class(Odds):
    """A label of the whole text; `at` is empty."""


@dataclass(frozen=True)
class Score(Question):
    """The one score that a head gives a whole text; `at` is empty."""

    unit: ClassVar[str] = "score"

    def value(self, answers: Tensor) -> Tensor:
        return answers[:, 0].cpu()


@dataclass(frozen=True)
class Span(Question):
    """Where an answer stands in the text: the log-odds that it starts at `start` and ends at `end`, against all other
    places of `at`, or against a foil.

    foil: where another one starts and ends. All of them are positions in the text and among `at`.
    """

    start: int
    end: int
    foil: tuple[int, int] | None = None

    def value(self, answers: Tensor) -> Tensor:
        total = torch.zeros(len(answers))
        for side, place in enumerate((self.start, self.end)):
            i, scores = self.at.index(place), answers[:, :, side]  # [B, n]
            if self.foil is None:
                others = torch.cat((scores[:, :i], scores[:, i + 1 :]), -1).logsumexp(-1)
            else:
                others = scores[:, self.at.index(self.foil[side])]
            total = total + (scores[:, i] - others).cpu()
        return total


@dataclass(frozen=True, eq=False)
class Similarity(Question):
    """How near the text's vector is to another text's, as a cosine, less how near it is to a foil's.

    other, foil: vectors [W]. `at` is empty.
    """

    other: Tensor
    foil: Tensor | None = None
    unit: ClassVar[str] = "cosine"
    least: ClassVar[float] = 0.01

    def value(self, answers: Tensor) -> Tensor:
        found = torch.cosine_similarity(answers, self.other, dim=-1)
        if self.foil is not None:
            found = found - torch.cosine_similarity(answers, self.foil, dim=-1)
        return found.cpu()

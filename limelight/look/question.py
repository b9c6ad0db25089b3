"""What is asked of a model: each question turns what the head answers into one number, in a unit that it names."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, isfinite, log
from statistics import fmean
from typing import ClassVar, Self

import torch
from torch import Tensor

from limelight.errors import RequestError


@dataclass(frozen=True)
class Question(ABC):
    """at: the positions [n] whose answers are asked for; none where the head answers for the whole text."""

    at: tuple[int, ...]

    @property
    @abstractmethod
    def unit(self) -> str:
        """What `value` is measured in, and so what it loses."""

    least: ClassVar[float] = 0.14
    """The smallest loss that counts as a fall: with less, an answer stays within a seventh of as likely as it was."""

    @abstractmethod
    def value(self, answers: Tensor) -> Tensor:
        """One number for each row: [B] on the CPU. answers: [B, n, C] of the head at `at`, or [B, C] of a whole text;
        -inf at a position that was left out."""

    def average(self, losses: Sequence[float]) -> float:
        """What the answer loses on average, of what it loses by each of several variants."""
        return fmean(losses)


def _average_of_logs(losses: Sequence[float]) -> float:
    """What the logarithm of a probability, or of odds, loses when their mean over the variants is taken."""
    least = min(losses)
    return least - log(fmean(exp(least - loss) for loss in losses)) if isfinite(least) else least


@dataclass(frozen=True)
class Likelihood(Question):
    """How likely an answer is: its log-probability, summed over `at`, or its log-odds against a foil.

    answer: [n], the answer's ids at each place; one where the head answers for the whole text. foil: the id that it is
    held against, at its only place.
    """

    answer: tuple[int, ...]
    foil: int | None = None

    @property
    def unit(self) -> str:
        return "log-probability" if self.foil is None else "log-odds"

    def average(self, losses: Sequence[float]) -> float:
        return _average_of_logs(losses)

    def value(self, answers: Tensor) -> Tensor:
        if self.foil is None:
            return self.logprob(answers)
        answers = self._placed(answers)[:, 0]
        return (answers[:, self.answer[0]] - answers[:, self.foil]).cpu()

    def logprob(self, answers: Tensor) -> Tensor:
        """Natural logarithm of the answer's probability, summed over `at`: [B] from answers as in `value`."""
        return self.logprobs(answers).sum(-1)

    def logprobs(self, answers: Tensor) -> Tensor:
        """Natural logarithms of the probabilities of the answer's parts: [B, n] from answers as in `value`."""
        scores = self._placed(answers).float().log_softmax(-1)
        return scores[:, range(len(self.answer)), list(self.answer)].cpu()

    def _placed(self, answers: Tensor) -> Tensor:
        return answers if self.at else answers[:, None]

    @classmethod
    def against(cls, at: Sequence[int], answer: Sequence[int], other: Sequence[int], spelled: str) -> Self:
        """`answer` at some places against a foil, at the first place where the two differ.

        spelled: the foil as text. Raises RequestError if one is the beginning of the other, so that nothing tells them
        apart.
        """
        for place, id, foil in zip(at, answer, other, strict=False):
            if id != foil:
                return cls((place,), (id,), foil)
        raise RequestError(
            f"{spelled!r} and the word in question begin alike, so no token tells them apart; name another word"
        )


@dataclass(frozen=True)
class GivenWord(Likelihood):
    """A word that stands in the text, predicted from what is before it. at: the positions in front of its tokens."""


@dataclass(frozen=True)
class NextWord(Likelihood):
    """A word that the model would add, predicted from all of the text. at: the text's last position."""


@dataclass(frozen=True)
class MaskedWord(Likelihood):
    """A word that is masked, predicted from both sides. at: the positions of its masks."""


@dataclass(frozen=True)
class Tag(Likelihood):
    """A label of one position: `at` holds it alone."""


@dataclass(frozen=True)
class Class(Likelihood):
    """A label of the whole text; `at` is empty."""


@dataclass(frozen=True)
class Score(Question):
    """One score that a head gives a whole text, the only one or that of a label which may fit with others; `at` is
    empty."""

    label: int = 0

    @property
    def unit(self) -> str:
        return "score"

    def value(self, answers: Tensor) -> Tensor:
        return answers[:, self.label].cpu()


@dataclass(frozen=True)
class Span(Question):
    """Where an answer stands in the text: the log-odds that it starts at `start` and ends at `end`, against all other
    places of `at`, or against a foil.

    foil: where another one starts and ends. All of them are positions in the text and among `at`.
    """

    start: int
    end: int
    foil: tuple[int, int] | None = None

    @property
    def unit(self) -> str:
        return "log-odds"

    def average(self, losses: Sequence[float]) -> float:
        return _average_of_logs(losses)

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
    least: ClassVar[float] = 0.01

    @property
    def unit(self) -> str:
        return "cosine"

    def value(self, answers: Tensor) -> Tensor:
        found = torch.cosine_similarity(answers, self.other, dim=-1)
        if self.foil is not None:
            found = found - torch.cosine_similarity(answers, self.foil, dim=-1)
        return found.cpu()

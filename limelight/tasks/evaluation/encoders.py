"""How good a model that marks answers is, and one that makes vectors, on texts of which it is known."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch.nn.functional as F

from limelight.errors import RequestError
from limelight.tasks.evaluation.measures import Measure, Progress, mean, nearest, spearman
from limelight.train.questions import Asked
from limelight.train.similar import Beside

if TYPE_CHECKING:
    from limelight import Embedder
    from limelight.labels import SpanModel

TOGETHER = 256  # texts that are read at once
MISTAKES = 10


@dataclass(frozen=True)
class Wrong:
    """A question that got another answer than a right one; "" is none. probability: of the answer that it got."""

    question: str
    found: str
    right: str
    probability: float


@dataclass(frozen=True)
class JudgedAnswers:
    """exact: how many answers are a right one, to the word; f1: how many words they share with it, as SQuAD counts both
    (Rajpurkar et al., 2016), over the best of the right ones. mistakes: those it was surest of."""

    questions: int
    exact: Measure
    f1: Measure
    mistakes: tuple[Wrong, ...]


@dataclass(frozen=True)
class JudgedVectors:
    """Of scored pairs, rank: the rank correlation of scores and cosines × 100; of others, first: how many first texts
    have their second one as the nearest of all second ones, and reciprocal: the mean of 100 / its place among them."""

    pairs: int
    rank: Measure | None
    first: Measure | None
    reciprocal: Measure | None


def judge_answers(model: "SpanModel", asked: Sequence[Asked], progress: Progress | None = None) -> JudgedAnswers:
    """A model that marks answers, on questions and their right answers. Raises RequestError for no question."""
    if not asked:
        raise RequestError("there is no question to judge by")
    exact, shared, wrong = [], [], []
    for done, each in enumerate(asked, 1):
        (found,) = model.answer(each.question, [each.text])
        right = [answer for _, answer in each.answers] or [""]
        exact.append(100.0 * max(words_of(found.text) == words_of(answer) for answer in right))
        shared.append(100.0 * max(overlap(found.text, answer) for answer in right))
        if not exact[-1]:
            sure = found.probability if found.text else found.none
            wrong.append(Wrong(each.question, found.text, right[0], sure))
        if progress is not None:
            progress(done, len(asked))
    worst = sorted(wrong, key=lambda each: -each.probability)[:MISTAKES]
    return JudgedAnswers(len(asked), mean(exact), mean(shared), tuple(worst))


def judge_vectors(model: "Embedder", pairs: Sequence[Beside], progress: Progress | None = None) -> JudgedVectors:
    """A model that makes vectors, on pairs of texts. Raises RequestError for fewer than two."""
    if len(pairs) < 2:
        raise RequestError("two pairs of texts are the fewest to judge by")
    sides = []
    for side in (0, 1):
        found = []
        for at in range(0, len(pairs), TOGETHER):
            found += [*F.normalize(model.embed([each.texts[side] for each in pairs[at : at + TOGETHER]]), dim=-1)]
            if progress is not None:
                progress(side * len(pairs) + len(found), 2 * len(pairs))
        sides.append(np.stack(found))
    first, second = sides
    if pairs[0].score is not None:
        return JudgedVectors(
            len(pairs), spearman((first * second).sum(-1), np.array([each.score for each in pairs])), None, None
        )
    cosines = first @ second.T
    own = cosines.diagonal()[:, None]
    places = (cosines > own).sum(1) + 1
    return JudgedVectors(len(pairs), None, nearest(cosines), mean((100 / places).tolist()))


def words_of(answer: str) -> list[str]:
    """The words of an answer as SQuAD compares them: small letters, without marks and articles."""
    plain = "".join(letter for letter in answer.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def overlap(found: str, right: str) -> float:
    """The F1 of the words that two answers share; of one that is none whether both are."""
    ours, theirs = words_of(found), words_of(right)
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * sum((Counter(ours) & Counter(theirs)).values()) / (len(ours) + len(theirs))

"""How often labels are right: accuracy, F1 of classes and of spans, and how sure that is."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labelled = tuple[int, int, str]
"""Words `[start, end)`, counted from 0, and the label that they have together."""

Progress = Callable[[int, int], None]
"""Told how many texts are judged, and of how many."""

DRAWN = 1000
"""Samples of the test set by which an interval is told."""


@dataclass(frozen=True)
class Measure:
    """A share from 0 to 100 or a perplexity, and the interval into which 95 of 100 such test sets would put it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1f} ({self.low:.1f} to {self.high:.1f})"


def accuracy(found: Sequence[int], right: Sequence[int]) -> Measure:
    """How many labels are right."""
    hits = np.asarray(found) == np.asarray(right)
    return _sampled(len(hits), lambda rows: 100 * float(hits[rows].mean()))


def mean(values: Sequence[float]) -> Measure:
    """The mean of what each row has."""
    numbers = np.asarray(values)
    return _sampled(len(numbers), lambda rows: float(numbers[rows].mean()))


def perplexity(losses: Sequence[float], counts: Sequence[int]) -> Measure:
    """What a model is unsure between, from the sum of the losses (nats) of each row's tokens, and how many they are."""
    rows = np.stack((np.asarray(losses), np.asarray(counts)))

    def measured(drawn: NDArray[np.int64]) -> float:
        total, tokens = rows[:, drawn].sum(1)
        return float(np.exp(total / tokens))

    return _sampled(len(losses), measured)


def macro_f1(found: Sequence[int], right: Sequence[int], labels: int) -> Measure:
    """The mean over labels of the harmonic mean of precision and recall; a label that is nowhere does not count."""
    table = np.asarray(right) * labels + np.asarray(found)

    def measured(rows: NDArray[np.int64]) -> float:
        counts = np.bincount(table[rows], minlength=labels * labels).reshape(labels, labels)
        both = counts.sum(0) + counts.sum(1)
        there = both > 0
        return 100 * float((2 * counts.diagonal()[there] / both[there]).mean())

    return _sampled(len(table), measured)


def span_f1(found: Sequence[Sequence[str]], right: Sequence[Sequence[str]], *, sampled: bool = True) -> Measure:
    """F1 of whole spans over all texts, whose tags are given: a span counts if its words and its label are right.

    sampled: whether to tell an interval, which takes a thousand times as long."""
    return f1(
        np.array([_overlap(spans(ours), spans(theirs)) for ours, theirs in zip(found, right, strict=True)]),
        sampled=sampled,
    )


def f1(counts: NDArray[np.int64], *, sampled: bool = True) -> Measure:
    """The harmonic mean of precision and recall, from how many of each row [N, 3] are right, found and wanted."""

    def measured(rows: NDArray[np.int64]) -> float:
        hits, ours, theirs = counts[rows].sum(0)
        return 100 * float(2 * hits / (ours + theirs)) if ours + theirs else 100.0

    return _sampled(len(counts), measured) if sampled else Measure(measured(np.arange(len(counts))), 0.0, 100.0)


def spearman(found: NDArray[Any], right: NDArray[Any], *, sampled: bool = True) -> Measure:
    """The rank correlation of two rows of numbers × 100; 0 where either has no order."""

    def measured(rows: NDArray[np.int64]) -> float:
        one, other = _ranks(found[rows]), _ranks(right[rows])
        spread = one.std() * other.std()
        return 100 * float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread else 0.0

    return _sampled(len(found), measured) if sampled else Measure(measured(np.arange(len(found))), -100.0, 100.0)


def nearest(cosines: NDArray[Any], *, sampled: bool = True) -> Measure:
    """How many rows of a table [N, N] have their largest number on the diagonal."""
    hits = (cosines.argmax(1) == np.arange(len(cosines))).astype(int)
    if not sampled:
        return Measure(100 * float(hits.mean()), 0.0, 100.0)
    return accuracy(hits.tolist(), [1] * len(hits))


def _ranks(numbers: NDArray[Any]) -> NDArray[np.float64]:
    """The place of each number in their order; equal ones share the mean of theirs."""
    _, which, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    means: NDArray[np.float64] = (ends - (counts - 1) / 2)[which]
    return means


def confusion(found: Sequence[int], right: Sequence[int], labels: int) -> NDArray[np.int64]:
    """How often each label [row] was taken for each [column]."""
    table: NDArray[np.int64] = np.bincount(np.asarray(right) * labels + np.asarray(found), minlength=labels * labels)
    return table.reshape(labels, labels)


def spans(tags: Sequence[str]) -> list[Labelled]:
    """The spans that tags of the schemes IOB1, IOB2, BIOES or BILOU mean, by the rules of conlleval, as seqeval has
    them unless it is told to be strict: a span also begins where one inside follows nothing, or another label."""
    found: list[Labelled] = []
    begun, label = 0, ""
    for place, tag in enumerate((*tags, "O")):
        head, _, name = tag.partition("-")
        if head not in _SCHEME or (head != "O" and not name):  # a part of speech: each word is a span
            head, name = "S", tag
        if head == "O":
            name = ""
        if label and (name != label or head in "BSU"):
            found.append((begun, place, label))
            label = ""
        if name and not label:
            begun, label = place, name
        if label and head in "ELSU":
            found.append((begun, place + 1, label))
            label = ""
    return found


_SCHEME = set("BIOESLU")


def _overlap(ours: list[Labelled], theirs: list[Labelled]) -> tuple[int, int, int]:
    return sum((Counter(ours) & Counter(theirs)).values()), len(ours), len(theirs)


def _sampled(count: int, measured: Callable[[NDArray[np.int64]], float]) -> Measure:
    """A measure of rows, and its percentiles over samples of as many rows (Efron, 1979)."""
    value = measured(np.arange(count))
    draw = np.random.default_rng(0)
    low, high = np.percentile([measured(draw.integers(count, size=count)) for _ in range(DRAWN)], (2.5, 97.5))
    return Measure(value, float(low), float(high))

"""How good a model of labels is on texts whose labels are known, where it errs, and which words decide."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from limelight.errors import RequestError
from limelight.tasks.evaluation.measures import Measure, Progress, accuracy, confusion, f1, macro_f1, span_f1, spans
from limelight.text.words import words
from limelight.train.examples import Tagged

if TYPE_CHECKING:
    from limelight.labels import Classifier, Tagger

TOGETHER = 128  # texts that are read at once
MISTAKES = 10
WEIGHED = 200
"""Texts at most whose words are taken away one by one."""


@dataclass(frozen=True)
class Mistake:
    """A text that got another label than the right one. probability: of the label that it got."""

    text: str
    found: str
    right: str
    probability: float


@dataclass(frozen=True)
class Decides:
    """A word that speaks for a label: by how much its log-odds fall without it, summed over the texts that have it."""

    word: str
    weight: float
    texts: int


@dataclass(frozen=True)
class Judged:
    """accuracy, macro_f1: of a classifier. confusion: how often each label [row] was taken for each [column].
    mistakes: those it was surest of. decides: the words that speak most for each label."""

    labels: tuple[str, ...]
    texts: int
    accuracy: Measure
    macro_f1: Measure
    confusion: NDArray[np.int64]
    mistakes: tuple[Mistake, ...]
    decides: dict[str, tuple[Decides, ...]]


@dataclass(frozen=True)
class JudgedSeveral:
    """Of a classifier any number of whose labels may fit a text. f1: over all labels of all texts. exact: how many
    texts have just the right ones. by_label: F1 of each label alone."""

    texts: int
    f1: Measure
    exact: Measure
    by_label: dict[str, Measure]
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True)
class JudgedTags:
    """f1: of whole spans, by the rules of conlleval. by_label: the same of the spans of each label alone. accuracy: of
    the words' labels."""

    texts: int
    f1: Measure
    accuracy: Measure
    by_label: dict[str, Measure]
    mistakes: tuple[Mistake, ...]


def judge(model: "Classifier", texts: Sequence[tuple[str, str]], progress: Progress | None = None) -> Judged:
    """A classifier on texts and their right labels. Raises RequestError for no text, or a label it does not know."""
    labels = model.labels
    _known(model, {label for _, label in texts}, texts)
    found: list[tuple[str, float]] = []
    for at in range(0, len(texts), TOGETHER):
        part = [text for text, _ in texts[at : at + TOGETHER]]
        found += [next(iter(shares.items())) for shares in model.classify(part)]
        if progress is not None:
            progress(len(found), len(texts))
    ours = [labels.index(label) for label, _ in found]
    theirs = [labels.index(label) for _, label in texts]
    wrong = [
        Mistake(text, label, right, share)
        for (text, right), (label, share) in zip(texts, found, strict=True)
        if label != right
    ]
    return Judged(
        labels,
        len(texts),
        accuracy(ours, theirs),
        macro_f1(ours, theirs, len(labels)),
        confusion(ours, theirs, len(labels)),
        tuple(sorted(wrong, key=lambda each: -each.probability)[:MISTAKES]),
        deciding(model, [text for text, _ in texts[:WEIGHED]], progress),
    )


def judge_several(
    model: "Classifier", texts: Sequence[tuple[str, Sequence[str]]], progress: Progress | None = None
) -> JudgedSeveral:
    """A classifier any number of whose labels may fit, on texts and their right labels. Raises RequestError for no
    text, or a label it does not know."""
    labels = model.labels
    _known(model, {label for _, right in texts for label in right}, texts)
    likely = np.zeros((len(texts), len(labels)))
    for at in range(0, len(texts), TOGETHER):
        for row, shares in enumerate(model.classify([text for text, _ in texts[at : at + TOGETHER]]), at):
            likely[row] = [shares[label] for label in labels]
        if progress is not None:
            progress(min(at + TOGETHER, len(texts)), len(texts))
    ours = likely >= 0.5
    theirs = np.array([[label in right for label in labels] for _, right in texts])
    wrong = (ours != theirs).any(1)
    surest = np.where(ours != theirs, np.abs(likely - 0.5), 0).max(1)

    def named(row: NDArray[np.bool_]) -> str:
        return ", ".join(label for label, fits in zip(labels, row, strict=True) if fits) or "none"

    return JudgedSeveral(
        len(texts),
        f1(np.stack([(ours & theirs).sum(1), ours.sum(1), theirs.sum(1)], 1)),
        accuracy(wrong.astype(int).tolist(), [0] * len(texts)),
        {
            label: f1(np.stack([side[:, at].astype(int) for side in (ours & theirs, ours, theirs)], 1))
            for at, label in enumerate(labels)
        },
        tuple(
            Mistake(texts[row][0], named(ours[row]), named(theirs[row]), 0.5 + float(surest[row]))
            for row in sorted(wrong.nonzero()[0].tolist(), key=lambda row: -surest[row])[:MISTAKES]
        ),
    )


def judge_tags(model: "Tagger", texts: Sequence[Tagged], progress: Progress | None = None) -> JudgedTags:
    """A tagger on texts whose words have their right tags. Raises RequestError for no text."""
    if not texts:
        raise RequestError("there is no text to judge by")
    found = []
    for done, each in enumerate(texts, 1):
        found.append(model.tags(each.text, each.words))
        if progress is not None:
            progress(done, len(texts))
    right = [list(each.tags) for each in texts]
    kinds = sorted({label for tags in right for *_, label in spans(tags)})
    alone = {
        kind: span_f1(*([[_only(tag, kind) for tag in tags] for tags in side] for side in (found, right)))
        for kind in kinds
    }
    pairs = [
        (one, other) for ours, theirs in zip(found, right, strict=True) for one, other in zip(ours, theirs, strict=True)
    ]
    known = {label: number for number, label in enumerate(sorted({each for pair in pairs for each in pair}))}
    wrong = [
        Mistake(each.text, _said(each, ours), _said(each, theirs), 1.0)
        for each, ours, theirs in zip(texts, found, right, strict=True)
        if spans(ours) != spans(theirs)
    ]
    rate = accuracy([known[one] for one, _ in pairs], [known[other] for _, other in pairs])
    return JudgedTags(len(texts), span_f1(found, right), rate, alone, tuple(wrong[:MISTAKES]))


def deciding(
    model: "Classifier", texts: Sequence[str], progress: Progress | None = None, most: int = 10
) -> dict[str, tuple[Decides, ...]]:
    """For each label the words that speak most for it over all texts that got it: each word of a text is left out in
    turn, and what the label's log-odds lose is summed by word (leave-one-out, Li et al., 2016). Texts that are longer
    than the model reads do not count."""
    sums: dict[str, dict[str, list[float]]] = {label: defaultdict(list) for label in model.labels}
    front, back = list(model.tokenizer.prefix), list(model.tokenizer.suffix)
    for done, text in enumerate(texts, 1):
        coded = model.tokenizer.encode(text)
        there = words(text, coded.offsets)
        if len(there) < 2 or len(coded.ids) + len(front) + len(back) > model.network.context:
            continue
        without = [coded.ids[: word.tokens.start] + coded.ids[word.tokens.stop :] for word in there]
        scores = torch.stack(model._answers([[*front, *ids, *back] for ids in (coded.ids, *without)]))  # [1 + n, C]
        best = int(scores[0].argmax())
        odds = scores.log_softmax(-1)[:, best].clamp(max=-1e-6)
        odds = odds - torch.log1p(-odds.exp())
        for word, lost in zip(there, (odds[0] - odds[1:]).tolist(), strict=True):
            sums[model.labels[best]][word.text.casefold()].append(lost)
        if progress is not None:
            progress(done, len(texts))
    found = {}
    for label, heard in sums.items():
        ranked = sorted(heard.items(), key=lambda item: -sum(item[1]))[:most]
        found[label] = tuple(Decides(word, sum(lost), len(lost)) for word, lost in ranked if sum(lost) > 0)
    return found


def _known(model: "Classifier", labels: set[str], texts: Sequence[object]) -> None:
    """Raises RequestError for labels that a model does not know, or no text."""
    if unknown := labels - {*model.labels}:
        known = ", ".join(model.labels[:20])
        raise RequestError(f"{model.name} does not know the label {min(unknown)!r}; it knows {known}")
    if not texts:
        raise RequestError("there is no text to judge by")


def _only(tag: str, kind: str) -> str:
    return tag if tag == kind or tag.partition("-")[2] == kind else "O"


def _said(each: Tagged, tags: Sequence[str]) -> str:
    parts = (f"{each.text[each.words[a][0] : each.words[b - 1][1]]} ({label})" for a, b, label in spans(tags))
    return ", ".join(parts) or "nothing"

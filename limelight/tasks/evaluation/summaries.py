"""How good summaries are: ROUGE, counted by rouge-score so that it can be compared with what is published."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from limelight.errors import RequestError
from limelight.tasks.evaluation.measures import Measure, Progress, mean
from limelight.train.summaries import Short

ROUGE = ("rouge1", "rouge2", "rougeL")
"""Kinds of ROUGE (Lin, 2004): words, pairs of words, and the longest sequence of words that two texts share."""


@dataclass(frozen=True)
class JudgedSummaries:
    """ROUGE × 100 by the names of its kinds, of the model's summaries and of the texts' first sentences."""

    texts: int
    rouge: dict[str, Measure]
    first_sentence: dict[str, Measure]


def rouge(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, list[float]]:
    """The F1 × 100 of each kind of ROUGE for each output, words by their stems; of several references the best counts.

    Raises RequestError if rouge-score is missing.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise RequestError('ROUGE is counted by rouge-score; install it with: pip install "limelight[train]"') from None
    counter = RougeScorer(ROUGE, use_stemmer=True)
    scores = [counter.score_multi(right, said) for said, right in zip(outputs, references, strict=True)]
    return {kind: [100 * each[kind].fmeasure for each in scores] for kind in ROUGE}


def judge_summaries(
    summarise: Callable[[str], str], texts: Sequence[Short], progress: Progress | None = None
) -> JudgedSummaries:
    """What says texts in short, on texts with summaries; beside it the first sentence of each, which news is hard to
    beat by. Raises RequestError for no text, or where ROUGE cannot be counted."""
    if not texts:
        raise RequestError("there is no text to judge by")
    references = [each.summaries for each in texts]
    firsts = rouge([each.first for each in texts], references)
    found = []
    for done, each in enumerate(texts, 1):
        found.append(summarise(each.text))
        if progress is not None:
            progress(done, len(texts))
    ours = rouge(found, references)
    return JudgedSummaries(len(texts), *({kind: mean(side[kind]) for kind in ROUGE} for side in (ours, firsts)))

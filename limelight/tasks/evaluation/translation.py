"""How good translations are: BLEU and chrF, counted by sacreBLEU so that they can be compared with published ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limelight.errors import RequestError


@dataclass(frozen=True)
class Score:
    """A metric's value from 0 to 100, and sacreBLEU's signature, which says exactly how it was counted."""

    name: str
    value: float
    signature: str


@dataclass(frozen=True)
class Bucket:
    """The score of the sentences with `low` to `high` words (None: no end), and how many these are."""

    low: int
    high: int | None
    sentences: int
    score: Score


def bleu(
    outputs: Sequence[str], references: Sequence[str], *, tokenized: bool = False, lowercase: bool = False
) -> Score:
    """Corpus BLEU (Papineni et al., 2002) of outputs against one reference each.

    By default on raw text, which sacreBLEU tokenizes itself (Post, 2018). tokenized: both sides are tokenized already
    and are only split at spaces, as by multi-bleu.perl; with `lowercase`, on Moses-tokenized text, this is the
    setting of the figures published for Multi30k. Raises RequestError if sacreBLEU is missing or the sides differ in
    number.
    """
    options = {"lowercase": lowercase, "tokenize": "none" if tokenized else "13a", "force": tokenized}
    return _score("BLEU", options, outputs, references)


def chrf(outputs: Sequence[str], references: Sequence[str]) -> Score:
    """Corpus chrF2 (Popović, 2015): the F-score of character n-grams. Raises RequestError as `bleu` does."""
    return _score("CHRF", {}, outputs, references)


def bleu_by_length(
    outputs: Sequence[str],
    references: Sequence[str],
    sources: Sequence[str],
    *,
    edges: Sequence[int] = (8, 11, 15, 21, 31),
    tokenized: bool = False,
    lowercase: bool = False,
) -> list[Bucket]:
    """BLEU of sentences grouped by how many words (between spaces) their source has.

    edges: the lengths at which a new group begins; groups without a sentence are left out. See `bleu`.
    """
    _same_number(outputs, references)
    _same_number(outputs, sources)
    lengths = [len(source.split()) for source in sources]
    starts = sorted({0, *edges})
    buckets = []
    for low, end in zip(starts, [*starts[1:], None], strict=True):
        rows = [row for row, n in enumerate(lengths) if n >= low and (end is None or n < end)]
        if rows:
            ours, theirs = ([side[row] for row in rows] for side in (outputs, references))
            score = bleu(ours, theirs, tokenized=tokenized, lowercase=lowercase)
            buckets.append(Bucket(low, None if end is None else end - 1, len(rows), score))
    return buckets


def _score(metric: str, options: dict[str, Any], outputs: Sequence[str], references: Sequence[str]) -> Score:
    _same_number(outputs, references)
    try:
        from sacrebleu import metrics
    except ImportError:
        raise RequestError('scores are counted by sacreBLEU; install it with: pip install "limelight[train]"') from None
    counter = getattr(metrics, metric)(**options)
    found = counter.corpus_score(list(outputs), [list(references)])
    return Score(found.name, float(found.score), str(counter.get_signature()))


def _same_number(ours: Sequence[str], theirs: Sequence[str]) -> None:
    if len(ours) != len(theirs) or not ours:
        raise RequestError(f"{len(ours):,} lines cannot be scored against {len(theirs):,}; each needs exactly one")

"""Do the methods find the word that decides? ``python -m benchmarks.importance [--json] [--limit N]``.

Each sentence stops before a word, and comes with that word, a wrong one, and the word before it that decides between
the two. What is told is the mean reciprocal rank of the deciding word among all words before, for our methods and for
captum's on the same weights, with the wrong word as the foil and without.
"""

import argparse
import csv
import gzip
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

import limelight
from benchmarks.decode import default_file
from benchmarks.report import machine
from limelight.errors import RequestError
from limelight.look.importance import METHODS
from limelight.look.target import Question, likeliest_rivals, one_rival
from limelight.look.text import Reading, parking, read
from limelight.models.api import Decoder

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "importance_targets"

SETS = {
    "indirect object": "ioi_dataset",
    "anaphor gender": "anaphor_gender_agreement",
    "determiner–noun": "determiner_noun_agreement_1",
    "npi present": "npi_present_1",
    "plural verb": "regular_plural_subject_verb_agreement_1",
}

Ranker = Callable[[Reading, int, Question], Sequence[float]]
"""``ranker(reading, target, question)`` → a value for each word before word number `target`."""


@dataclass(frozen=True)
class Sentence:
    """A text up to word number `target`, the question with the foil and without, and the places of the deciding word.
    right: whether the model finds the right word likelier than the wrong one."""

    reading: Reading
    target: int
    questions: dict[str, Question]
    deciding: frozenset[int]
    right: bool


@dataclass(frozen=True)
class Score:
    """One method on one set. contrast: "none" or "foil". mrr: over all sentences; mrr_right: over those that the model
    gets right, None if there are none. seconds: of processor time for each sentence."""

    set: str
    method: str
    contrast: str
    sentences: int
    right: int
    mrr: float
    mrr_right: float | None
    seconds: float


def measure(limit: int, path: str, methods: Sequence[str], peers: bool) -> dict[str, Any]:
    """All methods on the first `limit` sentences of each set that can be asked."""
    model = limelight.open(path, dtype="float32")
    assert isinstance(model, limelight.Model)
    rankers: dict[str, Ranker] = {name: _ours(model.network, name) for name in methods}
    if peers:
        rankers |= _captum(model.network)
    scores = []
    for name, file in SETS.items():
        sentences = []
        for sentence in _sentences(model, DATA / f"{file}.csv.gz"):
            sentences.append(sentence)
            if len(sentences) == limit:
                break
        for method, ranker in rankers.items():
            ranker(
                sentences[0].reading, sentences[0].target, sentences[0].questions["none"]
            )  # the first does not count
            scores += [_score(name, method, contrast, ranker, sentences) for contrast in ("none", "foil")]
    return {"rows": [asdict(score) for score in scores], "average": _averages(scores), "machine": machine()}


def _sentences(model: limelight.Model, file: Path) -> Iterator[Sentence]:
    """The sentences of one set in which a token tells the two words apart and the deciding word is named."""
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            prefix, good, bad = row["one_prefix_prefix"], row["one_prefix_word_good"], row["one_prefix_word_bad"]
            reading = read(f"{prefix} {good}", model.tokenizer, parking(model.tokenizer))
            begin = len(prefix) + 1
            ids = model.tokenizer.encode(f" {good}").ids
            first = next(word.tokens.start for word in reading.words if word.end > begin)
            try:
                foil = one_rival(first, ids, model.tokenizer.encode(f" {bad}").ids, bad)
            except RequestError:
                continue
            target = next(i for i, word in enumerate(reading.words) if word.tokens.stop > foil.at[0] + 1)
            deciding = frozenset(i for i, word in enumerate(reading.words[:target]) if word.text == row["target"])
            if not deciding:
                continue
            with torch.inference_mode():
                hidden = model.network.read(torch.tensor([reading.tokens[: foil.at[0] + 1]]))[0, -1:]
                logits = model.network.logits(hidden)
            right = bool(logits[0, foil.tokens[0]] > logits[0, foil.rivals[0][0]])
            questions = {"foil": foil, "none": likeliest_rivals(logits, foil.at[0] + 1, foil.tokens)}
            yield Sentence(reading, target, questions, deciding, right)


def _score(name: str, method: str, contrast: str, ranker: Ranker, sentences: Sequence[Sentence]) -> Score:
    ranks, begin = [], time.process_time()
    for sentence in sentences:
        values = ranker(sentence.reading, sentence.target, sentence.questions[contrast])
        order = sorted(range(len(values)), key=lambda i: -values[i])
        ranks.append(1 / (1 + min(order.index(i) for i in sentence.deciding)))
    seconds = (time.process_time() - begin) / len(sentences)
    right = [rank for rank, sentence in zip(ranks, sentences, strict=True) if sentence.right]
    mrr_right = fmean(right) if right else None
    return Score(name, method, contrast, len(ranks), len(right), fmean(ranks), mrr_right, seconds)


def _averages(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """method → contrast → the mean over the sets, for the sentences that the model gets right."""
    found: dict[str, dict[str, float]] = {}
    for method, contrast in dict.fromkeys((score.method, score.contrast) for score in scores):
        own = [score for score in scores if (score.method, score.contrast) == (method, contrast)]
        ranks = [score.mrr_right for score in own if score.mrr_right is not None]
        found.setdefault(method, {})[contrast] = fmean(ranks) if ranks else 0.0
    return found


def _ours(network: Decoder, method: str) -> Ranker:
    run = METHODS[method].run
    return lambda reading, target, question: run(network, reading, target, question, None)


def _captum(network: Decoder) -> dict[str, Ranker]:
    """captum's methods as its documentation shows them for language models: the logarithm of the word's probability is
    explained, or where there is a foil the difference of the two logits; the baseline is the separator."""
    from captum.attr import FeatureAblation, LayerIntegratedGradients

    def explained(question: Question, contrast: bool) -> Callable[[torch.Tensor], torch.Tensor]:
        def forward(tokens: torch.Tensor) -> torch.Tensor:
            logits = network.logits(network.read(tokens)[:, -1])
            (token,), rivals = question.tokens, question.rivals[0]
            return logits[:, token] - (logits[:, rivals[0]] if contrast else logits.logsumexp(-1))

        return forward

    def ranker(attribute: Callable[[Callable[..., Any], torch.Tensor], torch.Tensor]) -> Ranker:
        def rank(reading: Reading, target: int, question: Question) -> list[float]:
            tokens = torch.tensor([reading.tokens[: question.at[0] + 1]])
            values = attribute(explained(question, len(question.rivals[0]) == 1), tokens)
            words = reading.words[:target]
            return [float(values[word.tokens.start : word.tokens.stop].sum()) for word in words]

        return rank

    def ablation(forward: Callable[..., Any], tokens: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            found: torch.Tensor = FeatureAblation(forward).attribute(tokens, baselines=int(tokens[0, 0]))
        return found[0].float()

    def integrated(forward: Callable[..., Any], tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = LayerIntegratedGradients(forward, network.embed).attribute(
            tokens, baselines=tokens[:, :1].expand_as(tokens)
        )
        return found[0].sum(-1)

    return {"captum feature ablation": ranker(ablation), "captum integrated gradients": ranker(integrated)}


def table(result: dict[str, Any]) -> str:
    """A result as lines that a person can read: reciprocal ranks over the sentences that the model gets right."""
    rows = result["rows"]
    lines = [f"{'':28}{'contrast':>9}" + "".join(f"{name:>17}" for name in SETS) + f"{'average':>9}{'s':>8}"]
    for method, by_contrast in result["average"].items():
        for contrast, average in by_contrast.items():
            own = [row for row in rows if (row["method"], row["contrast"]) == (method, contrast)]
            figures = "".join(f"{'-' if (rank := row['mrr_right']) is None else f'{rank:.2f}':>17}" for row in own)
            seconds = fmean(row["seconds"] for row in own)
            lines.append(f"{method:28}{contrast:>9}{figures}{average:>9.3f}{seconds:>8.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--limit", type=int, default=1000, help="sentences of each set")
    parser.add_argument("--model", help="another file than the default model's")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS), help="ours to measure")
    parser.add_argument("--no-peers", action="store_true", help="leave out captum")
    options = parser.parse_args()
    result = measure(options.limit, options.model or default_file(), options.methods, not options.no_peers)
    print(json.dumps(result, indent=2, ensure_ascii=False) if options.json else table(result))


if __name__ == "__main__":
    main()

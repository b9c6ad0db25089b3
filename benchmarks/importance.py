"""Do the methods find the word that decides, and what do they cost? ``python -m benchmarks.importance [--limit N]``.

Each sentence stops before a word, and comes with that word, a wrong one, and the word before it that decides between
the two. What is told is the mean reciprocal rank of the deciding word among all words before, for our methods and for
captum's on the same weights, with the wrong word as the foil and without.

The cost is that of one reading from which both the importance of all words, by the default method, and one layer's
attention are taken, beside a plain forward that ends in the last position's logits; each in processes of its own.
With ``--translator FOLDER`` (and ``--swap`` for one from English) word alignment is measured too.
"""

import argparse
import csv
import ctypes
import gc
import gzip
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from limelight.look.blend import blended

import limelight
from benchmarks import report
from benchmarks.engines import default_file
from benchmarks.report import Row, beside, machine
from limelight.errors import RequestError
from limelight.look.decompose import Trace
from limelight.look.importance import METHODS, by_default
from limelight.look.inquiry import Inquiry
from limelight.look.question import GivenWord
from limelight.look.record import twin
from limelight.look.session import session
from limelight.look.text import Reading, read, sink_tokens
from limelight.models.api import Decoder
from limelight.quant.linear import exactly
from limelight.tasks.align import Asking, Gold, align, error_rate, listening, read_gold
from limelight.tasks.look import SeenTranslation

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
DATA = SHARED / "importance_targets"
ALIGNED = SHARED / "align_de_en_small"

SETS = {
    "indirect object": "ioi_dataset",
    "anaphor gender": "anaphor_gender_agreement",
    "determiner–noun": "determiner_noun_agreement_1",
    "npi present": "npi_present_1",
    "plural verb": "regular_plural_subject_verb_agreement_1",
}

CHOSEN_ON = 60
"""Sentences at the beginning of each set by which the default method was chosen; they are left out."""

DEFAULT = "default"
"""What is taken if no method is named: the one that fits the question."""

METHODS_MEASURED = [DEFAULT, *(name for name in METHODS if name not in ("leave-one-replaced", "integrated-gradients"))]
"""Ours that are quick enough to be measured unless others are named."""

SLOW = ("captum integrated gradients",)
"""Measured on a quarter of the sentences."""

LENGTHS = (512, 2048)
"""Tokens of the texts by which the cost is measured."""

RUNS = 3
"""Processes for each figure of the cost, and readings in each of them; the least counts."""

CONTRASTS = {"none": "no foil", "foil": "foil"}

Ranker = Callable[[Reading, int, GivenWord], Sequence[float]]
"""``ranker(reading, target, question)`` → a value for each word before word number `target`."""


@dataclass(frozen=True)
class Sentence:
    """A text up to word number `target`, the question with the foil and without, and the places of the deciding word.
    right: whether the model finds the right word likelier than the wrong one."""

    reading: Reading
    target: int
    questions: dict[str, GivenWord]
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


def measure(
    limit: int,
    path: str | None = None,
    methods: Sequence[str] = METHODS_MEASURED,
    peers: bool = True,
    translator: str | None = None,
    swap: bool = False,
) -> dict[str, Any]:
    """All methods on `limit` sentences of each set, and what looking costs.

    rows: the default method beside the best of captum's, where the model is right. scores: every method on every set.
    """
    path = path or default_file()
    model = limelight.open(path, dtype="float32")
    assert isinstance(model, limelight.Model)
    rankers: dict[str, Ranker] = {name: _ours(model.network, name) for name in methods}
    missing = {}
    if peers:
        try:
            rankers |= _captum(model.network)
        except ImportError:
            missing["captum"] = "pip install captum"
    scores = []
    for name, file in SETS.items():
        sentences = list(islice(_sentences(model, DATA / f"{file}.csv.gz"), limit))
        for method, ranker in rankers.items():
            few = sentences[: -(-limit // 4)] if method in SLOW else sentences
            ranker(few[0].reading, few[0].target, few[0].questions["none"])  # the first does not count
            contrasts = ["none"] if method in METHODS and METHODS[method].kind == "attention" else list(CONTRASTS)
            scores += [_score(name, method, contrast, ranker, few) for contrast in contrasts]
    del model, rankers
    rows = [*_rank_rows(scores, missing), *_cost_rows(path)]
    result = {
        "rows": [asdict(row) for row in rows],
        "scores": [asdict(score) for score in scores],
        "average": _averages(scores),
        "missing": missing,
        "machine": machine(),
    }
    return result if translator is None else result | {"alignment": alignment(translator, limit, swap)}


def _sentences(model: limelight.Model, file: Path) -> Iterator[Sentence]:
    """The sentences of one set in which a token tells the two words apart and the deciding word is named."""
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        for row in islice(csv.DictReader(lines), CHOSEN_ON, None):
            prefix, good, bad = row["one_prefix_prefix"], row["one_prefix_word_good"], row["one_prefix_word_bad"]
            reading = read(f"{prefix} {good}", model.tokenizer, sink_tokens(model.tokenizer))
            begin = len(prefix) + 1
            ids = model.tokenizer.encode(f" {good}").ids
            first = next(word.tokens.start for word in reading.words if word.end > begin)
            try:
                at = range(first - 1, first - 1 + len(ids))
                foil = GivenWord.foil(at, ids, model.tokenizer.encode(f" {bad}").ids, bad)
            except RequestError:
                continue
            target = next(i for i, word in enumerate(reading.words) if word.tokens.stop > foil.at[0] + 1)
            deciding = frozenset(i for i, word in enumerate(reading.words[:target]) if word.text == row["target"])
            if not deciding:
                continue
            with torch.inference_mode():
                hidden = model.network.read(torch.tensor([reading.tokens[: foil.at[0] + 1]]))[0, -1:]
                logits = model.network.logits(hidden)
            right = bool(logits[0, foil.answer[0]] > logits[0, foil.alternatives[0][0]])
            questions = {"foil": foil, "none": GivenWord.likeliest(foil.at, foil.answer, logits)}
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


def _rank_rows(scores: Sequence[Score], missing: dict[str, str]) -> Iterator[Row]:
    """The default method beside the best of the peers: on each set and on average, and its seconds a sentence."""
    ours = {(score.set, score.contrast): score for score in scores if score.method == DEFAULT}
    others = [score for score in scores if score.method.startswith("captum")]
    for contrast, told in CONTRASTS.items():
        averages = {name: found[contrast] for name, found in _averages(scores).items() if contrast in found}
        if DEFAULT in averages:
            peers = {name: value for name, value in averages.items() if name.startswith("captum")}
            yield beside(f"finds the word, {told}", "MRR", averages[DEFAULT], peers, missing)
        for name in SETS:
            if (name, contrast) not in ours:
                continue
            own = ours[name, contrast]
            here = [score for score in others if (score.set, score.contrast) == (name, contrast)]
            peers = {score.method: score.mrr_right for score in here if score.mrr_right is not None}
            yield beside(f"finds the word, {told}, {name}", "MRR", own.mrr_right or 0.0, peers, missing)
    seconds: dict[str, list[float]] = {}
    for score in scores:
        seconds.setdefault(score.method, []).append(score.seconds)
    if DEFAULT in seconds:
        for peer in [name for name in seconds if name.startswith("captum")]:
            yield beside(f"a sentence, {peer}", "s", fmean(seconds[DEFAULT]), {peer: fmean(seconds[peer])}, missing)


# ---- what looking costs


def _cost_rows(path: str) -> Iterator[Row]:
    for length in LENGTHS:
        found: dict[str, list[dict[str, float]]] = {"look": [], "plain": []}
        for _ in range(RUNS):
            for name, costs in found.items():
                command = [sys.executable, "-m", "benchmarks.importance", "--cost", name, str(length), "--model", path]
                costs.append(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))
        for unit in ("s", "MB"):
            ours, peer = (min(cost[unit] for cost in costs) for costs in found.values())
            yield Row(f"looking at {length:,} tokens", ours, peer, "a plain forward", peer / ours, unit)


def cost(path: str, kind: str, length: int) -> dict[str, float]:
    """Seconds of one reading of a text of `length` tokens, and the process's peak memory in MB.

    kind: "plain", up to the last position's logits; "look", with importance by the default method and the attention of
    the layer in the middle. Both on the model's exact twin.
    """
    model = limelight.open(path)
    assert isinstance(model, limelight.Model)
    network = exactly(twin(model.network))
    one = "The ship that the harbour master had been expecting since the morning came in late, for the wind was weak. "
    whole = read(one * (1 + length // 20), model.tokenizer, sink_tokens(model.tokenizer))
    target = next(i for i, word in enumerate(whole.words) if word.tokens.stop > length)
    first = whole.words[target].tokens.start
    reading = replace(whole, tokens=whole.tokens[:first])

    def plain() -> None:
        with torch.inference_mode():
            network.logits(network.read(torch.tensor([reading.tokens]))[:, -1])

    def look() -> None:
        trace = Trace(network, reading.tokens, attention=len(network.decoder.blocks) // 2)
        with torch.inference_mode():
            logits = network.logits(trace.hidden)
        question = GivenWord.likeliest([first - 1], whole.tokens[first : first + 1], logits)
        values = blended(trace, _inquiry(network, reading, target, question))
        assert len(values) == target
        assert trace.heads is not None

    run = {"plain": plain, "look": look}[kind]
    _settle()
    seconds = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return {"s": min(seconds), "MB": _peak()}


def _settle() -> None:
    """Gives back what opening left, and counts the peak from here; where Linux's files are missing, from the start."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except (OSError, AttributeError):
        pass


def _peak() -> float:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


# ---- word alignment


def alignment(folder: str, limit: int, swap: bool) -> dict[str, float]:
    """Alignment error rate by method, from 0 (right) to 1, on `limit` sentences of German and English.

    swap: for a model that translates from English. The attention is that of the layer that listens most to the words
    that mattered.
    """
    translator = limelight.open(folder)
    assert isinstance(translator, limelight.Translator)
    gold = read_gold(ALIGNED / "de-en.ref.wa", ALIGNED / "test.de", ALIGNED / "test.en")[:limit]
    if swap:
        gold = [replace(each, source=each.target, target=each.source, **_turned(each)) for each in gold]
    steps: dict[str, Asking] = {"attention, the word as input": "input", "attention, the word as output": "output"}
    found: dict[str, list[set[tuple[int, int]]]] = {}
    for each in gold:
        seen = translator.look(" ".join(each.source), " ".join(each.target))
        grid = seen.importances()
        for name, step in steps.items():
            layers = align(translator.network, translator.language, each.source, each.target, step)
            found.setdefault(name, []).append(layers[listening(seen.alignments(step), grid)[0]])
        found.setdefault("importance", []).append(_by_importance(seen, grid, each))
    return {name: error_rate(links, gold) for name, links in found.items()}


def _turned(gold: Gold) -> dict[str, frozenset[tuple[int, int]]]:
    return {name: frozenset((j, i) for i, j in getattr(gold, name)) for name in ("sure", "possible")}


def _by_importance(seen: SeenTranslation, grid: torch.Tensor, gold: Gold) -> set[tuple[int, int]]:
    """Each word of the translation with the source word that mattered most for it."""
    sides = [[place for place, word in enumerate(side) for _ in (*word, " ")] for side in (gold.source, gold.target)]
    best = [seen.source_words[place] for place in grid.argmax(-1).tolist()]
    return {(sides[0][heard.start], sides[1][word.start]) for heard, word in zip(best, seen.target_words, strict=True)}


# ---- ours and theirs


def _ours(network: Decoder, method: str) -> Ranker:
    def rank(reading: Reading, target: int, question: GivenWord) -> list[float]:
        inquiry = _inquiry(network, reading, target, question)
        return by_default(inquiry)[1] if method == DEFAULT else METHODS[method].values(inquiry)

    return rank


def _inquiry(network: Decoder, reading: Reading, target: int, question: GivenWord) -> Inquiry:
    """The question about word number `target`, with the words before it."""
    spans = tuple(word.tokens for word in reading.words[:target])
    return Inquiry(session(network, reading.tokens, reading.spell), question, spans)


def _captum(network: Decoder) -> dict[str, Ranker]:
    """captum's methods as its documentation shows them for language models: the logarithm of the word's probability is
    explained, or where there is a foil the difference of the two logits; the baseline is the separator."""
    from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, Saliency

    def odds(question: GivenWord, hidden: torch.Tensor) -> torch.Tensor:
        logits = network.logits(hidden[:, -1])
        (token,), others = question.answer, question.alternatives[0]
        return logits[:, token] - (logits[:, others[0]] if len(others) == 1 else logits.logsumexp(-1))

    def by_word(reading: Reading, target: int, values: torch.Tensor) -> list[float]:
        return [float(values[word.tokens.start : word.tokens.stop].sum()) for word in reading.words[:target]]

    def ablation(reading: Reading, target: int, question: GivenWord) -> list[float]:
        tokens = torch.tensor([reading.tokens[: question.at[0] + 1]])
        with torch.inference_mode():
            found = FeatureAblation(lambda tokens: odds(question, network.read(tokens))).attribute(
                tokens, baselines=int(tokens[0, 0])
            )
        return by_word(reading, target, found[0].float())

    def gradients(kind: Callable[..., Any], reduce: Callable[[torch.Tensor], torch.Tensor], baseline: bool) -> Ranker:
        def rank(reading: Reading, target: int, question: GivenWord) -> list[float]:
            with torch.no_grad():
                embedded = network.embed(torch.tensor([reading.tokens[: question.at[0] + 1]]))

            def forward(points: torch.Tensor) -> torch.Tensor:
                return odds(question, network.decoder.decode(points, network.start(len(points), 0), None, None))

            more = {"baselines": embedded[:, :1].expand_as(embedded)} if baseline else {}
            found = kind(forward).attribute(embedded.requires_grad_(), **more)
            return by_word(reading, target, reduce(found[0].detach()))

        return rank

    def length(values: torch.Tensor) -> torch.Tensor:
        norms: torch.Tensor = values.norm(dim=-1)
        return norms

    def summed(values: torch.Tensor) -> torch.Tensor:
        return values.sum(-1)

    return {
        "captum feature ablation": ablation,
        "captum saliency": gradients(Saliency, length, baseline=False),
        "captum input × gradient": gradients(InputXGradient, summed, baseline=False),
        "captum integrated gradients": gradients(IntegratedGradients, summed, baseline=True),
    }


def ranks(result: dict[str, Any]) -> str:
    """The reciprocal ranks as lines that a person can read, over the sentences that the model gets right."""
    lines = [f"{'':28}{'contrast':>9}" + "".join(f"{name:>17}" for name in SETS) + f"{'average':>9}{'s':>8}"]
    for method, by_contrast in result["average"].items():
        for contrast, average in by_contrast.items():
            own = [score for score in result["scores"] if (score["method"], score["contrast"]) == (method, contrast)]
            figures = "".join(f"{'-' if (rank := each['mrr_right']) is None else f'{rank:.2f}':>17}" for each in own)
            seconds = fmean(each["seconds"] for each in own)
            lines.append(f"{method:28}{contrast:>9}{figures}{average:>9.3f}{seconds:>8.2f}")
    lines += [f"alignment error rate, {name}: {rate:.3f}" for name, rate in result.get("alignment", {}).items()]
    return "\n".join(lines)


def table(result: dict[str, Any]) -> str:
    """A result as lines that a person can read."""
    return f"{ranks(result)}\n\n{report.table(result)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--limit", type=int, default=60, help="sentences of each set")
    parser.add_argument("--model", help="another file than the default model's")
    parser.add_argument("--methods", nargs="*", choices=[DEFAULT, *METHODS], default=METHODS_MEASURED, help="ours")
    parser.add_argument("--no-peers", action="store_true", help="leave out captum")
    parser.add_argument("--translator", metavar="FOLDER", help="a model that translates, to measure its alignment")
    parser.add_argument("--swap", action="store_true", help="that model translates from English")
    parser.add_argument("--cost", nargs=2, metavar=("KIND", "TOKENS"), help="one reading alone: plain or look")
    options = parser.parse_args()
    path = options.model or default_file()
    if options.cost:
        print(json.dumps(cost(path, options.cost[0], int(options.cost[1]))))
        return
    result = measure(options.limit, path, options.methods, not options.no_peers, options.translator, options.swap)
    print(json.dumps(result, indent=2, ensure_ascii=False) if options.json else table(result))


if __name__ == "__main__":
    main()

"""Word alignment: which source word a target word translates, as attention tells it, and how often that is right."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from limelight import given
from limelight.errors import FileError, RequestError
from limelight.look.record import record
from limelight.models.api import Decoder, LanguageModel
from limelight.nn.recurrent import RecurrentDecoder
from limelight.tasks.translate import Language
from limelight.train.data import existing, kind, lines

Link = tuple[int, int]
"""A source word and a target word, both counted from 0."""

Span = tuple[int, int]
"""A word's characters [start, end) in its text."""

Asking = Literal["input", "output"]
"""Where a target word's attention is read: at the step whose input it is, or at the one before, which predicts it."""


@dataclass(frozen=True)
class Gold:
    """A sentence pair, its words as people counted them, with the links that are sure and those that are possible.

    Every sure link is possible too.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    sure: frozenset[Link]
    possible: frozenset[Link]


def error_rate(found: Iterable[Iterable[Link]], gold: Iterable[Gold]) -> float:
    """Alignment error rate over all sentences, from 0 (right) to 1 (Och and Ney, 2003, section 5.1).

    1 - (|A ∩ S| + |A ∩ P|) / (|A| + |S|) for links A that were found, S sure and P possible. Raises RequestError if
    there are not as many sentences on both sides, or no links at all.
    """
    right = counted = 0
    try:
        for links, sentence in zip(found, gold, strict=True):
            ours = set(links)
            right += len(ours & sentence.sure) + len(ours & sentence.possible)
            counted += len(ours) + len(sentence.sure)
    except ValueError:
        raise RequestError("there are not as many alignments as there are sentences with known links") from None
    if not counted:
        raise RequestError("there is no link, neither found nor known, to count errors of")
    return 1 - right / counted


def attention(network: LanguageModel, language: Language, source: str, target: str) -> Tensor:
    """How much the decoder listens to each source token at each step: [L, T, S] on the CPU, the mean over heads.

    L: the layers that attend to the source; one in a recurrent model. T: the steps at which the last mark of the start
    and then the tokens of `target` are the input. S: the tokens of `source` and the first mark of its end. Raises
    RequestError for a model that does not attend to a source and for an empty text.
    """
    if isinstance(network, Decoder) or not network.crosses:
        raise RequestError("this model has no attention to a source, and so no alignment by it")
    ours, theirs = language.read(source), language.target.encode(target).ids
    if not ours or not theirs:
        raise RequestError("an empty text has no words to align; give at least one word on each side")
    layers = range(len(network.crosses))
    recording = record(network, cross=layers, keep=lambda weights: weights[0].mean(0).cpu())  # [T, S]
    with torch.inference_mode():
        device = network.device
        memory = recording.network.encode(torch.tensor([language.heard(ours)], device=device))
        recording.network.read(
            torch.tensor([[*language.begins, *theirs]], device=device), recording.network.start(memory, 0)
        )
    ahead, first = len(language.front), len(language.begins) - 1
    whole = torch.stack([torch.cat(recording.cross[layer]) for layer in layers])
    return whole[:, first:, ahead : ahead + len(ours) + 1]


def steps(network: LanguageModel) -> tuple[Asking, ...]:
    """The steps at which a model can be looking for a word, the one that fits best first.

    "input" in a Transformer, many of whose layers look for what was just written more clearly than for what is about to
    be written (Chen et al., 2020); "output" alone in a recurrent model, whose one attention is all that the next word
    is chosen by.
    """
    return ("output",) if isinstance(network.decoder, RecurrentDecoder) else ("input", "output")


def by_word(
    network: LanguageModel,
    language: Language,
    source: str,
    target: str,
    source_words: Sequence[Span],
    target_words: Sequence[Span],
    step: Asking | None = None,
) -> Tensor:
    """How much each target word listens to each source word: [L, target words, source words].

    A word's row is the mean of its tokens' rows, and what goes to a word is the sum of what goes to its tokens.

    step: None takes the first of `steps`. Raises RequestError for one that there is not.
    """
    step = steps(network)[0] if step is None else step
    given.one_of("step", step, get_args(Asking))
    weights = attention(network, language, source, target)
    rows = weights[:, 1:] if step == "input" else weights[:, :-1]  # [L, T, S], a row for each target token
    stripped = source.strip()
    shift = source.index(stripped)
    heard = _members(source_words, language.source.encode(stripped).offsets, shift)  # [source words, S - 1]
    asking = _members(target_words, language.target.encode(target).offsets)  # [target words, T]
    asking = asking / asking.sum(-1, keepdim=True).clamp(min=1)
    return asking @ rows[:, :, :-1] @ heard.T


def listening(weights: Tensor, importance: Tensor) -> tuple[int, float]:
    """The layer whose words listen most to what mattered for them, and how much: the mean cosine between the two.

    weights: [L, target words, source words], see `by_word`. importance: [target words, source words]; words that spoke
    against a word count as ones that did not matter.
    """
    best = F.cosine_similarity(weights, importance.clamp(min=0)[None], dim=-1).mean(-1).max(0)
    return int(best.indices), float(best.values)


def align(
    network: LanguageModel,
    language: Language,
    source: Sequence[str],
    target: Sequence[str],
    step: Asking | None = None,
) -> list[set[Link]]:
    """The alignment of two texts given as words, one for each layer: every target word with the source word that it
    listens to most. See `by_word`."""
    texts = " ".join(source), " ".join(target)
    weights = by_word(network, language, *texts, _spans(source), _spans(target), step)
    return [{(best, word) for word, best in enumerate(layer.argmax(-1).tolist())} for layer in weights]


def read_gold(links: str | Path, source: str | Path | None = None, target: str | Path | None = None) -> list[Gold]:
    """Sentences whose alignment is known.

    links: JSON lines with ``src_words``, ``tgt_words`` and ``alignment`` (pairs, all of them sure), or a text file
    beside the sentences themselves (`source`, `target`: words between spaces). The text has either a line for each
    link, "sentence i j S" or "... P" for a possible one, sentences counted from 1 and words from 0; or a line for each
    sentence, "i-j" for a sure and "ipj" for a possible link. Also packed by gzip or xz. Raises FileError for what
    is no link, and where more than one link in a hundred is to a word that isn't there; RequestError if the sentences
    are missing.
    """
    path = existing(links)
    if kind(path) == ".jsonl":
        return _fitting(path, [_from_json(path, number, line) for number, line in enumerate(lines(path), 1)])
    if source is None or target is None:
        raise RequestError(f"{path} holds links alone; name the two files of the sentences too")
    texts = [[tuple(line.split()) for line in lines(existing(side))] for side in (source, target)]
    if len(texts[0]) != len(texts[1]):
        raise FileError(
            f"{source} has {len(texts[0]):,} lines and {target} has {len(texts[1]):,}; they must be aligned"
        )
    sure: list[set[Link]] = [set() for _ in texts[0]]
    possible: list[set[Link]] = [set() for _ in texts[0]]
    for number, sentence, link, is_sure in _links(path):
        if not 1 <= sentence <= len(sure):
            raise FileError(f"{path}, line {number}: there is no sentence {sentence}; there are {len(sure):,}")
        possible[sentence - 1].add(link)
        if is_sure:
            sure[sentence - 1].add(link)
    gold = [Gold(*each) for each in zip(*texts, map(frozenset, sure), map(frozenset, possible), strict=True)]
    return _fitting(path, gold)


_LINK = re.compile(r"(\d{1,6})([-p])(\d{1,6})")


def _links(path: Path) -> Iterator[tuple[int, int, Link, bool]]:
    """Line, sentence (from 1), link, and whether it is sure."""
    for number, line in enumerate(lines(path), 1):
        cells = line.split()
        if len(cells) in {3, 4} and all(cell.isdecimal() for cell in cells[:3]) and cells[3:] in ([], ["S"], ["P"]):
            sentence, i, j = map(int, cells[:3])
            yield number, sentence, (i, j), cells[3:] != ["P"]
            continue
        for cell in cells:
            match = _LINK.fullmatch(cell)
            if match is None:
                raise FileError(f'{path}, line {number}: {cell!r} is no link; links are "sentence i j S|P" or "i-j"')
            yield number, number, (int(match[1]), int(match[3])), match[2] == "-"


def _from_json(path: Path, number: int, line: str) -> Gold:
    try:
        values: Any = json.loads(line)
        source, target = tuple(map(str, values["src_words"])), tuple(map(str, values["tgt_words"]))
        pairs = frozenset((int(i), int(j)) for i, j in values["alignment"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FileError(
            f"{path}, line {number}: not an aligned pair; a line has src_words, tgt_words and alignment"
        ) from None
    if any(min(link) < 0 for link in pairs):
        raise FileError(f"{path}, line {number}: a link is to a word below 0; words are counted from 0")
    return Gold(source, target, pairs, pairs)


def _fitting(path: Path, gold: list[Gold]) -> list[Gold]:
    """The same sentences, if the links are theirs.

    Published links have a slip here and there, a word that isn't there; such a link stays, as one that is never found.
    """
    links = [(number, each, link) for number, each in enumerate(gold, 1) for link in sorted(each.possible)]
    outside = [(number, i, j) for number, each, (i, j) in links if i >= len(each.source) or j >= len(each.target)]
    if len(outside) * 100 > len(links):
        number, i, j = outside[0]
        raise FileError(
            f"{path}: {len(outside):,} of its {len(links):,} links are to words that the sentences don't have, the"
            f" first in sentence {number}: {i}-{j}; words are counted from 0"
        )
    return gold


def _spans(words: Sequence[str]) -> list[Span]:
    """Where words stand in their text with single spaces between them."""
    spans, at = [], 0
    for word in words:
        spans.append((at, at + len(word)))
        at += len(word) + 1
    return spans


def _members(words: Sequence[Span], tokens: Sequence[Span], shift: int = 0) -> Tensor:
    """Which tokens share a character with which words, 1 or 0: [words, tokens]. shift: of the tokens' places."""
    starts, ends = (torch.tensor(side) + shift for side in zip(*tokens, strict=True))  # [tokens]
    return torch.stack([(starts < end) & (ends > start) for start, end in words]).float()

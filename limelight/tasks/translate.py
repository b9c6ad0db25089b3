"""Translation: lines in, lines out, in their order, by beam search over batches of similar length."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from limelight import given
from limelight.decode.beam import Hypothesis, beam_search
from limelight.errors import RequestError
from limelight.models.api import LanguageModel, Seq2Seq, begin
from limelight.models.config import TRANSLATION, ModelConfig
from limelight.nn.state import State
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import Marks

WIDEST = 1000  # hypotheses of a beam
LIMIT = (2.0, 20)  # a translation has at most 2 · source + 20 tokens


def marked(config: ModelConfig, *, translates: bool) -> ModelConfig:
    """The config of a language model that learns to translate, or that no longer does, under transformers' own key."""
    tasks = config.extra.get("task_specific_params")
    tasks = {name: each for name, each in tasks.items() if name != TRANSLATION} if isinstance(tasks, Mapping) else {}
    extra = {name: value for name, value in config.extra.items() if name != "task_specific_params"}
    tasks |= {TRANSLATION: {}} if translates else {}
    return replace(config, extra=extra | ({"task_specific_params": tasks} if tasks else {}))


@dataclass(frozen=True)
class Translation:
    """One line and what it became.

    source: the line. texts: its translations, best first; none for an empty line. hypotheses: the tokens and scores
    of each. left_out: how many tokens at the end of the line were not translated, because the model sees no more than
    its context; whoever shows the text should say so.
    """

    source: str
    texts: tuple[str, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()
    left_out: int = 0

    @property
    def text(self) -> str:
        """The best translation; empty for an empty line."""
        return self.texts[0] if self.texts else ""


@final
class Language:
    """Text to the ids that a translation model reads, and its ids to text, as it was trained.

    source, target: the tokenizers of both sides; they may be one. start: what a target begins with (None: the
    tokenizer's own mark). forced: the first token of every target, where the model wants one.
    """

    def __init__(
        self, source: Tokenizer, target: Tokenizer, start: int | None = None, forced: int | None = None
    ) -> None:
        self.source = source
        self.target = target
        marks = Marks.of(target)
        self.marks = marks if start is None else replace(marks, start=start)
        self.begins = (self.marks.start,) if forced is None else (self.marks.start, forced)
        self.stop = target.eos

    def read(self, line: str) -> list[int]:
        """A source line's ids, without marks; none for an empty line."""
        return self.source.encode(line.strip()).ids

    def write(self, ids: Sequence[int]) -> str:
        """The text of target ids, on one line."""
        return " ".join(self.target.decode(ids).split())

    def opening(self, network: LanguageModel, source: Sequence[int]) -> tuple[list[int], list[int]]:
        """What the encoder reads of a source, given as ids without marks, and what the decoder reads before it writes.

        A language model has no encoder: its decoder reads all of it.
        """
        if isinstance(network, Seq2Seq):
            return [*source, self.marks.end], list(self.begins)
        return [], [*source, self.marks.start]

    def forbidden(self, vocab: int) -> set[int]:
        """Ids that are no part of a text: special tokens, and what a model has beyond its tokenizer."""
        return {*self.target.controls, *range(self.target.vocab, vocab)} - self.stop


def translate(
    network: LanguageModel,
    language: Language,
    lines: Iterable[str],
    *,
    beam: int = 5,
    alpha: float = 1.0,
    best: int = 1,
    batch_tokens: int = 1024,
    window: int = 2048,
) -> Iterator[Translation]:
    """Translates line by line, in order; an empty line stays empty.

    network: an encoder–decoder, or a language model trained on source and target as one text. beam, alpha, best: see
    `beam_search`. batch_tokens: source tokens that are translated together, padding counted. window: so many lines are
    read ahead and sorted by length, which is faster; no more than these are ever held. A line longer than the model's
    context is translated as far as it goes (`Translation.left_out`). Raises RequestError, at once, for a number out of
    range, and while it is read for a line that is not text.
    """
    given.whole("beam", beam, 1, WIDEST)
    given.whole("best", best, 1, beam)
    if not -10 <= given.number("alpha", alpha) <= 10:
        raise RequestError(f"alpha, the length penalty, is {alpha}; it must be from −10 to 10 (0 is none)")
    given.whole("batch_tokens", batch_tokens, 1)
    given.whole("window", window, 1, sys.maxsize)
    numbered = given.many("lines", lines, "strings")
    texts = (given.text(f"line {number}", line) for number, line in numbered)
    return _translated(network, language, texts, beam, alpha, best, batch_tokens, window)


def _translated(
    network: LanguageModel,
    language: Language,
    lines: Iterator[str],
    beam: int,
    alpha: float,
    best: int,
    batch_tokens: int,
    window: int,
) -> Iterator[Translation]:
    most = network.context - 1 if isinstance(network, Seq2Seq) else network.context // 2
    while read := list(islice(lines, window)):
        sources = [language.read(line) for line in read]
        found: dict[int, list[Hypothesis]] = {}
        for rows in _batches([min(len(ids), most) for ids in sources], batch_tokens):
            cut = [sources[row][:most] for row in rows]
            found.update(zip(rows, search(network, language, cut, beam, alpha, best), strict=True))
        for row, line in enumerate(read):
            hypotheses = tuple(found.get(row, ()))
            texts = tuple(language.write(each.tokens) for each in hypotheses)
            yield Translation(line, texts, hypotheses, max(0, len(sources[row]) - most))


def search(
    network: LanguageModel, language: Language, sources: Sequence[Sequence[int]], beam: int, alpha: float, best: int
) -> list[list[Hypothesis]]:
    """The `best` translations of every source, given as ids without marks, all in one batch; see `beam_search`."""
    factor, more = LIMIT
    wanted = [int(factor * len(source)) + more for source in sources]
    with torch.inference_mode():
        state, tokens, counts, limits = _started(network, language, sources, wanted)
        return beam_search(
            network,
            state,
            tokens,
            counts=counts,
            limits=limits,
            stop=language.stop,
            beam=beam,
            alpha=alpha,
            best=best,
            forbidden=language.forbidden(network.vocab),
        )


def _started(
    network: LanguageModel, language: Language, sources: Sequence[Sequence[int]], wanted: Sequence[int]
) -> tuple[State, Tensor, Tensor, list[int]]:
    """A state for the translations, what is read first [B, T] and how much of it is real, and their limits."""
    heard, begins = zip(*(language.opening(network, source) for source in sources), strict=True)
    counts = torch.tensor([len(ids) for ids in begins])
    tokens = pad_sequence([torch.tensor(ids) for ids in begins], batch_first=True).to(network.device)
    limits = [min(limit, network.context - len(ids) + 1) for limit, ids in zip(wanted, begins, strict=True)]
    state = begin(network, len(sources), tokens.shape[1] + max(limits) - 1, heard)
    return state, tokens, counts, limits


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """The places of all lengths above 0, longest first, in batches of at most `budget` tokens, padding counted."""
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if lengths[row] == 0:
            break
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch

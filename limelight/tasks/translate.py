"""Translation: lines in, lines out, in their order, by beam search over batches of similar length."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from typing import final

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from limelight import given
from limelight.decode.beam import Hypothesis, beam_search
from limelight.decode.processors import Allowed
from limelight.decode.request import Rules
from limelight.errors import RequestError
from limelight.models.api import LanguageModel, Seq2Seq, begin
from limelight.models.config import TRANSLATION, ModelConfig
from limelight.nn.state import State
from limelight.tasks.generation import Generation
from limelight.tasks.languages import code, codes_of
from limelight.text.shortlist import Shortlist
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
    tokenizer's own mark). forced: the first token of every target, where the model wants one. framed: whether a source
    stands between the tokens that its tokenizer puts around a text, or in front of the mark of the end alone, as in
    training. generation: what else the model's files say of its targets. shortlist: what a target may be made of.
    """

    def __init__(
        self,
        source: Tokenizer,
        target: Tokenizer,
        start: int | None = None,
        forced: int | None = None,
        *,
        framed: bool = False,
        generation: Generation = Generation(),  # noqa: B008 (frozen)
        shortlist: Shortlist | None = None,
    ) -> None:
        self.source = source
        self.target = target
        marks = Marks.of(target)
        self.marks = marks if start is None else replace(marks, start=start)
        self.begins = (self.marks.start,) if forced is None else (self.marks.start, forced)
        self.stop = target.eos
        self.generation = generation
        self.shortlist = shortlist
        self.front = source.prefix if framed else ()
        self.back = source.suffix if framed and source.suffix else (self.marks.end,)
        self.codes, self._of_targets = codes_of(source)
        # A model of many languages writes in one that nobody chose unless its files name one.
        self._open = bool(self.codes) and not {*self.begins} & {*self.codes.values()}

    def rules(self, heard: Sequence[int]) -> Rules:
        """What the model's files say must hold of a target behind a source, given as `heard`."""
        rules = self.generation.rules(self.stop)
        if self.shortlist is None:
            return rules
        return Rules((Allowed(tuple(self.shortlist.allowed(heard))), *rules.processors), rules.last)

    def between(self, source: str | None, target: str) -> "Language":
        """The same from one language into another, called by their codes, such as "en" and "fr".

        source: None for a model that is only told what to translate into. Raises RequestError for a model of two
        languages, and for a language that it does not know, with the nearest that it knows.
        """
        if not self.codes:
            raise RequestError("this model has no codes of languages: it translates between those it was made for")
        into, other = code("target", target, self.codes), copy(self)
        if self._of_targets:
            other.front = (into,)
        else:
            if source is None:
                raise RequestError("source is None; this model must be told the language that it translates from")
            spoken, codes = code("source", source, self.codes), {*self.codes.values()}
            other.front, other.back = (
                tuple(spoken if id in codes else id for id in side) for side in (self.front, self.back)
            )
            if not {*self.front, *self.back} & codes:
                other.front = (spoken, *self.front)
            begun = self.marks.start
            other.begins = (into,) if begun in codes or begun == self.target.bos else (begun, into)
            other.marks = replace(self.marks, start=other.begins[0])
        other._open = False
        return other

    def read(self, line: str) -> list[int]:
        """A source line's ids, without marks; none for an empty line."""
        return self.source.encode(line.strip()).ids

    def heard(self, ids: Sequence[int]) -> list[int]:
        """What an encoder reads of a source, given as ids without marks. Raises RequestError where a model of many
        languages has not been told which."""
        if self._open:
            some = ", ".join(sorted(self.codes)[:3])
            raise RequestError(
                f"this model knows {len(self.codes)} languages ({some}, …); choose with translator.between(source, "
                "target), or --from and --to"
            )
        return [*self.front, *ids, *self.back]

    def write(self, ids: Sequence[int]) -> str:
        """The text of target ids, on one line."""
        return " ".join(self.target.decode(ids).split())

    def opening(self, network: LanguageModel, source: Sequence[int]) -> tuple[list[int], list[int]]:
        """What the encoder reads of a source, given as ids without marks, and what the decoder reads before it writes.

        A language model has no encoder: its decoder reads all of it.
        """
        if isinstance(network, Seq2Seq):
            return self.heard(source), list(self.begins)
        return [], [*source, self.marks.start]

    def forbidden(self, vocab: int) -> set[int]:
        """Ids that are no part of a text: special tokens, and what a model has beyond its tokenizer."""
        return {*(id for id in self.target.controls if id < vocab), *range(self.target.vocab, vocab)} - self.stop


def translate(
    network: LanguageModel,
    language: Language,
    lines: Iterable[str],
    *,
    beam: int | None = None,
    alpha: float | None = None,
    best: int = 1,
    batch_tokens: int = 1024,
    window: int = 2048,
) -> Iterator[Translation]:
    """Translates line by line, in order; an empty line stays empty.

    network: an encoder–decoder, or a language model trained on source and target as one text. beam, alpha, best: see
    `beam_search`; where beam and alpha are not given, the model's files say them, or else they are 5 and 1.
    batch_tokens: source tokens that are translated together, padding counted. window: so many lines are
    read ahead and sorted by length, which is faster; no more than these are ever held. A line longer than the model's
    context is translated as far as it goes (`Translation.left_out`). Raises RequestError, at once, for a number out of
    range, and while it is read for a line that is not text.
    """
    given.whole("best", best, 1, WIDEST)
    beam = max(language.generation.beam, best) if beam is None else beam
    alpha = language.generation.alpha if alpha is None else alpha
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
    around = len(language.front) + len(language.back)
    most = network.context - around if isinstance(network, Seq2Seq) else network.context // 2
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
    generation, begun = language.generation, len(language.begins)
    wanted = [generation.limit(int(factor * len(source)) + more, begun) for source in sources]
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
            processors=[language.rules(heard).processors for heard in sources],
            shared=generation.shared,
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

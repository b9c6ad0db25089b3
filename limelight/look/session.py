"""A text under a network, read once: what was read is kept, and changed texts are compared with it.

Every kind of network has its `Session`: `DecoderSession` and `RecurrentSession` here, `EncoderSession` in
`limelight.look.encoder`, `Seq2SeqSession` in `limelight.look.seq2seq`. The methods of importance know no other way to
a network.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor

from limelight.errors import RequestError
from limelight.look import branches, replacements
from limelight.look.question import GivenWord, Likelihood, NextWord, Question
from limelight.look.record import stack_of
from limelight.models.api import Decoder, Network
from limelight.nn.stack import Stack
from limelight.nn.state import State

BATCH = 4096
"""The most positions read in one step, so that memory does not grow with the number of variants."""

ROWS = 64
"""The most variants in one step."""

SORTED = 1 << 18
"""The most tokens of changed texts that are written down and sorted at once, so that who waits is told soon."""

LOGITS = 1 << 25
"""The most logits computed in one step."""

TOGETHER = 64
"""Tokens of a text of which all logits are computed at once, since most of them are asked for."""

WORTHWHILE = 96
"""Positions read in one step beyond which more of them save no time."""

Progress = Callable[[int, int], None]
"""Called with the number of variants done and the number in all."""

T = TypeVar("T")


@dataclass(frozen=True)
class Variant:
    """One way to take something from a text, as ranges of its positions that do not overlap.

    blocked: no other position may attend to these, in any layer, so that every position stays where it was (attention
    knockout; Geva et al., 2023). left_out: these are gone and what follows moves up. replaced: what stands in their
    place, no more tokens than were there; where they are fewer, what follows moves up.
    """

    blocked: tuple[range, ...] = ()
    left_out: tuple[range, ...] = ()
    replaced: tuple[tuple[range, tuple[int, ...]], ...] = ()

    @cached_property
    def edits(self) -> tuple[tuple[range, tuple[int, ...]], ...]:
        """What stands where, in the text's order; nothing in place of what is left out."""
        gone: list[tuple[range, tuple[int, ...]]] = [(span, ()) for span in self.left_out]
        return tuple(sorted((*self.replaced, *gone), key=lambda edit: edit[0].start))

    def moved(self, place: int) -> int:
        """Where a position is found afterwards: as far forward as what is in front of it became shorter."""
        return place - sum(len(span) - len(new) for span, new in self.edits if span.stop <= place)

    def places(self, length: int, start: int = 0) -> list[int]:
        """The old positions of what stands in the text from position `start` on; `start` is in front of all edits."""
        kept, at = [], start
        for span, new in self.edits:
            kept += [*range(at, span.start), *span[: len(new)]]
            at = span.stop
        return [*kept, *range(at, length)]

    def tokens(self, tokens: Sequence[int], start: int = 0) -> list[int]:
        """The text afterwards, from position `start` on."""
        new = {place: id for span, ids in self.replaced for place, id in zip(span, ids, strict=False)}
        return [new.get(place, tokens[place]) for place in self.places(len(tokens), start)]


class Session(ABC):
    """network: what reads the text. tokens: its ids, whose positions questions and variants speak of. blocks: whether
    positions can be hidden from others. spell: a token's text."""

    kind: str
    """The network in a sentence."""

    questions: tuple[type[Question], ...]
    """What its head can be asked."""

    blocks: bool = True

    def __init__(self, network: Network, tokens: Sequence[int], spell: Callable[[int], str] = str) -> None:
        self.network: Any = network
        self.tokens = tuple(tokens)
        self.spell = spell
        self._kept: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns, made at the first call with this key and kept with the text."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast("T", self._kept[key])

    def forget(self, key: Hashable) -> Any:
        """What is kept by that key, which no longer is; None if nothing was."""
        return self._kept.pop(key, None)

    def knows(self, key: Hashable) -> bool:
        """Whether something is kept by that key."""
        return key in self._kept

    def whole(self, question: Question) -> float:
        """The question's value for the text as it is."""
        return self.once(("whole", question), lambda: self.values(question, [Variant()])[0])

    def drops(self, question: Question, variants: Sequence[Variant], progress: Progress | None = None) -> list[float]:
        """By how much each variant lowers the question's value."""
        whole = self.whole(question)
        return [whole - value for value in self.values(question, variants, progress)]

    def values(self, question: Question, variants: Sequence[Variant], progress: Progress | None = None) -> list[float]:
        """The question's value for each variant. Raises RequestError for blocking where nothing can be blocked."""
        if not isinstance(question, self.questions):
            raise RequestError(f"the head of this model has no answer to the question {type(question).__name__}")
        if not self.blocks and any(variant.blocked for variant in variants):
            raise RequestError("a recurrent model reads all words into one state, so none can be blocked; leave it out")
        found: dict[int, float] = {}
        with torch.inference_mode():
            for batch, values in self._valued(question, variants):
                found.update(zip(batch, values.tolist(), strict=True))
                if progress is not None:
                    progress(len(found), len(variants))
        return [found[i] for i in range(len(variants))]

    def _valued(self, question: Question, variants: Sequence[Variant]) -> Iterator[tuple[list[int], Tensor]]:
        """The places of variants that were read together, and the question's value for each of them: [B] on the CPU."""
        for batch in self._batches(question, variants):
            yield batch, self._values(question, [variants[i] for i in batch])

    def _batches(self, question: Question, variants: Sequence[Variant]) -> Iterator[list[int]]:
        """The places of all variants, as many at a time as are to be read together."""
        rows = max(1, min(ROWS, BATCH // len(self.tokens)))
        places = list(range(len(variants)))
        return (places[at : at + rows] for at in range(0, len(places), rows))

    @abstractmethod
    def _values(self, question: Question, variants: Sequence[Variant]) -> Tensor:
        """The question's value for each variant of a batch: [B] on the CPU."""

    def keeping(self) -> AbstractContextManager[None]:
        """While this lasts, what was read of changed texts is kept for others that begin like them, if there is room
        for it."""
        return nullcontext()

    def asking(self, question: Question, spans: Sequence[range]) -> int | None:
        """Which of the spans the model asks from, right in front of the word in question; None if none does."""
        return len(spans) - 1 if spans[-1].stop == question.at[0] + 1 else None

    @abstractmethod
    def likely(self, span: range, n: int) -> list[tuple[int, ...]]:
        """At most n other texts that are likely in a span's place, as tokens, no more of them than the span has."""


class StackSession(Session):
    """A text under a network that is one stack of blocks, which can be recorded, asked for gradients, and told apart by
    what it would say in a word's place. causal: whether no position sees a later one."""

    causal: bool

    @property
    @abstractmethod
    def stack(self) -> Stack:
        """The network's layers."""

    @abstractmethod
    def read(self, network: Any, question: Question | None = None) -> Tensor:
        """Reads the text by a twin of the network: hidden states [1, T, W]. For a question a text that is read from
        left to right ends where is asked."""

    @abstractmethod
    def askers(self, question: Question) -> list[int]:
        """The positions from which is asked, in what `read` reads for the question."""

    @abstractmethod
    def embedded(self, question: Question) -> Tensor:
        """The embeddings [T, E] of all that the question's value depends on."""

    @abstractmethod
    def value_from(self, question: Question, embedded: Tensor) -> Tensor:
        """The question's value [B] read from embeddings [B, T, E], with gradients."""


class CausalSession(Session):
    """A text that is read from left to right by a model that continues it. A question's `at` are the positions whose
    next tokens are asked for. before: the text without its last tokens, which the model added; what is read of it is
    not read again."""

    network: Decoder
    questions = (GivenWord, NextWord)
    before: Self | None = None

    def front(self, length: int) -> Self:
        """The shortest text by which the first tokens, so many, can be read."""
        return self if self.before is None or length > len(self.before.tokens) else self.before.front(length)

    @cached_property
    def hidden(self) -> Tensor:
        """The last hidden states [T, W] of the text."""
        with torch.inference_mode():
            return self.read(self.network)[0]

    def logits(self, places: slice) -> Tensor:
        """The logits [n, V] at some positions; all of them at once would take more room than the model."""
        hidden = self.hidden if places.stop is None or places.stop < 0 else self.front(places.stop).hidden
        with torch.inference_mode():
            return self.network.logits(hidden[places]).cpu()

    def read(self, network: Any, question: Question | None = None) -> Tensor:
        tokens = self.tokens if question is None else self.tokens[: question.at[0] + 1]
        hidden: Tensor = network.read(torch.tensor([tokens], device=network.device))
        return hidden

    def likely(self, span: range, n: int) -> list[tuple[int, ...]]:
        """Of the words that the model finds likely behind what is in front of the span, see `look.replacements`."""
        place = span.start - 1
        if len(self.tokens) <= TOGETHER:
            scores = self.once("expected", lambda: self._expected(slice(None)))[place]
        else:
            scores = self._expected(slice(place, span.start))[0]
        return replacements.fitting(self.network, self.spell, self.tokens[span.start : span.stop], scores, n)

    def _expected(self, places: slice) -> Tensor:
        """The logits [n, V] by which other words are proposed at some positions."""
        return self.logits(places)

    def logprobs(self, question: Likelihood, variants: Sequence[Variant], progress: Progress | None = None) -> Tensor:
        """The log-probability of each part of a question's answer for each variant: [N, n]."""
        found = torch.empty(len(variants), len(question.at))
        done = 0
        with torch.inference_mode():
            for batch, logits in self._answered(question, variants):
                found[batch] = question.logprobs(logits)
                done += len(batch)
                if progress is not None:
                    progress(done, len(variants))
        return found

    def _valued(self, question: Question, variants: Sequence[Variant]) -> Iterator[tuple[list[int], Tensor]]:
        for batch, logits in self._answered(question, variants):
            yield batch, question.value(logits)

    def _values(self, question: Question, variants: Sequence[Variant]) -> Tensor:
        return question.value(self._logits(question, variants))

    def _answered(self, question: Question, variants: Sequence[Variant]) -> Iterator[tuple[list[int], Tensor]]:
        """The places of variants that were read together, and their logits [B, n, V] where is asked."""
        for batch in self._batches(question, variants):
            yield batch, self._logits(question, [variants[i] for i in batch])

    @abstractmethod
    def _logits(self, question: Question, variants: Sequence[Variant]) -> Tensor:
        """Logits [B, n, V] where is asked."""

    def _answers(self, hidden: Tensor, question: Question, variants: Sequence[Variant], start: int = 0) -> Tensor:
        """Logits [B, n, V] where is asked, of hidden states [B, T, W] from position `start` on."""
        places = torch.tensor([[variant.moved(at + 1) - 1 - start for at in question.at] for variant in variants])
        return self.network.logits(hidden[torch.arange(len(variants))[:, None], places])


class DecoderSession(CausalSession, StackSession):
    """A text under a transformer that continues it.

    Variants share the keys and values of the text up to the first position that they could change, and read on from
    there in batches, each row with a mask of its own. quick: the same model, its low-bit layers rounding their inputs
    as they do in use, by which variants are read; without it they take about twice as long.
    """

    kind = "a transformer that continues texts"
    causal = True

    def __init__(
        self,
        network: Decoder,
        tokens: Sequence[int],
        spell: Callable[[int], str] = str,
        quick: Decoder | None = None,
    ) -> None:
        super().__init__(network, tokens, spell)
        self._quick = network if quick is None else quick
        self._side: branches.Kept | None = None

    @contextmanager
    def keeping(self) -> Iterator[None]:
        self._side = branches.Kept()
        try:
            yield
        finally:
            self._side = None

    def _answered(self, question: Question, variants: Sequence[Variant]) -> Iterator[tuple[list[int], Tensor]]:
        read, places = self.tokens[: question.at[-1] + 1], range(len(variants))
        branched = [i for i in places if self._branches(question, variants[i])]
        if branched:
            most = max(1, min(ROWS, LOGITS // (len(question.at) * self.network.vocab)))
            text = branches.branch(Variant(), read, question.at)
            step = max(ROWS, SORTED // len(read))
            for some in (branched[begin : begin + step] for begin in range(0, len(branched), step)):
                made = [branches.branch(variants[i], read, question.at) for i in some]
                for batch, hidden in branches.read(self._quick, text, self._state(len(read)), made, most, self._side):
                    yield [some[i] for i in batch], self._quick.logits(hidden)
        others = sorted({*places}.difference(branched))
        for batch, logits in super()._answered(question, [variants[i] for i in others]):
            yield [others[i] for i in batch], logits

    def _branches(self, question: Question, variant: Variant) -> bool:
        """Whether a variant can be read from where it parts from another."""
        return not self._follows and (not variant.blocked or self._passes(question, variant))

    def _batches(self, question: Question, variants: Sequence[Variant]) -> Iterator[list[int]]:
        """Variants that are read on from nearly the same position: all of a batch are read from the first of theirs."""
        end, most = question.at[-1] + 1, max(1, LOGITS // (len(question.at) * self.network.vocab))
        left = [end - self._first_change(question, variant) for variant in variants]  # positions to be read of each
        batch: list[int] = []
        for i in sorted(range(len(variants)), key=left.__getitem__, reverse=True):
            longest = left[batch[0]] if batch else left[i]
            enough = len(batch) * longest >= WORTHWHILE and left[i] < longest
            if batch and (enough or len(batch) == min(ROWS, most) or (len(batch) + 1) * longest > BATCH):
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _first_change(self, question: Question, variant: Variant) -> int:
        """The first position that the variant may change, or the first one asked for, whose answer is wanted anyway."""
        changes = [part.stop for part in variant.blocked]
        return min([*changes, *(span.start for span, _ in variant.edits), variant.moved(question.at[0] + 1) - 1])

    def _passes(self, question: Question, variant: Variant) -> bool:
        """Whether what is hidden need not be read: no other token sees it, and nothing is asked from it."""
        length = question.at[-1] + 1
        if not self.once(("passes", length), lambda: self.stack.passes(length)):
            return False
        kept = variant.places(length)
        asked = {next(place for place in reversed(kept) if place <= at) for at in question.at}
        return not any(place in part for place in asked for part in variant.blocked)

    def _logits(self, question: Question, variants: Sequence[Variant]) -> Tensor:
        start = min(self._first_change(question, variant) for variant in variants)
        read = self.tokens[: question.at[-1] + 1]
        length, rows = len(read), len(variants)
        state = self._state(length).select(torch.zeros(rows, dtype=torch.int64))
        state.rewind(start)
        tokens = torch.zeros(rows, length - start, dtype=torch.int64)
        # Only where something is hidden: a whole stack in one call knows no such masks.
        hides = any(variant.blocked for variant in variants)
        visible = torch.ones(rows, length - start, length, dtype=torch.bool) if hides else None
        counts = torch.empty(rows, dtype=torch.int64)
        for row, variant in enumerate(variants):
            changed = variant.tokens(read, start)
            counts[row] = len(changed)
            tokens[row, : len(changed)] = torch.tensor(changed)
            for part in variant.blocked:
                assert visible is not None
                at = variant.moved(part.start)
                visible[row, max(0, at + len(part) - start) :, at : at + len(part)] = False
        hidden = self._quick.read(tokens.to(self._quick.device), state, counts, visible)  # [B, T, W]
        return self._answers(hidden, question, variants, start)

    def _state(self, length: int) -> State:
        """The state behind the first `length` tokens; where it hangs on the length, the last one asked for is kept."""
        if not self._follows:
            state = self._read_quickly[0]
            return State(state.parts, torch.tensor([length]), state.capacity, state.source, state.rewinds)
        if self._prefix is None or self._prefix[0] != length:
            state = self._quick.start(1, length)
            self._quick.read(torch.tensor([self.tokens[:length]], device=self._quick.device), state)
            self._prefix = length, state
        return self._prefix[1]

    _prefix: tuple[int, State] | None = None

    @cached_property
    def _follows(self) -> bool:
        """Whether what is computed of a text hangs on its length."""
        return bool(self.stack.following)

    @cached_property
    def _read_quickly(self) -> tuple[State, Tensor]:
        """The state behind the text, with room for twice as much, and its hidden states [T, W], by the quick model."""
        with torch.inference_mode():
            state = self._quick.start(1, 2 * len(self.tokens))
            hidden = self._quick.read(torch.tensor([self.tokens], device=self._quick.device), state)
        return state, hidden[0]

    def _expected(self, places: slice) -> Tensor:
        with torch.inference_mode():
            return self._quick.logits(self._read_quickly[1][places]).cpu()

    @property
    def stack(self) -> Stack:
        return stack_of(self.network)

    def askers(self, question: Question) -> list[int]:
        return [-1]

    def embedded(self, question: Question) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            tokens = torch.tensor(self.tokens[: question.at[-1] + 1], device=self.network.device)
            vectors: Tensor = self.network.embed(tokens)
        return vectors

    def value_from(self, question: Question, embedded: Tensor) -> Tensor:
        hidden = self.network.decoder.decode(embedded, self.network.start(len(embedded), 0), None, None)
        return question.value(self.network.logits(hidden[:, list(question.at)]))


class RecurrentSession(CausalSession):
    """A text under a recurrent model, which passes on what it read by more than attention: words can only be left out
    or replaced, and each variant is read from the beginning."""

    kind = "a recurrent model"
    blocks = False

    def _logits(self, question: Question, variants: Sequence[Variant]) -> Tensor:
        read = self.tokens[: question.at[-1] + 1]
        changed = [torch.tensor(variant.tokens(read)) for variant in variants]
        tokens = torch.zeros(len(variants), len(read), dtype=torch.int64)
        for row, ids in zip(tokens, changed, strict=True):
            row[: len(ids)] = ids
        counts = torch.tensor([len(ids) for ids in changed])
        state = self.network.start(len(variants), len(read))
        hidden = self.network.read(tokens.to(self.network.device), state, counts)  # [B, T, W]
        return self._answers(hidden, question, variants)


def session(
    network: Decoder, tokens: Sequence[int], spell: Callable[[int], str] = str, quick: Decoder | None = None
) -> CausalSession:
    """The session for a network that continues texts; quick: see `DecoderSession`."""
    if isinstance(network.decoder, Stack) and not network.decoder.recurrent:
        return DecoderSession(network, tokens, spell, quick)
    return RecurrentSession(network, tokens, spell)


def stacked(session: Session) -> StackSession:
    """The same session, if its network is one stack. Raises RequestError for a recurrent model and for a translator."""
    if not isinstance(session, StackSession):
        raise RequestError(f"this is {session.kind}: it has no single stack of attention to look into")
    return session

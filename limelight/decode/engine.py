"""Many texts continued at once: each joins the running batch when there is room and leaves it when it ends."""

from __future__ import annotations

from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from limelight import given
from limelight.decode.checks import check_draft, check_prompt, check_source
from limelight.decode.choosing import choose
from limelight.decode.draft import Drafting, drafts
from limelight.decode.joining import Joining, fitting
from limelight.decode.prefixes import Prefixes, shared
from limelight.decode.request import CHUNK, Request, Rules, Step, Token
from limelight.decode.sampling import Sampling
from limelight.errors import RequestError
from limelight.models.api import Seq2Seq, batch_invariant, begin

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from torch import Tensor

    from limelight.decode.constraint import Constraint
    from limelight.models.api import LanguageModel
    from limelight.nn.state import State

ROOM = 256
"""Positions that a row is given at first; when they are used up, twice as many."""

ENCODED = 4096
"""The most tokens of sources, padding counted, that are encoded together, so that memory doesn't grow with them."""

GUESSED = 32
"""The most positions of a step, padding counted, in which a draft's guesses are checked."""

SPARED = 16
"""The fewest tokens for which a text waits until another, which begins alike, has been read."""

HEADROOM = 32
"""Tokens by which all must be able to grow before another one is let in, or it would be put out again at once."""


class Engine:
    """Continues texts that are submitted and cancelled at any time; each comes out as it would alone.

    Every `step` continues all that are running by a token and reads on in prompts that are joining. What is submitted
    waits, first come first served, until one of the `rows` is free and the cache has room. The cache is a rectangle,
    rows × the capacity of each, that grows as it is used up to `positions` in all. When it cannot hold those that are
    running any longer, the youngest is put out and waits at the front. Its tokens are read again when there is room,
    and since its source of random numbers is kept, it goes on as if nothing had been.

    An encoder–decoder continues texts behind sources. A source is encoded when its text is let in, and again when it
    comes back; what the decoder hears of it leaves with its text.

    What was read of a text is kept, in whole blocks, and a text that begins alike need not read it again: the next turn
    of a chat, or a request with the same system prompt, which waits until the first of them has read it. That is so
    where the state is keys and values that depend on nothing but the text (see `State.has_prefixes`); the model must
    not change meanwhile. What is kept takes what the running leave of `positions`; what was not used for longest goes.

    rows: the most that run together. positions: None, or the most that the cache may hold, beside sources and the
    prompts that are just being read; also the longest that a text can be. memory: None, or the bytes that the cache may
    take with the prompts that are being read and a copy of it while it grows, so that half of them are for
    `positions`; see `position_bytes`. chunk: tokens of prompts and sources that are read in a step while others run,
    the fewer, the less they are held up; a source is read whole. keep: whether what was read is kept. Raises
    RequestError if a number is below 1, or the memory too small for one position.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        rows: int = 16,
        positions: int | None = None,
        memory: int | None = None,
        chunk: int = 64,
        keep: bool = True,
    ) -> None:
        for name, value in (("rows", rows), ("positions", positions), ("memory", memory), ("chunk", chunk)):
            if value is not None:
                given.whole(name, value, 1)
        self.model = model
        self._device = model.device  # asked for once: a network looks through its modules
        self.rows = rows
        self.positions = rows * model.context if positions is None else positions
        if memory is not None and (each := position_bytes(model)):
            self.positions = min(self.positions, memory // (2 * each))
            if not self.positions:
                raise RequestError(f"memory is {memory:,} bytes; for each token of a text it takes {2 * each:,}")
        self.chunk = chunk
        self.keep = keep
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []  # by their rows in the state
        self._joining: Joining | None = None
        self._pool: State | None = None  # rows of which those of the state are the first
        self._state: State | None = None  # of `running`: all tokens but the last
        self._prefixes = Prefixes()
        self._made: list[Token] = []  # not returned yet
        self._failed: list[Request] = []  # by an error in the last step
        self._submitted = 0

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        return bool(self.running or self.waiting or self._joining or self._made)

    @property
    def nbytes(self) -> int:
        """Bytes that the cache takes, with the prompts that are being read and what is kept of texts."""
        pool, joining = self._pool, self._joining
        states = [] if pool is None else [pool]
        if joining is not None and not self._within:
            states.append(joining.state)
        return sum(state.nbytes for state in states) + self._prefixes.nbytes

    def submit(
        self,
        prompt: Sequence[int],
        *,
        source: Sequence[int] = (),
        max_tokens: int,
        sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
        stop: frozenset[int] = frozenset(),
        logprobs: int | None = None,
        draft: Drafting | None = "auto",
        generator: torch.Generator | None = None,
        rules: Rules = Rules(),  # noqa: B008 (frozen)
        constraint: Constraint | None = None,
        name: str = "the prompt",
    ) -> Request:
        """Lines up a prompt (token ids) to be continued by up to `max_tokens` tokens; see `generate`.

        source: the token ids that an encoder–decoder writes behind, its end mark included; the prompt is then how the
        target begins. generator: where random numbers come from, in place of the seed. rules: what the model wants of
        its texts. constraint: what may come next, asked before rules and sampling; drafts are checked by it, too. name:
        what to call the prompt in an error.

        How it goes is told by the request's `status`, `finish` and `error`.

        Raises RequestError for a prompt or a source that is empty, too long, or not of the model's vocabulary, for a
        source without an encoder and the other way round, for numbers out of range, and for a draft if the model is
        recurrent, since it cannot take back what it read.
        """
        given.whole("max_tokens", max_tokens, 1)
        check_prompt(self.model, prompt, self.positions, name)
        if logprobs is not None and not 0 <= logprobs <= self.model.vocab:
            raise RequestError(
                f"logprobs is {logprobs}; it must be from 0 to {self.model.vocab:,}, the model's vocabulary"
            )
        check_source(self.model, source, f"{name}'s source")
        if draft is not None and draft != "auto":
            check_draft(self.model, draft, source)
        # The last token need not be read again, so a text may go one token past what the model can see.
        limit = min(max_tokens, self.model.context - len(prompt) + 1, self.positions - len(prompt) + 1)
        request = Request(
            row=self._submitted,
            tokens=list(prompt),
            given=len(prompt),
            limit=limit,
            max_tokens=max_tokens,
            sampling=sampling,
            source=tuple(source),
            rules=rules,
            constraint=constraint,
            generator=generator or sampling.generators([prompt])[0],
            stop=stop,
            logprobs=logprobs,
            draft=None if draft is None else drafts(draft, len(prompt) + limit, source),
            auto=draft == "auto",
        )
        self._submitted += 1
        self.waiting.append(request)
        return request

    def cancel(self, request: Request) -> None:
        """Takes a request out, wherever it is, at once; nothing happens if it has ended."""
        if request.status == "ended":
            return
        if request.status == "waiting":
            self.waiting.remove(request)
        else:
            self._put_out(request)
        request.end("cancelled")

    def run(self) -> Generator[Step, None, None]:
        """Steps until nothing is left to do, yielding what each makes. Raises the error that a request ended in."""
        while self.busy:
            if step := self.step():
                yield step
            for request in self._failed:
                assert request.error is not None
                raise request.error

    @torch.inference_mode()
    def step(self) -> Step:
        """Runs the model and returns the tokens it made, if any, in the order of submission.

        What is wrong with one request (logits that are not numbers, a processor, constraint or draft that raises) ends
        that one, with the error kept on it, and the others go on.
        """
        self._failed = []
        joining = self._admit()
        self._decode()
        self._begin(joining)  # behind those who run, of whom some have just left
        self._read()
        made, self._made = self._made, []
        made.sort(key=lambda token: token.row)
        return tuple(made)

    # ---- who runs

    def _admit(self) -> list[Request]:
        """Takes those who are let in from the front of those who wait, while there is room; only when nobody else is
        joining.

        While others run, it is no more of them than can be read in a step, but always one.
        """
        if self._joining:
            return []
        joining: list[Request] = []
        while self.waiting and len(self.running) + len(joining) < self.rows:
            candidates = [*joining, self.waiting[0]]
            unread, needed = self._unread(candidates)
            heard = max(len(request.source) for request in candidates)
            if joining and heard * len(candidates) > ENCODED:
                break
            if self.running and joining and (heard + unread) * len(candidates) > self.chunk:
                break
            together = [*self.running, *candidates]
            capacity = max(min(len(request.tokens) + HEADROOM, request.need) for request in together)
            if len(together) > 1 and len(together) * capacity > self.positions:
                break
            if joining and (needed > self.model.context or len(candidates) * needed > self.positions):
                break
            if any(self._spares(request, self.waiting[0]) for request in joining):
                break
            joining.append(self.waiting.popleft())
        return joining

    def _begin(self, joining: list[Request]) -> None:
        """Gives those who are let in a place to be read into."""
        while joining and len(self.running) + len(joining) > 1 and not self._holds([*self.running, *joining]):
            self.waiting.appendleft(joining.pop())
        if not joining:
            return
        state, cache = self._places(joining)
        state.give(torch.tensor([request.given for request in joining]))
        for row, request in enumerate(joining):
            request.status = "reading"
            self._prefixes.begin(request, state, row)
            if len(request.tokens) == request.given:
                request.cached = int(state.lengths[row])
        self._joining = Joining(joining, state, cache)

    def _holds(self, requests: list[Request]) -> bool:
        """Whether the cache can hold what they have written."""
        return len(requests) * _longest(requests) <= self.positions

    def _unread(self, requests: list[Request]) -> tuple[int, int]:
        """The most that one of them has to read, and the positions that a row needs if they are read together: each is
        padded to the one with most to read, wherever it begins."""
        known = [self._prefixes.known(request) for request in requests]
        unread = max(len(request.tokens) - start for request, start in zip(requests, known, strict=True))
        return unread, max(known) + unread

    def _places(self, joining: list[Request]) -> tuple[State, State | None]:
        """An empty state for those who join, whom it sorts; and the cache, if the state is rows of it, so that nothing
        need be copied when they have been read."""
        rows, running, pool = len(joining), len(self.running), self._pool
        if pool is not None and pool.has_prefixes:
            pool = self._fit([*self.running, *joining])
        joining.sort(key=lambda request: len(request.tokens) - self._prefixes.known(request))
        room = self._unread(joining)[1]  # now: to fit, it may have let go of what was known
        if pool is not None and pool.has_prefixes and room <= pool.capacity:
            known = [self._prefixes.known(request) for request in joining]
            return pool.narrow(running, running + rows).emptied(known), pool
        capacity = room if running else max(room, self._rectangle(joining, rows, room)[1])
        state = begin(self.model, rows, capacity, [request.source for request in joining])
        if running or not state.has_prefixes:
            return state, None
        self._pool, self._state = state, state.narrow(0, 0)
        return state.narrow(0, rows), state

    @property
    def _within(self) -> list[Request]:
        """Those who join in rows of the cache."""
        joining = self._joining
        return [] if joining is None or joining.cache is None or joining.cache is not self._pool else joining.requests

    def _spares(self, first: Request, second: Request) -> bool:
        """Whether the second has less to read if it waits until the first has been read."""
        common = min(shared(first, second), len(second.tokens) - 1)
        return common - self._prefixes.known(second) >= SPARED and common <= self._spare and self._keeps

    @cached_property
    def _keeps(self) -> bool:
        """Whether anything is kept of this model's texts."""
        return self.keep and not isinstance(self.model, Seq2Seq) and begin(self.model, 1, 1).has_prefixes

    @property
    def _spare(self) -> int:
        """Positions that are left for what is kept."""
        return self.positions - (0 if self._pool is None else len(self._pool.lengths) * self._pool.capacity)

    def _keep(self, request: Request, state: State, row: int) -> None:
        if self.keep and request.finish != "error" and state.has_prefixes:
            self._prefixes.keep(request, state, row, self._spare)

    def _evict(self) -> None:
        """Puts the youngest out, back to the front of those who wait, until the cache can hold the next step."""
        while True:
            together = [*self.running, *(self._joining.requests if self._joining else ())]
            if len(together) < 2 or self._holds(together):
                return
            youngest = max(together, key=lambda request: request.row)
            self._put_out(youngest)
            self.waiting.appendleft(youngest)
            youngest.status = "waiting"

    def _put_out(self, request: Request) -> None:
        if request in self.running:
            self._leave(self.running.index(request))
        elif self._joining:
            self._keep(request, self._joining.state, self._joining.requests.index(request))
            self._joining = self._joining.without(request)
            self._rest()

    def _join(self, requests: list[Request], state: State) -> None:
        running = len(self.running)
        if self._state is None:
            self._pool = self._state = state
        else:
            pool = self._fit([*self.running, *requests])
            pool.source = None  # so that nothing is kept of those who have left
            if running:
                pool.put(0, self._state)
            for row in range(len(requests)):  # each by itself: they may be rows of the cache, behind these
                pool.put(running + row, state.narrow(row, row + 1))
            self._state = pool.narrow(0, running + len(requests))
        self.running = [*self.running, *requests]
        for request in requests:
            request.status = "running"

    def _leave(self, row: int) -> None:
        """Frees a row; the last one moves into it."""
        assert self._state is not None
        self._keep(self.running[row], self._state, row)
        last = len(self.running) - 1
        if row < last:
            self._state.put(row, self._state.narrow(last, last + 1))
            self.running[row] = self.running[last]
        self.running.pop()
        self._state = self._state.narrow(0, last)
        self._rest()

    def _rest(self) -> None:
        """Lets go of the cache when nobody is in it."""
        if not self.running and not self._within:
            self._pool = self._state = None

    def _leave_ended(self) -> None:
        for row in reversed(range(len(self.running))):
            if self.running[row].finish is not None:
                self._leave(row)

    def _fit(self, requests: list[Request]) -> State:
        """The pool, made anew if too small for the tokens of `requests`, whose first ones are the state's rows, or far
        too large, since a long text has left."""
        assert self._pool is not None
        assert self._state is not None
        rows, capacity = len(requests), _longest(requests)
        if rows > len(self._pool.lengths) or not capacity <= self._pool.capacity <= 8 * max(ROOM, capacity):
            self._pool = begin(self.model, *self._rectangle(requests, rows, capacity))
            self._prefixes.shrink(self._spare)
            if self.running:
                self._pool.put(0, self._state)
            self._state = self._pool.narrow(0, len(self.running))
        return self._pool

    def _rectangle(self, requests: list[Request], rows: int, capacity: int) -> tuple[int, int]:
        """Rows and capacity of a new cache: what is necessary, and more, so that it need not be made anew each time."""
        capacity = min(max(ROOM, 2 * capacity), max(request.need for request in requests), self.positions // rows)
        wanted = max(rows + len(self.waiting), 1 << (rows - 1).bit_length())
        return max(rows, min(wanted, self.rows, self.positions // capacity)), capacity

    # ---- what the model does

    def _decode(self) -> None:
        """Reads the last token of all that run, and the guesses behind it; goes on by what the model says to them."""
        self._evict()
        if not self.running:
            return
        pool = self._fit([*self.running, *self._within])
        # Whoever guesses nothing is padded to the longest guess, so that there are few of them among many.
        most = min(pool.capacity - _longest(self.running), GUESSED // len(self.running) - 1)
        guesses = [self._guess(request, min(most, request.steady(pool.border))) for request in self.running]
        texts = [[request.tokens[-1], *guess] for request, guess in zip(self.running, guesses, strict=True)]
        logits = self._step(texts, self._state, last=not any(guesses))  # [B, T, V]

        self._choose(self.running, logits[:, 0])
        right = list(range(len(self.running)))  # the rows whose guesses were right so far
        for at in range(1, logits.shape[1]):
            right = [row for row in right if self.running[row].went(guesses[row][at - 1 : at])]
            self._choose([self.running[row] for row in right], logits[right, at])
        if logits.shape[1] > 1:
            assert self._state is not None
            self._state.rewind(torch.tensor([len(request.tokens) - 1 for request in self.running]))
        self._leave_ended()

    def _read(self) -> None:
        """Reads a chunk of the prompts that are joining; those that end with it join, with their first token."""
        self._evict()
        if self._joining is None:
            return
        requests, state = self._joining.requests, self._joining.state
        most = max(1, self.chunk // len(requests)) if self.running else CHUNK
        starts = state.lengths.tolist()
        chunk = fitting([len(request.tokens) - start for request, start in zip(requests, starts, strict=True)], most)
        texts = [request.tokens[start : start + chunk] for request, start in zip(requests, starts, strict=True)]
        try:
            logits = self._step(texts, state, last=True)[:, 0]  # [B, V]
        except Exception as error:  # there is not enough memory, say; those that run have enough
            self._joining = None
            self._rest()
            for request in requests:
                self._fail(request, error)
            return

        ends = zip(requests, state.lengths.tolist(), strict=True)
        done = sum(len(request.tokens) == end for request, end in ends)  # those with least to read, the first
        reading = Joining(requests[done:], state.narrow(done, len(requests)), self._joining.cache)
        self._joining = reading if reading.requests else None
        requests, logits, state = requests[:done], logits[:done], state.narrow(0, done)
        if requests:
            self._join(requests, state)
            self._choose(requests, logits)
            assert self._state is not None
            for row in range(len(self.running) - len(requests), len(self.running)):  # at once: others may wait for it
                self._keep(self.running[row], self._state, row)
            self._leave_ended()

    def _step(self, texts: list[list[int]], state: State | None, last: bool) -> Tensor:
        """The model's logits for texts of any lengths: [B, T, V], or [B, 1, V] behind the last token of each."""
        assert state is not None
        counts = [len(text) for text in texts]
        longest = max(counts)
        even = longest == min(counts)
        tokens = torch.tensor(texts if even else [text + text[-1:] * (longest - len(text)) for text in texts])
        counted = None if even else torch.tensor(counts)
        return self.model.step(tokens.to(self._device), state, counted, last=last)

    def _choose(self, requests: list[Request], logits: Tensor) -> None:
        """Each goes on by a token, given the logits [B, V] behind its last one, or ends by an error of its own."""
        going = [row for row, request in enumerate(requests) if request.finish is None]  # unless its draft failed
        if len(going) < len(requests):
            requests, logits = [requests[row] for row in going], logits[going]
        if not requests:
            return
        told = [row for row, request in enumerate(requests) if request.logprobs is not None]
        scores = dict(zip(told, logits[told].log_softmax(-1), strict=True)) if told else {}
        for row, (request, chosen) in enumerate(zip(requests, choose(requests, logits), strict=True)):
            if isinstance(chosen, Exception):
                self._fail(request, chosen)
                continue
            try:
                self._made.append(request.add(chosen, scores.get(row)))
            except Exception as error:  # of its constraint
                self._fail(request, error)

    def _guess(self, request: Request, most: int) -> list[int]:
        """At most `most` tokens that the request's draft expects; it ends if the draft raises.

        Beside others, or where a step of several tokens rounds otherwise, only those guess that were told to.
        """
        if request.auto and not (len(self.running) == 1 and batch_invariant(self.model)):
            return []
        try:
            return request.guess(most)
        except Exception as error:
            self._fail(request, error)
            return []

    def _fail(self, request: Request, error: Exception) -> None:
        request.end("error", error)
        self._failed.append(request)


def position_bytes(model: LanguageModel) -> int:
    """The bytes that a model keeps for each token of a text; 0 for a recurrent one, which keeps its last state."""
    return begin(model, 1, 2).nbytes - begin(model, 1, 1).nbytes


def _longest(requests: Iterable[Request]) -> int:
    """The positions of the cache that the longest of them takes when its last token has been read."""
    return max(len(request.tokens) for request in requests)

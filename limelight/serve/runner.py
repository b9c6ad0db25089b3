"""One thread that owns an engine: requests go in and tokens come out, each to the one who asked."""

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from limelight.decode import Engine
from limelight.errors import RequestError

if TYPE_CHECKING:
    from limelight.decode import Constraint, Request, Rules, Sampling, Token
    from limelight.models.api import Decoder

STALLED = 60.0
"""Seconds without a step after which an engine that has something to do counts as dead."""

CLOSED = "the model has been closed; ask again"

T = TypeVar("T")


class BusyError(RequestError):
    """Nothing can be written now. retry: seconds after which asking again makes sense."""

    def __init__(self, text: str, retry: int) -> None:
        super().__init__(text)
        self.retry = retry


@dataclass(frozen=True)
class Ask:
    """One text to be continued; see `Engine.submit`. constraint: makes one for this text."""

    prompt: Sequence[int]
    max_tokens: int
    seed: int
    sampling: "Sampling"
    stop: frozenset[int]
    logprobs: int | None
    rules: "Rules"
    constraint: "Callable[[], Constraint] | None"


@dataclass
class Counts:
    """What a runner has done since it began. first: seconds until the first token, in all, of `begun` texts."""

    steps: int = 0
    prompt: int = 0
    cached: int = 0
    generated: int = 0
    begun: int = 0
    first: float = 0.0
    cancelled: int = 0
    failed: int = 0


@dataclass(eq=False)
class Job:
    """Texts that were asked for together. Iterating over it gives (which of them, token) as they come."""

    runner: "Runner"
    asks: Sequence[Ask]
    asked: float
    requests: "list[Request]" = field(default_factory=list)
    left: set[int] = field(default_factory=set)
    _events: "deque[tuple[int, Token] | Exception]" = field(default_factory=deque)
    _waits: "asyncio.Future[None] | None" = None

    def __aiter__(self) -> "Job":
        return self

    async def __anext__(self) -> "tuple[int, Token]":
        """The next token. Raises the error that one of the texts ended in."""
        while True:
            while not self._events:
                if not self.left:
                    raise StopAsyncIteration
                self._waits = asyncio.get_running_loop().create_future()
                await self._waits
            event = self._events.popleft()
            if isinstance(event, Exception):
                raise event
            index, token = event
            if index not in self.left:  # it ended here before the engine knew
                continue
            if token.finish is not None:
                self.left.discard(index)
            return event

    def put(self, event: "tuple[int, Token] | Exception") -> None:
        """The next that it gives."""
        self._events.append(event)
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    def ended(self, index: int) -> None:
        """This text needs no more tokens."""
        if index in self.left:
            self.left.discard(index)
            self.runner.cancel(self, index)

    def close(self) -> None:
        """None of them is needed any more."""
        for index in list(self.left):
            self.ended(index)


class Runner:
    """Owns an engine in a thread of its own.

    All but the thread's own work, the beginning and the end is called in one event loop. rows: texts that run together.
    waiting: the most that wait beyond them; more are refused. memory: see `Engine`.
    """

    def __init__(self, network: "Decoder", *, rows: int, waiting: int, memory: int | None = None) -> None:
        self._network = network
        self._memory = memory
        self._rows = rows
        self._most = rows + waiting
        self._engine = self._new()
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._over = False  # nothing is obeyed any more
        self._lock = threading.Lock()  # of these two: a command is either obeyed or refused
        self._asides: deque[Generator[None, None, None]] = deque()
        self._live: dict[Request, tuple[Job, int]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None  # of those who ask
        self._ending = False
        self._stepped = time.monotonic()
        self.open = 0  # texts that have not ended, as the event loop knows
        self.counts = Counts()
        self._thread = threading.Thread(target=self._main, name="limelight engine", daemon=True)
        self._thread.start()

    def _new(self) -> Engine:
        return Engine(self._network, rows=self._rows, memory=self._memory)

    # ---- called by those who ask

    @property
    def alive(self) -> bool:
        """Whether it does what it has to do."""
        idle = not self._live and not self._asides
        return self._thread.is_alive() and (idle or time.monotonic() - self._stepped < STALLED)

    @property
    def positions(self) -> int:
        """The longest text that its cache holds."""
        return self._engine.positions

    @property
    def running(self) -> int:
        """Texts that are being continued."""
        return len(self._engine.running)

    @property
    def waiting(self) -> int:
        """Texts that wait for a place."""
        return len(self._engine.waiting)

    @property
    def nbytes(self) -> int:
        """Bytes of keys and values that it holds."""
        return self._engine.nbytes

    def admit(self, texts: int = 1) -> None:
        """Raises BusyError if so many texts more are too many, so that nothing is made ready for them in vain."""
        if self.open + texts > self._most and self.open:
            raise BusyError(
                f"{self.open} texts are being written or wait for it, and at most {self._most} may; ask again later", 1
            )
        if self._ending:
            raise BusyError(CLOSED, 5)

    async def submit(self, asks: Sequence[Ask]) -> Job:
        """Lines up texts. Raises BusyError if too many wait, RequestError for what the engine refuses."""
        self.admit(len(asks))
        job = Job(self, asks, time.monotonic(), left=set(range(len(asks))))
        accepted: asyncio.Future[None] = self._future()
        self._command(lambda: self._submit(job, accepted))
        self.open += len(asks)
        try:
            await accepted
        except asyncio.CancelledError:
            job.close()
            raise
        return job

    def cancel(self, job: Job, index: int) -> None:
        """Ends one of a job's texts before the next step."""
        with suppress(BusyError):  # it has ended
            self._command(lambda: self._cancel(job, index))

    async def aside(self, work: Callable[[], Generator[None, None, T]]) -> T:
        """What a generator returns that is run in the engine's thread, a piece between two steps. Raises BusyError if
        the thread ends before."""
        done: asyncio.Future[T] = self._future()

        def pieces() -> Generator[None, None, None]:
            try:
                yield  # so that an error can be thrown in from here on
                found = yield from work()
            except Exception as error:
                self._tell(_fail, done, error)
            else:
                self._tell(_succeed, done, found)

        running = pieces()
        next(running)
        self._command(lambda: self._asides.append(running))
        try:
            return await done
        finally:
            with suppress(BusyError):
                self._command(lambda: self._asides.remove(running) if running in self._asides else None)

    def _future(self) -> "asyncio.Future[Any]":
        """What the thread is to fulfil for one who asks in this loop."""
        self._loop = asyncio.get_running_loop()
        return self._loop.create_future()

    def end(self, seconds: float = 5.0) -> None:
        """Ends the thread; whoever is not answered by now is told so."""
        self._ending = True
        with suppress(BusyError):  # it has ended before
            self._command(lambda: None)
        self._thread.join(seconds)

    def _command(self, command: Callable[[], None]) -> None:
        """Has the thread do this before its next step. Raises BusyError if it makes no more."""
        with self._lock:
            if self._over:
                raise BusyError(CLOSED, 5)
            self._commands.put(command)

    # ---- in its own thread

    def _main(self) -> None:
        while not self._ending:
            self._obey()
            try:
                self._step()
            except Exception as error:  # a defect: nobody knows what it left behind
                logging.getLogger("limelight").error("the engine failed; it begins anew", exc_info=error)
                broken = RuntimeError("the engine failed")
                broken.__cause__ = error
                self._give_up(broken)
                self._engine = self._new()
        with self._lock:
            self._over = True
        with suppress(queue.Empty):
            while True:
                self._commands.get_nowait()()
        self._give_up(BusyError(CLOSED, 5))

    def _obey(self) -> None:
        """Does what was asked for by now; waits for something if there is nothing to do."""
        idle = not self._engine.busy and not self._asides
        with suppress(queue.Empty):
            while True:
                self._commands.get(block=idle)()
                idle = False

    def _step(self) -> None:
        if self._engine.busy:
            step = self._engine.step()
            self.counts.steps += 1
            self._stepped = time.monotonic()
            self._hand_out(step)
        if self._asides:
            aside = self._asides[0]
            try:
                with torch.inference_mode():
                    next(aside)
                self._asides.rotate(-1)
            except StopIteration:
                self._asides.popleft()
            self._stepped = time.monotonic()

    def _submit(self, job: Job, accepted: "asyncio.Future[None]") -> None:
        try:
            for index, ask in enumerate(job.asks):
                request = self._engine.submit(
                    ask.prompt,
                    max_tokens=ask.max_tokens,
                    sampling=ask.sampling,
                    stop=ask.stop,
                    logprobs=ask.logprobs,
                    generator=torch.Generator().manual_seed(ask.seed),
                    rules=ask.rules,
                    constraint=None if ask.constraint is None else ask.constraint(),
                )
                job.requests.append(request)
                self._live[request] = (job, index)
        except Exception as error:
            for request in job.requests:
                self._engine.cancel(request)
                self._live.pop(request, None)
            self._tell(self._refuse, job, accepted, error)
        else:
            self._stepped = time.monotonic()
            self.counts.prompt += sum(len(ask.prompt) for ask in job.asks)
            self._tell(_succeed, accepted, None)

    def _refuse(self, job: Job, accepted: "asyncio.Future[None]", error: Exception) -> None:
        self.open -= len(job.asks)
        job.left.clear()
        _fail(accepted, error)

    def _cancel(self, job: Job, index: int) -> None:
        if index < len(job.requests) and self._live.pop(job.requests[index], None) is not None:
            self._engine.cancel(job.requests[index])
            self.counts.cancelled += 1
            self._tell(self._close, 1)

    def _hand_out(self, step: "Sequence[Token]") -> None:
        """Gives the tokens of a step, and errors, to those who asked."""
        found: list[tuple[Job, tuple[int, Token] | Exception]] = []
        by_row = {request.row: (request, place) for request, place in self._live.items()}
        closed = 0
        for token in step:
            if token.row not in by_row:
                continue
            request, (job, index) = by_row[token.row]
            self.counts.generated += 1
            if len(request.tokens) == request.given + 1:
                self.counts.begun += 1
                self.counts.cached += request.cached
                self.counts.first += time.monotonic() - job.asked
            found.append((job, (index, token)))
            if token.finish is not None:
                del self._live[request]
                closed += 1
        for request, (job, _) in list(self._live.items()):
            if request.finish == "error":
                assert request.error is not None
                self.counts.failed += 1
                found.append((job, request.error))
                del self._live[request]
                closed += 1
        if found:
            self._tell(self._deliver, found, closed)

    def _give_up(self, error: Exception) -> None:
        """Everything that it has been asked for ends in this error."""
        self._tell(self._deliver, [(job, error) for job, _ in self._live.values()], len(self._live))
        self._live.clear()
        for aside in self._asides:
            with suppress(StopIteration):
                aside.throw(error)
        self._asides.clear()

    def _tell(self, what: Callable[..., Any], *arguments: Any) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(what, *arguments)

    # ---- in the event loop again

    def _deliver(self, found: "list[tuple[Job, tuple[int, Token] | Exception]]", closed: int) -> None:
        for job, event in found:
            job.put(event)
        self._close(closed)

    def _close(self, closed: int) -> None:
        self.open -= closed


def _succeed(future: "asyncio.Future[Any]", found: Any) -> None:
    if not future.done():
        future.set_result(found)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)

"""The models that are served: by name, opened when one is asked for, and closed when others need their memory."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limelight.checkpoints.source import SUFFIXES, fetch, resolve
from limelight.decode.engine import position_bytes
from limelight.errors import RequestError, suggestion
from limelight.serve.api.errors import ApiError
from limelight.serve.runner import Runner
from limelight.serve.worker import Worker

if TYPE_CHECKING:
    from limelight import EncoderModel, Model

LEAST = 1024
"""Positions that the cache of a model must hold at the least, unless its context is shorter."""


class Writer:
    """A model that continues texts, and the engine that runs it. looking: how many look at it, beside the engine."""

    def __init__(self, name: str, model: "Model", rows: int, waiting: int, memory: int | None) -> None:
        self.name = name
        self.model = model
        self.runner = Runner(model.network, rows=rows, waiting=waiting, memory=memory)
        self.specials = {model.tokenizer.token(id): id for id in model.tokenizer.controls}
        self.used = time.monotonic()
        self.looking = 0

    @property
    def busy(self) -> bool:
        """Whether someone waits for it."""
        return bool(self.runner.open or self.looking)

    @property
    def alive(self) -> bool:
        """Whether it does what it has to do."""
        return self.runner.alive

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return min(self.model.network.context, self.runner.positions)

    def check(self, prompt: Sequence[int], param: str) -> None:
        """Raises ApiError for a prompt that is empty, too long or of other tokens than the model's."""
        if not prompt:
            raise ApiError("the prompt is empty; give at least one token to continue", param=param)
        if len(prompt) > self.longest:
            raise ApiError(
                f"this model's context is {self.longest:,} tokens, and the prompt has {len(prompt):,}; shorten it by "
                f"{len(prompt) - self.longest:,}",
                param=param,
                code="context_length_exceeded",
            )
        if max(prompt) >= self.model.network.vocab:
            raise ApiError(
                f"{param} holds the token {max(prompt)}; this model's vocabulary is {self.model.network.vocab:,}",
                param=param,
            )

    def close(self) -> None:
        """Ends its thread."""
        self.runner.end()


class Reader:
    """A model that reads texts whole, and the thread that runs it."""

    def __init__(self, name: str, model: "EncoderModel") -> None:
        self.name = name
        self.model = model
        self.worker = Worker()
        self.used = time.monotonic()
        self.open = 0

    @property
    def busy(self) -> bool:
        """Whether someone waits for it."""
        return bool(self.open)

    alive = True

    async def do(self, work: Any) -> Any:
        """What `work` returns, computed in its thread."""
        self.open += 1
        try:
            return await self.worker.do(work)
        finally:
            self.open -= 1

    def close(self) -> None:
        """Ends its thread."""
        self.worker.end(1.0)


class Shelf:
    """Models by the names they are asked for by; the first is the one that is meant where none is named.

    memory: bytes that all open ones may take together, weights and caches; None: as many as they want. rows, waiting:
    see `Runner`.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        rows: int = 16,
        waiting: int = 64,
        memory: int | None = None,
        device: str = "cpu",
        dtype: str | None = None,
    ) -> None:
        """Raises SourceError for a name that means nothing, RequestError for two models of one name."""
        self._paths: dict[str, str] = {}
        for each in names:
            resolve(each)
            name = _title(each)
            if name in self._paths:
                raise RequestError(f"two models are called {name!r}; name one of them by another path")
            self._paths[name] = each
        self._rows, self._waiting, self._memory = rows, waiting, memory
        self._device, self._dtype = device, dtype
        self._open: dict[str, Writer | Reader] = {}
        self._takes: dict[str, int] = {}
        self._lock = asyncio.Lock()
        self.began = int(time.time())

    @property
    def names(self) -> list[str]:
        """All names, the first one's first."""
        return list(self._paths)

    @property
    def opened(self) -> "list[Writer | Reader]":
        """Those that are open."""
        return list(self._open.values())

    def name(self, asked: str | None) -> str:
        """The name that was meant. Raises ApiError for one that there is not."""
        if asked is None:
            return self.names[0]
        name = asked if asked in self._paths else _title(asked)
        if name not in self._paths:
            raise ApiError(
                f"no model here is called {asked!r}{suggestion(asked, self._paths)}; there is {', '.join(self._paths)}",
                status=404,
                param="model",
                code="model_not_found",
            )
        return name

    async def get(self, asked: str | None) -> "Writer | Reader":
        """An open model. Raises ApiError for one that there is not or that memory has no room for, and what opening
        raises."""
        name = self.name(asked)
        async with self._lock:
            if name not in self._open:
                await self._fetch(name)
            found = self._open[name]
        found.used = time.monotonic()
        return found

    async def writer(self, asked: str | None) -> Writer:
        """An open model that continues texts. Raises ApiError for one of another kind."""
        found = await self.get(asked)
        if not isinstance(found, Writer):
            raise ApiError(f"{found.name} {found.model.kind} and writes no text; name a model that does", param="model")
        return found

    async def reader(self, asked: str | None) -> Reader:
        """An open model that reads texts whole; where none is named, the first of those. Raises ApiError."""
        if asked is None:
            for name in self.names:
                found = self._open.get(name)
                if isinstance(found, Reader):
                    asked = name
                    break
        found = await self.get(asked)
        if not isinstance(found, Reader):
            raise ApiError(
                f"{found.name} continues texts and makes no vectors of them; name a model that does", param="model"
            )
        return found

    def close(self) -> None:
        """Closes all."""
        for each in self.opened:
            each.close()
        self._open.clear()

    async def _fetch(self, name: str) -> None:
        import limelight

        path = self._paths[name]
        weights = await asyncio.to_thread(_weights, path)
        if self._memory is not None:
            self._make_room(name, weights)
        before = resident()
        model = await asyncio.to_thread(limelight.open, path, dtype=self._dtype, device=self._device)
        if isinstance(model, limelight.Translator):
            raise ApiError(f"{name} translates texts, which this server does not offer", param="model")
        weights = max(weights, resident() - before)  # with its tokenizer, and the file that it was read from
        if isinstance(model, limelight.EncoderModel):
            self._open[name], self._takes[name] = Reader(name, model), weights
            return
        room = None
        if self._memory is not None:
            room = self._memory - sum(self._takes.values()) - weights
            if self._all_fit():
                room //= max(1, len(self._paths) - len(self._open))
            least = 2 * position_bytes(model.network) * min(LEAST, model.network.context)
            if room < least:
                raise ApiError(
                    f"{name} does not fit into the {self._memory:,} bytes that this server may use: its weights take "
                    f"{weights:,}, and {LEAST:,} tokens {least:,} more",
                    status=503,
                )
            room = min(room, 2 * position_bytes(model.network) * self._rows * model.network.context)
            weights += room
        self._open[name] = Writer(name, model, self._rows, self._waiting, room)
        self._takes[name] = weights

    def _all_fit(self) -> bool:
        assert self._memory is not None
        return sum(map(_weights, self._paths.values())) * 2 < self._memory

    def _make_room(self, name: str, weights: int) -> None:
        """Closes what was not used for the longest time. Raises ApiError where that is not enough."""
        assert self._memory is not None
        idle = sorted((each for each in self.opened if not each.busy), key=lambda each: each.used)
        while idle and sum(self._takes.values()) + 2 * weights > self._memory:
            least = idle.pop(0)
            least.close()
            del self._open[least.name], self._takes[least.name]
        if sum(self._takes.values()) + weights > self._memory:
            busy = ", ".join(self._open) or "nothing else"
            raise ApiError(
                f"{name} does not fit into the {self._memory:,} bytes that this server may use beside {busy}; ask "
                "again later",
                status=503,
                code="server_overloaded",
                retry=5,
            )


def resident() -> int:
    """Bytes that this process holds in memory; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGESIZE")


def _title(name: str) -> str:
    """What to call a model that is named by a path: its folder or file."""
    path = Path(name)
    if not path.exists():
        return name
    return path.name.removesuffix(path.suffix) if path.suffix.lower() in SUFFIXES else path.absolute().name


def _weights(name: str) -> int:
    """Bytes of a model's weights, on disk."""
    path = fetch(resolve(name))
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)

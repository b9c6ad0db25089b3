"""A server under load: ``python -m benchmarks.serve [--json] [--clients N] [--http | --overload SECONDS]``.

``limelight serve`` beside llama.cpp's server (of llama-cpp-python, or the program that LLAMA_SERVER names), with the
same weights, asked the same by the same clients; and the engine without a server, to see what HTTP costs, which
``--http`` measures alone. ``--overload`` lets four times as many clients come as it holds, for so long.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from benchmarks.engines import default_file
from benchmarks.report import Row, beside, machine, table

OURS, LLAMA = "limelight", "llama.cpp"
ANSWER = 64
START, PATIENCE = 60, 120
"""Seconds that a server may take until it answers at all, and for one answer."""

SYSTEM = "You are a careful assistant who knows the rules of the house. " + " ".join(
    f"Rule {number}: when somebody asks about room {number}, say what lies in it and who may enter."
    for number in range(1, 24)
)
QUESTIONS = ("Who may enter room 3?", "What lies in room 11?", "Is room 7 open today?", "Tell me a story of room 19.")


@dataclass
class Answer:
    """What one request came to. first, last: seconds until its first and last token. status: of HTTP.

    It is read as it comes and understood when it is over: here client and server share the processor.
    """

    status: int
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0
    text: str = ""


@dataclass
class Figures:
    """What a load came to. refused: requests that were told to come back later."""

    seconds: float
    answers: list[Answer] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Tokens a second, of all together."""
        return sum(each.tokens for each in self.answers) / self.seconds

    def first(self, share: float) -> float:
        """Seconds until the first token, which this share of the requests did not exceed."""
        times = sorted(each.first for each in self.answers if each.tokens)
        return times[min(len(times) - 1, int(share * len(times)))] if times else float("nan")


class Server:
    """A server in a process of its own."""

    def __init__(self, name: str, command: Sequence[str], port: int, environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.port = port
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | (environment or {})
        )

    async def ready(self) -> None:
        """Waits until it answers. Raises RuntimeError if it ends before, TimeoutError if it takes too long."""
        async with asyncio.timeout(START):
            while (await ask(self.port, [{"role": "user", "content": "Hello"}], 1)).status != 200:
                if self._process.poll() is not None:
                    raise RuntimeError(f"{self.name} has ended")
                await asyncio.sleep(0.2)

    @property
    def processor(self) -> float:
        """Seconds of the processor's time that it has taken."""
        return processor(self._process.pid)

    @property
    def memory(self) -> int:
        """Bytes that it holds in memory."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def end(self) -> None:
        """Ends it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def processor(process: int) -> float:
    """Seconds of the processor's time that a process has taken, with those that it has started."""
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended meanwhile
            fields = stat.read_text().rsplit(")", 1)[1].split()  # from the state on
            if process in (int(stat.parent.name), int(fields[1])):
                found += sum(map(int, fields[11:15]))  # its own, and that of children which have ended
    return found / os.sysconf("SC_CLK_TCK")


class Listener(asyncio.Protocol):
    """Keeps what comes, with the time it came."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.come: list[tuple[float, bytes]] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.come.append((time.perf_counter() - self.begun, data))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)


async def ask(port: int, messages: Sequence[dict[str, str]], most: int) -> Answer:
    """One streamed chat; its status is 0 where nothing comes of it."""
    body = {"messages": messages, "max_tokens": most, "temperature": 0, "stream": True, "seed": 1}
    sent = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
    listener = Listener()
    try:
        async with asyncio.timeout(PATIENCE):
            transport, _ = await asyncio.get_running_loop().create_connection(lambda: listener, "127.0.0.1", port)
            try:
                transport.write(f"{head}content-length: {len(sent)}\r\nconnection: close\r\n\r\n".encode() + sent)
                await listener.over
            finally:
                transport.close()
        return _understood(listener.come)
    except (OSError, IndexError, TimeoutError):
        return Answer(0)


def _understood(come: Sequence[tuple[float, bytes]]) -> Answer:
    """Raises IndexError where no answer came."""
    answer = Answer(int(come[0][1].split(maxsplit=2)[1]))
    rest = b""
    for seconds, data in come:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {") and (choices := json.loads(line[6:])["choices"]):
                piece = choices[0]["delta"].get("content")
                if piece:
                    answer.tokens += 1
                    answer.text += piece
                    answer.first, answer.last = answer.first or seconds, seconds
    return answer


def opening(number: int) -> list[dict[str, str]]:
    """What the client of that number asks first."""
    question = f"{QUESTIONS[number % len(QUESTIONS)]} I am guest {number}."
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


async def crowd(port: int, clients: int, turns: int = 2) -> Figures:
    """Clients that all share a system prompt of some 500 tokens, each asking as often, one after the other."""

    async def client(number: int) -> list[Answer]:
        return [await ask(port, opening(number + clients * turn), ANSWER) for turn in range(turns)]

    return await _timed([client(number) for number in range(clients)])


async def chats(port: int, clients: int) -> Figures:
    """Conversations of 8 turns, half as many at once."""

    async def client(number: int) -> list[Answer]:
        said, answers = opening(number), []
        for turn in range(8):
            answers.append(await ask(port, said, ANSWER // 4))
            said += [{"role": "assistant", "content": answers[-1].text}, {"role": "user", "content": f"And {turn}?"}]
        return answers

    return await _timed([client(number) for number in range(clients // 2)])


async def mixed(port: int, clients: int) -> Figures:
    """A prompt of some 2,000 tokens that comes while short ones are answered."""

    async def long() -> list[Answer]:
        await asyncio.sleep(0.5)
        text = " ".join(f"Line {number} of the log says that all is well." for number in range(180))
        return [await ask(port, [{"role": "user", "content": text}], ANSWER // 4)]

    async def short(number: int) -> list[Answer]:
        return [await ask(port, opening(number)[1:], ANSWER) for _ in range(2)]

    return await _timed([long(), *(short(number) for number in range(clients // 2))])


async def _timed(work: Sequence[Awaitable[list[Answer]]]) -> Figures:
    begun = time.perf_counter()
    found = await asyncio.gather(*work)
    return Figures(time.perf_counter() - begun, [answer for each in found for answer in each])


LOADS: dict[str, Callable[[int, int], Awaitable[Figures]]] = {"crowd": crowd, "chats": chats, "mixed": mixed}


async def overload(server: Server, clients: int, seconds: float) -> dict[str, Any]:
    """So many clients for so long: what became of every request, and the server's bytes from minute to minute."""
    end = time.perf_counter() + seconds
    memory: list[int] = []

    async def client(number: int) -> list[Answer]:
        answers = []
        while time.perf_counter() < end:
            answers.append(await ask(server.port, opening(number + clients * len(answers)), ANSWER // 2))
            if answers[-1].status != 200:
                await asyncio.sleep(1.0)  # as it asks for
        return answers

    async def watch() -> list[Answer]:
        while (left := end - time.perf_counter()) > 0:
            await asyncio.sleep(min(left, 60.0, seconds / 10))
            memory.append(server.memory)
        return []

    found = await _timed([watch(), *(client(number) for number in range(clients))])
    statuses = [each.status for each in found.answers]
    return {
        "seconds": found.seconds,
        "clients": clients,
        "answered": statuses.count(200),
        "refused": statuses.count(503),
        "lost": sum(status not in (200, 503) for status in statuses),
        "unfinished": sum(each.status == 200 and not each.tokens for each in found.answers),
        "first token, half of them and 95 %, s": [found.first(0.5), found.first(0.95)],
        "MB, from tenth to tenth": [round(each / 1e6) for each in memory],
    }


class Alone:
    """The engine without a server, asked what `crowd` asks, by conversations as a server is."""

    def __init__(self, path: str, clients: int) -> None:
        import limelight
        from limelight.decode import Engine

        model = limelight.open(path, kind=limelight.Model)
        self._tokenizer = model.tokenizer
        self._clients = clients
        self._engine = Engine(model.network, rows=clients)

    def run(self, turns: int = 2) -> float:
        """Tokens a second."""
        begun, made, asked = time.perf_counter(), 0, 0

        def ask() -> None:
            nonlocal asked
            if asked < turns * self._clients:
                prompt = self._tokenizer.encode(self._tokenizer.chat(opening(asked)), special=True).ids
                self._engine.submit(prompt, max_tokens=ANSWER, stop=self._tokenizer.eos)
                asked += 1

        for _ in range(self._clients):
            ask()
        while self._engine.busy:
            for token in self._engine.step():
                made += token.finish != "stop"
                if token.finish is not None:
                    ask()
        return made / (time.perf_counter() - begun)


async def http(server: Server, path: str, clients: int, runs: int = 5, turns: int = 6) -> list[Row]:
    """What the server takes beyond its engine, asked the same in turns; medians, the first of each not counted.

    Each client asks `turns` times, one after the other, as the engine is asked."""
    alone = await asyncio.to_thread(Alone, path, clients)
    served, engine, speeds = [], [], []
    for _ in range(runs + 1):
        before = server.processor
        speeds.append((await crowd(server.port, clients, turns)).speed)
        served.append(server.processor - before)
        before = processor(os.getpid()) - server.processor
        speeds[-1] /= await asyncio.to_thread(alone.run, turns)
        engine.append(processor(os.getpid()) - server.processor - before)
    ours, bare = median(served[1:]), median(engine[1:])
    shown = ", ".join(f"{100 * speed:.1f}" for speed in speeds[1:])
    print(f"HTTP: {shown} % of the engine's speed; processor {ours:.2f} s served, {bare:.2f} s alone", file=sys.stderr)
    return [
        Row("crowd: processor's time beyond the engine alone", 100 * (ours / bare - 1), 5.0, "bar", None, "%"),
        Row("crowd: speed served, of the engine alone", 100 * median(speeds[1:]), 95.0, "bar", None, "%"),
    ]


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def own(path: str, clients: int, *options: str) -> Server:
    """``limelight serve``."""
    port = _port()
    command = [sys.executable, "-m", "limelight", "serve", "--model", path, "--port", str(port), "--rows", str(clients)]
    return Server(OURS, [*command, *options], port)


def servers(path: str, clients: int) -> tuple[list[Server], dict[str, str]]:
    """Those that can be started, and why the others cannot."""
    theirs = _port()
    found, missing = [own(path, clients)], {}
    if program := os.environ.get("LLAMA_SERVER"):
        options = ["--parallel", str(clients), "--ctx-size", str(2560 * clients), "--threads", str(os.cpu_count())]
        found.append(Server(LLAMA, [program, "--model", path, "--port", str(theirs), *options], theirs))
    elif find_spec("llama_cpp") and find_spec("sse_starlette"):
        # As it comes, a new request ends the answer that is being written.
        options = [
            "--host",
            "127.0.0.1",
            "--n_ctx",
            "2560",
            "--n_threads",
            str(os.cpu_count()),
            "--interrupt_requests",
            "false",
        ]
        found.append(
            Server(
                LLAMA,
                [sys.executable, "-m", "llama_cpp.server", "--model", path, "--port", str(theirs), *options],
                theirs,
            )
        )
    else:
        missing[LLAMA] = "neither LLAMA_SERVER nor llama-cpp-python[server]"
    return found, missing


def measure(path: str, clients: int = 16) -> dict[str, Any]:
    """All rows. figures: those of every server, by load."""
    running, missing = servers(path, clients)
    try:
        return uvloop.run(_measure(running, missing, path, clients))
    finally:
        for server in running:
            server.end()


def cost(path: str, clients: int) -> dict[str, Any]:
    """The rows of `http` alone."""
    server = own(path, clients)

    async def run() -> list[Row]:
        await server.ready()
        return await http(server, path, clients)

    try:
        return {"machine": machine(), "rows": [asdict(row) for row in uvloop.run(run())], "figures": {}}
    finally:
        server.end()


def overloaded(path: str, clients: int, seconds: float) -> dict[str, Any]:
    """What `overload` says of four times as many clients as write and wait, and a server with a gigabyte."""
    waiting = 3 * clients
    server = own(path, clients, "--waiting", str(waiting), "--memory", "1GB")

    async def run() -> dict[str, Any]:
        await server.ready()
        return await overload(server, 4 * (clients + waiting), seconds)

    try:
        return {"machine": machine(), "rows": [], "figures": {"overload": uvloop.run(run())}}
    finally:
        server.end()


async def _measure(running: list[Server], missing: dict[str, str], path: str, clients: int) -> dict[str, Any]:
    for server in running:
        await server.ready()
    rows: list[Row] = []
    figures: dict[str, Any] = {}
    for name, load in LOADS.items():
        found = {}
        for server in running:
            found[server.name] = await load(server.port, clients)
            print(f"{name}, {server.name}: {found[server.name].seconds:.1f} s", file=sys.stderr)
        lost = {server: sum(answer.status != 200 for answer in each.answers) for server, each in found.items()}
        for unit, value in (
            ("tokens/s", lambda each: each.speed),
            ("s", lambda each: each.first(0.5)),
            ("s", lambda each: each.first(0.95)),
        ):
            values = {server: value(each) for server, each in found.items()}
            what = {"tokens/s": "all together", "s": "first token"}[unit]
            what += {1: ", half of them", 2: ", 95 % of them"}.get(len(rows) % 3, "")
            rows.append(beside(f"{name}: {what}", unit, values.pop(OURS), values, missing))
            figures[rows[-1].name] = {OURS: rows[-1].ours, **values}
        figures[f"{name}, lost"] = lost
    rows += await http(running[0], path, clients)
    figures["memory"] = {server.name: server.memory for server in running}
    return {"machine": machine(), "rows": [asdict(row) for row in rows], "figures": figures, "missing": missing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--clients", type=int, default=16)
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--http", action="store_true", help="only what HTTP costs")
    only.add_argument("--overload", type=float, metavar="SECONDS", help="only too many clients, for so long")
    given = parser.parse_args()
    path = default_file()
    if given.overload:
        result = overloaded(path, given.clients, given.overload)
    else:
        result = cost(path, given.clients) if given.http else measure(path, given.clients)
    print(
        json.dumps(result, indent=1) if given.json else f"{table(result)}\n\n{json.dumps(result['figures'], indent=1)}"
    )


if __name__ == "__main__":
    main()

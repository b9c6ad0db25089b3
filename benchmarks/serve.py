"""A server under load: ``python -m benchmarks.serve [--json] [--clients N] [--overload SECONDS]``.

``limelight serve`` beside llama.cpp's server (of llama-cpp-python, or the program that LLAMA_SERVER names), with the
same weights, asked the same by the same clients; and the engine without a server, to see what HTTP costs.
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
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

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
    """What one request came to. first, last: seconds until its first and last token. status: of HTTP."""

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


async def ask(port: int, messages: Sequence[dict[str, str]], most: int) -> Answer:
    """One streamed chat; its status is 0 where nothing comes of it."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await _ask(port, messages, most)
    except (OSError, IndexError, TimeoutError):
        return Answer(0)


async def _ask(port: int, messages: Sequence[dict[str, str]], most: int) -> Answer:
    body = {"messages": messages, "max_tokens": most, "temperature": 0, "stream": True, "seed": 1}
    sent = json.dumps(body).encode()
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}content-length: {len(sent)}\r\nconnection: close\r\n\r\n".encode() + sent)
        answer = Answer(int((await reader.readline()).split()[1]))
        while line := await reader.readline():
            if line.startswith(b"data: {") and (choices := json.loads(line[6:])["choices"]):
                piece = choices[0]["delta"].get("content")
                if piece:
                    answer.tokens += 1
                    answer.text += piece
                    answer.last = time.perf_counter() - begun
                    answer.first = answer.first or answer.last
        return answer
    finally:
        writer.close()


def opening(number: int) -> list[dict[str, str]]:
    """What the client of that number asks first."""
    question = f"{QUESTIONS[number % len(QUESTIONS)]} I am guest {number}."
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


async def crowd(port: int, clients: int) -> Figures:
    """Clients that all share a system prompt of some 500 tokens, two answers each."""

    async def client(number: int) -> list[Answer]:
        return [await ask(port, opening(number + clients * turn), ANSWER) for turn in range(2)]

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
    """Many more clients than the server holds, for a while: what became of every request, and of its memory."""
    end = time.perf_counter() + seconds
    memory: list[int] = []

    async def client(number: int) -> list[Answer]:
        answers = []
        while time.perf_counter() < end:
            answers.append(await ask(server.port, opening(number + len(answers)), ANSWER // 2))
            if answers[-1].status != 200:
                await asyncio.sleep(0.5)
        return answers

    async def watch() -> list[Answer]:
        while time.perf_counter() < end:
            memory.append(server.memory)
            await asyncio.sleep(seconds / 20)
        return []

    found = await _timed([watch(), *(client(number) for number in range(clients))])
    statuses = [each.status for each in found.answers]
    return {
        "answered": statuses.count(200),
        "refused": statuses.count(503),
        "lost": sum(status not in (200, 503) for status in statuses),
        "unfinished": sum(each.status == 200 and not each.tokens for each in found.answers),
        "memory": [memory[len(memory) // 4], memory[-1]],
    }


def alone(path: str, clients: int) -> float:
    """Tokens a second of the engine without a server, asked what `crowd` asks."""
    import limelight
    from limelight.decode import Engine

    model = limelight.open(path, kind=limelight.Model)
    tokenizer = model.tokenizer
    prompts = [tokenizer.encode(tokenizer.chat(opening(number)), special=True).ids for number in range(2 * clients)]
    engine = Engine(model.network, rows=clients)
    begun, made, asked = time.perf_counter(), 0, clients
    for prompt in prompts[:clients]:
        engine.submit(prompt, max_tokens=ANSWER, stop=tokenizer.eos)
    while engine.busy:
        for token in engine.step():
            made += token.finish != "stop"
            if token.finish is not None and asked < len(prompts):
                engine.submit(prompts[asked], max_tokens=ANSWER, stop=tokenizer.eos)
                asked += 1
    return made / (time.perf_counter() - begun)


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def servers(path: str, clients: int) -> tuple[list[Server], dict[str, str]]:
    """Those that can be started, and why the others cannot."""
    ours, theirs = _port(), _port()
    command = [sys.executable, "-m", "limelight", "serve", "--model", path, "--port", str(ours), "--rows", str(clients)]
    found, missing = [Server(OURS, command, ours)], {}
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


def measure(path: str, clients: int = 16, seconds: float = 0.0) -> dict[str, Any]:
    """All rows. figures: those of every server, by load."""
    running, missing = servers(path, clients)
    try:
        return asyncio.run(_measure(running, missing, path, clients, seconds))
    finally:
        for server in running:
            server.end()


async def _measure(
    running: list[Server], missing: dict[str, str], path: str, clients: int, seconds: float
) -> dict[str, Any]:
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
    engine = await asyncio.to_thread(alone, path, clients)
    rows.append(Row("crowd: the engine alone", engine, None, "", None, "tokens/s"))
    figures["memory"] = {server.name: server.memory for server in running}
    if seconds:
        figures["overload"] = await overload(running[0], 4 * (clients + 64), seconds)
    return {"machine": machine(), "rows": [asdict(row) for row in rows], "figures": figures, "missing": missing}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--overload", type=float, default=0.0, metavar="SECONDS")
    given = parser.parse_args()
    result = measure(default_file(), given.clients, given.overload)
    print(
        json.dumps(result, indent=1) if given.json else f"{table(result)}\n\n{json.dumps(result['figures'], indent=1)}"
    )


if __name__ == "__main__":
    main()

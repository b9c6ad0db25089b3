"""The models that are served: what they are called, how much memory each takes, and which is closed for another."""

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import pytest

import limelight
from limelight.decode.engine import position_bytes
from limelight.errors import RequestError
from limelight.serve.api import shelf as shelves
from limelight.serve.api.errors import ApiError
from limelight.serve.api.shelf import Reader, Shelf, Writer


@pytest.fixture
def paths(tiny: Path, tmp_path: Path) -> list[str]:
    """The tiny model by three names."""
    for name in "abc":
        (tmp_path / name).symlink_to(tiny)
    return [str(tmp_path / name) for name in "abc"]


@pytest.fixture
def model(tiny: Path) -> limelight.Model:
    return limelight.open(tiny, kind=limelight.Model)


def refused(call: Any) -> ApiError:
    with pytest.raises(ApiError) as error:
        call()
    return error.value


def test_models_are_called_by_their_folders_and_files(tiny: Path, paths: list[str], tmp_path: Path) -> None:
    file = tmp_path / "some.model.GGUF"
    file.write_bytes(b"")
    shelf = Shelf([*paths, str(file)])
    assert (shelf.names, shelf.opened) == (["a", "b", "c", "some.model"], [])
    for asked, name in ((None, "a"), ("b", "b"), (paths[2], "c"), (str(file), "some.model")):
        assert shelf.name(asked) == name
    error = refused(lambda: shelf.name("some.modell"))
    assert str(error) == (
        "no model here is called 'some.modell'; did you mean 'some.model'?; there is a, b, c, some.model"
    )
    assert (error.status, error.param, error.code) == (404, "model", "model_not_found")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a").symlink_to(tiny)
    with pytest.raises(RequestError, match=r"^two models are called 'a'; name one of them by another path$"):
        Shelf([paths[0], str(tmp_path / "more" / "a")])


def test_a_prompt_fits_the_model_or_is_told_why_not(model: limelight.Model) -> None:
    writer = Writer("it", model, 2, 3, None)
    longest, vocab = model.network.context, model.network.vocab
    assert (writer.longest, writer.runner._rows, writer.runner._most) == (longest, 2, 5)
    assert writer.specials == {token: model.tokenizer.id(token) for token in ("<|im_start|>", "<|im_end|>")} | {
        "<|endoftext|>": model.tokenizer.id("<|endoftext|>")
    }
    writer.check([0] * longest, "prompt")
    writer.check([vocab - 1], "prompt")
    for prompt, said, code in (
        ([], "the prompt is empty; give at least one token to continue", None),
        (
            [0] * (longest + 1004),
            f"this model's context is {longest:,} tokens, and the prompt has {longest + 1004:,}; shorten it by 1,004",
            "context_length_exceeded",
        ),
        ([3, vocab, 5], f"messages holds the token {vocab}; this model's vocabulary is {vocab:,}", None),
    ):
        error = refused(lambda prompt=prompt: writer.check(prompt, "messages"))
        assert (str(error), error.param, error.code, error.status) == (said, "messages", code, 400)
    assert not writer.busy
    writer.looking = 1
    assert writer.busy
    assert writer.alive
    writer.close()
    assert not writer.alive


def test_a_cache_of_few_positions_holds_a_shorter_text(model: limelight.Model) -> None:
    writer = Writer("it", model, 1, 0, 2 * 100 * position_bytes(model.network))
    assert writer.longest == writer.runner.positions == 100
    writer.close()


def test_a_reader_is_busy_while_it_reads() -> None:
    async def run() -> None:
        reader = Reader("it", cast(Any, None))
        assert await reader.do(lambda: (reader.open, reader.busy)) == (1, True)
        assert (reader.open, reader.busy, reader.alive) == (0, False, True)
        with pytest.raises(ZeroDivisionError):
            await reader.do(lambda: 1 // 0)
        assert not reader.busy
        reader.close()
        with pytest.raises(RuntimeError, match="shutdown"):
            reader.worker.submit(lambda: 1)

    asyncio.run(run())


def test_a_model_is_opened_once_and_as_it_was_asked_for(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    opening = limelight.open

    def recorded(path: Any, **how: Any) -> Any:
        opened.append((path, how))
        return opening(path)

    monkeypatch.setattr(limelight, "open", recorded)
    shelf = Shelf(paths[:2], rows=3, waiting=4, device="there", dtype="bfloat16")
    first, same, other = (asyncio.run(shelf.get(name)) for name in (None, "a", "b"))
    assert opened == [(path, {"device": "there", "dtype": "bfloat16"}) for path in paths[:2]]
    assert first is same
    assert first.used < other.used
    assert (first.name, other.name, shelf.opened) == ("a", "b", [first, other])
    assert isinstance(first, Writer)
    assert (first.runner._rows, first.runner._most, first.runner._memory) == (3, 7, None)
    shelf.close()
    assert shelf.opened == []
    assert not first.alive


def test_models_are_asked_for_what_they_do(
    tiny: Path, embedder: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        shelf = Shelf([*paths[:1], str(embedder)])
        with pytest.raises(ApiError) as error:
            await shelf.reader(None)  # none is open
        assert (str(error.value), error.value.param) == (
            "a continues texts and makes no vectors of them; name a model that does",
            "model",
        )
        reader = await shelf.reader("embedder")
        assert await shelf.reader(None) is reader  # the first that reads, once there is one
        with pytest.raises(ApiError) as error:
            await shelf.writer("embedder")
        said = f"embedder {reader.model.kind} and writes no text; name a model that does"
        assert (str(error.value), error.value.param) == (said, "model")
        shelf.close()
        translator = object.__new__(limelight.Translator)
        monkeypatch.setattr(limelight, "open", lambda *_, **how: translator)
        with pytest.raises(ApiError) as error:
            await Shelf(paths[:1]).get(None)
        assert str(error.value) == "a translates texts, which this server does not offer"
        assert error.value.param == "model"

    asyncio.run(run())


def weights(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def test_memory_is_shared_out(
    tiny: Path, paths: list[str], model: limelight.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all fit, each has an equal part of what is left; else the first takes what it can use."""
    monkeypatch.setattr(shelves, "resident", lambda: 0)
    each, position = weights(tiny), 2 * position_bytes(model.network)
    least, most = 1024 * position, 3 * model.network.context * position

    def rooms(memory: int, rows: int = 100, count: int = 2) -> list[int]:
        shelf = Shelf(paths[:count], rows=rows, memory=memory)
        found = []
        for name in shelf.names:
            writer = asyncio.run(shelf.writer(name))
            room = writer.runner._memory
            assert room is not None
            assert shelf._takes[name] == each + room
            found.append(room)
        shelf.close()
        return found

    for left in (2 * least, 2 * least + 2 * each + 1000):
        memory = 4 * each + 1 + left
        first = (memory - each) // 2
        assert rooms(memory) == [first, memory - 2 * each - first]
    assert rooms(each + 10 * most, rows=3, count=1) == [most]  # as much as so many texts can fill
    assert rooms(each + least, count=1) == [least]
    shelf = Shelf(paths[:1], memory=each + least - 1)
    error = refused(lambda: asyncio.run(shelf.get(None)))
    assert (str(error), error.status, error.code, error.retry) == (
        f"a does not fit into the {each + least - 1:,} bytes that this server may use: its weights take {each:,}, and "
        f"1,024 tokens {least:,} more",
        503,
        None,
        None,
    )
    assert shelf.opened == []


def test_what_a_model_takes_beside_its_file_is_counted(
    tiny: Path, paths: list[str], embedder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for more in (-1, 5):
        held = iter([1000, 1000 + weights(tiny) + more])
        monkeypatch.setattr(shelves, "resident", lambda held=held: next(held))
        shelf = Shelf(paths[:1])
        asyncio.run(shelf.get(None))
        assert shelf._takes == {"a": weights(tiny) + max(more, 0)}
        shelf.close()


class Held:
    """An open model that takes some memory."""

    def __init__(self, name: str, used: float, busy: bool = False) -> None:
        self.name, self.used, self.busy, self.closed = name, used, busy, False

    def close(self) -> None:
        self.closed = True


def test_room_is_made_by_closing_what_was_not_used_for_longest(paths: list[str]) -> None:
    def shelf(memory: int, *held: Held) -> Any:
        found: Any = Shelf(paths, memory=memory)
        found._open = {each.name: each for each in held}
        found._takes = {each.name: 100 for each in held}
        return found

    held = [Held("a", 3.0), Held("b", 1.0, busy=True), Held("c", 2.0)]
    full = shelf(320, *held)
    full._make_room("new", 10)  # as much again is left for its cache: 300 + 2 · 10
    assert list(full._open) == ["a", "b", "c"]
    full._make_room("new", 11)
    assert list(full._open) == list(full._takes) == ["a", "b"]
    assert [each.closed for each in held] == [False, False, True]
    full._make_room("new", 220)  # without its cache, beside what is busy
    assert list(full._open) == ["b"]
    error = refused(lambda: full._make_room("new", 221))
    assert (error.status, error.code, error.retry) == (503, "server_overloaded", 5)
    assert str(error) == "new does not fit into the 320 bytes that this server may use beside b; ask again later"
    assert "beside nothing else;" in str(refused(lambda: shelf(9)._make_room("new", 10)))
    two = shelf(100, Held("a", 1.0, busy=True), Held("b", 1.0, busy=True))
    assert "beside a, b;" in str(refused(lambda: two._make_room("new", 10)))


def test_memory_and_weights_are_counted_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    for name, size in (("a.safetensors", 10), ("deep/b.BIN", 20), ("config.json", 5)):
        (tmp_path / name).write_bytes(bytes(size))
    assert shelves._weights(str(tmp_path)) == 30
    assert shelves._weights(str(tmp_path / "a.safetensors")) == 10
    monkeypatch.setattr(Path, "read_text", lambda self: "11 7 5 3 0 4 0\n" if str(self) == "/proc/self/statm" else "")
    assert shelves.resident() == 7 * os.sysconf("SC_PAGESIZE")

    def missing(self: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert shelves.resident() == 0

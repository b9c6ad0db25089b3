"""Requests that are kept, without a server: how many, how long, what is told of them; and a server's figures."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from cli.tiny_models import trained

from limelight.serve.api import kept
from limelight.serve.api.errors import ApiError
from limelight.serve.api.kept import Keep, Kept, Look, look
from limelight.serve.api.metrics import metrics
from limelight.serve.api.shelf import Writer
from limelight.serve.choice import Choice
from limelight.serve.runner import Counts

TOKENIZER = trained()


def writing(id: str, *ids: list[int]) -> Any:
    """A request of which texts of these tokens came."""
    made = [Choice(TOKENIZER, [], text=f"text of {len(each)}", finish="stop", ids=each) for each in ids]
    asks = [SimpleNamespace(prompt=(1, 2), seed=5 + place) for place in range(len(ids))]
    return SimpleNamespace(id=id, asks=asks, made=made, created=77, writer=SimpleNamespace(name="it", looking=0))


def test_the_last_ones_are_kept_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(kept.time, "monotonic", lambda: now[0])
    keep = Keep(2)
    for id in "abc":
        keep.put(writing(id))
        now[0] += 1
    assert keep.ids == ["c", "b"]
    assert keep.get("b").since == 1001
    now[0] = 1001 + 3600.0
    assert keep.ids == ["c", "b"]
    now[0] += 0.5
    assert keep.ids == ["c"]
    for id, most, why in (
        ("b", keep, "it is too old, or was never here"),
        ("c", Keep(0), "start the server with --keep N to have them kept"),
    ):
        most.put(writing("d")) if most is not keep else None
        with pytest.raises(ApiError) as error:
            most.get(id)
        assert str(error.value) == f"no request {id!r} is kept: {why}"
        assert (error.value.status, error.value.code, error.value.param) == (404, "request_not_found", None)
    assert keep.get("c").writing.id == "c"


def test_a_request_is_told_whole() -> None:
    keep, messages = Keep(1), [{"role": "user", "content": "a"}]
    keep.put(writing("a", [3, 4], []), messages, user="me", metadata=None)
    assert keep.get("a").about() == {
        "id": "a",
        "object": "request",
        "created": 77,
        "model": "it",
        "user": "me",
        "messages": messages,
        "choices": [
            {
                "index": index,
                "prompt_tokens": [1, 2],
                "seed": 5 + index,
                "tokens": ids,
                "text": f"text of {len(ids)}",
                "finish_reason": "stop",
            }
            for index, ids in enumerate(([3, 4], []))
        ],
    }
    with pytest.raises(ApiError, match="there is no choice 2: this request has 2") as error:
        keep.get("a").choice(2)
    assert error.value.param == "choice"
    assert keep.get("a").choice(1)[0].seed == 6
    keep.put(writing("b", [3]))
    assert keep.get("b").about()["messages"] is None


def test_an_answer_without_tokens_is_not_looked_into() -> None:
    eos = min(TOKENIZER.eos)
    assert kept._answer(writing("a", [3, 4, eos]).made[0]) == [3, 4]
    assert kept._answer(writing("a", [eos, 4]).made[0]) == [eos, 4]
    request = Kept(writing("a", [eos], []), None, {}, 0.0)
    for choice in (0, 1):
        with pytest.raises(ApiError, match="this answer has no tokens to look at") as error:
            asyncio.run(look(request, Look(choice=choice), None))  # type: ignore[arg-type]
        assert error.value.param == "choice"
    with pytest.raises(ApiError, match="word and sentence ask about two things; give one of them"):
        asyncio.run(look(request, Look(word="1", sentence="1"), None))  # type: ignore[arg-type]


def test_the_page_shows_what_it_can() -> None:
    seen: Any = SimpleNamespace(text="a b&c", answer="It is.")

    def page(*roles: str) -> str | None:
        messages = [{"role": role, "content": "é"} for role in roles]
        return kept._page(Kept(writing("a"), messages if roles else None, {}, 0.0), seen)

    assert page() == "#text=a+b%26c"
    assert page("user", "tool") is page("system", "user") is None
    talk = "%5B%5B%22u%22%2C+%22%5Cu00e9%22%5D%2C+%5B%22a%22%2C+%22It+is.%22%5D%5D"  # [["u", "é"], ["a", "It is."]]
    assert page("user") == f"#mode=ask&talk={talk}"


def test_figures_are_written_as_prometheus_reads_them() -> None:
    def opened(name: str, first: float, alive: bool) -> Writer:
        found = object.__new__(Writer)
        counts = Counts(steps=1, prompt=2, cached=3, generated=4, begun=5, first=first, cancelled=6, failed=7)
        runner: Any = SimpleNamespace(running=8, waiting=9, alive=alive, nbytes=10, counts=counts)
        found.name, found.runner = name, runner
        return found

    shelf: Any = SimpleNamespace(opened=[opened("a", 0.25, True), object(), opened('b\\"\n', 1e7, False)])
    values = {
        "running": ("gauge", 8, 8),
        "waiting": ("gauge", 9, 9),
        "alive": ("gauge", 1, 0),
        "cache_bytes": ("gauge", 10, 10),
        "steps_total": ("counter", 1, 1),
        "prompt_tokens_total": ("counter", 2, 2),
        "cached_tokens_total": ("counter", 3, 3),
        "generated_tokens_total": ("counter", 4, 4),
        "first_token_seconds_sum": ("counter", "0.25", "1e+07"),
        "first_token_seconds_count": ("counter", 5, 5),
        "cancelled_total": ("counter", 6, 6),
        "failed_total": ("counter", 7, 7),
    }
    text = metrics(shelf)
    assert text.endswith("\n")
    told = [line for line in text.split("\n")[:-1] if not line.startswith("# HELP")]
    expected = []
    for name, (kind, first, second) in values.items():
        expected += [f"# TYPE limelight_{name} {kind}", f'limelight_{name}{{model="a"}} {first}']
        expected.append(f'limelight_{name}{{model="b\\\\\\"\\n"}} {second}')
    assert told == expected
    helps = [line.split(" ", 3) for line in text.splitlines() if line.startswith("# HELP")]
    assert [name for _, _, name, _ in helps] == [f"limelight_{name}" for name in values]
    assert all(what[0].isupper() or what[0] == "1" for *_, what in helps)
    assert all(what.endswith(".") for *_, what in helps)

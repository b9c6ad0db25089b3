"""What a page's session opens, lists, keeps and refuses, without a server."""

import asyncio
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.tiny_models import SENTENCE

import limelight
from limelight.checkpoints import source
from limelight.checkpoints.source import Listed
from limelight.decode import Sampling
from limelight.errors import RequestError
from limelight.serve import races, session
from limelight.serve.runner import Runner
from limelight.serve.session import PageSession
from limelight.serve.writing import written


@pytest.fixture
def page(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageSession]:
    monkeypatch.setattr(session, "RUNS", tmp_path)
    monkeypatch.setattr(source, "available", list)
    found = PageSession(str(tiny))
    yield found
    found.end(9)


def silent(done: int, total: int, note: str) -> None:
    pass


def test_nothing_is_answered_before_a_model_is_open(page: PageSession) -> None:
    assert not page.is_open
    assert not page.has_roles
    assert page.progress == {"done": 0, "total": 0, "note": "waiting until the model is free"}
    for ask in (page.about, page.roles, lambda: page.views("a"), lambda: page.network("a")):
        with pytest.raises(RequestError, match="no model is open yet; wait until it is, or choose another one"):
            ask()


def test_what_is_opened_tells_how_far_it_is(page: PageSession, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opening, opened, told = limelight.open, [], []
    page = PageSession(str(tiny), "there", "bfloat16")

    def slow(name: str, progress: Any, **how: Any) -> Any:
        opened.append((name, how))
        told.append(page.progress)
        progress(3, 7, "reading")
        told.append(page.progress)
        return opening(name)

    monkeypatch.setattr(limelight, "open", slow)
    page.open(str(tiny), lambda *each: told.append(each))
    assert told == [
        {"done": 0, "total": 0, "note": "opening the model"},
        (3, 7, "reading"),
        {"done": 3, "total": 7, "note": "reading"},
    ]
    assert opened == [(str(tiny), {"device": "there", "dtype": "bfloat16"})]
    assert page.progress["note"] == "waiting until the model is free"
    page.open(str(tiny), silent)  # which is open
    assert len(opened) == 1
    with pytest.raises(RequestError, match="no model here is called '/etc'"):
        page.open("/etc", silent)
    page.expect(str(tiny))
    with pytest.raises(RequestError) as error:
        page.expect("other")
    assert str(error.value) == f"another window has put {str(tiny)!r} in the place of 'other'; reload this page"
    assert page.end(9)


def test_what_may_be_opened_is_listed_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "RUNS", tmp_path)
    for run in ("b", "a/deep", "a/b/too deep"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "settings.toml").write_text("")
    known = Listed("known", "title \udcff", "kind", "task", 5, None)
    monkeypatch.setattr(source, "available", lambda: [known])
    trainings = [Listed(str(path), "", "", "", 0, path) for path in (tmp_path / "a" / "deep", tmp_path / "b")]
    shown = Listed("known", "title \\xff", "kind", "task", 5, None)
    assert PageSession("known").listed() == [shown, *trainings]
    first = Listed("of\\xff me", "", "", "", 0, None)
    odd = PageSession("of\udcff me")
    assert odd.listed() == [first, shown, *trainings]
    assert odd.name == "of\\xff me"
    assert odd._path("of\\xff me") == "of\udcff me"
    assert odd._path("known") == "known"
    with pytest.raises(RequestError, match="no model here is called 'knwon'; did you mean 'known'"):
        odd.open("knwon", silent)


def test_looks_are_kept_until_another_model_is_open(page: PageSession, tiny: Path) -> None:
    model = limelight.open(tiny, kind=limelight.Model)
    page.put(model)
    assert (page.name, page.is_open, page.listed()[0].name) == (str(tiny), True, str(tiny))
    talk: Any = [{"role": "user", "content": "cat?"}, {"role": "assistant", "content": "It is."}]
    views, said = page.views(SENTENCE), page.conversation(talk)
    assert page.conversation(list(talk)) is said
    assert page.conversation([talk[0], {"role": "assistant", "content": "Yes."}]) is not said
    text = page.text_views(SENTENCE, "")
    heads = page.attention(text, 1)
    assert heads.shape == (4, 10, 10)
    assert page.attention(text, 1) is heads
    assert page.attention(text, 2) is not heads
    assert not page.has_roles
    assert page.roles() is page.roles()
    assert page.has_roles
    assert page.edited("a b", [], [], True, None) is not views
    web = page.network(SENTENCE)
    assert (web["model"], web["both"], web["words"]) == (None, False, SENTENCE.split())
    page.put(model)
    assert page.views(SENTENCE) is not views
    assert not page.has_roles


def test_a_model_is_told_by_its_name_and_shape(page: PageSession, tiny: Path) -> None:
    page.open(str(tiny), silent)
    about = page.about()
    methods = about.pop("methods")
    heads = about.pop("heads")
    assert about == {"name": str(tiny), "translates": False, "reads": None, "chats": True}
    assert len(heads) == 3
    assert {"blocking", "alti-logit", "attention", "leave-one-out"} <= {method["name"] for method in methods}
    assert all(method.keys() == {"name", "title"} for method in methods)
    with pytest.raises(RequestError, match="this model continues texts; open one that translates to look at this"):
        page.translation_views("a", "b")
    with pytest.raises(RequestError, match="no model here is called 'other'"):
        page.edited("a b", [], [], True, "other")


def test_a_page_has_an_engine_of_its_own_or_anothers(page: PageSession, tiny: Path) -> None:
    model = limelight.open(tiny, kind=limelight.Model)
    page.put(model)
    _, own = page._writing()
    assert page._writing()[1] is own
    assert (own._rows, own._most) == (4, 104)
    shared = Runner(model.network, rows=1, waiting=1)
    page.put(model, shared)
    assert not own.alive
    assert page._writing()[1] is shared
    page.put(model)
    assert shared.alive  # it is somebody else's
    shared.end()
    _, own = page._writing()
    assert page.end(9)
    assert not own.alive


def test_a_text_is_written_token_by_token_beside_what_was_likely(tiny: Path) -> None:
    model = limelight.open(tiny, kind=limelight.Model)
    ids = model.encode(SENTENCE)
    runner = Runner(model.network, rows=1, waiting=0)

    async def lines(most: int, stop: Any = ()) -> list[Any]:
        sampling = Sampling(seed=3, temperature=1.5)
        found = [line async for line in written(runner, model.tokenizer, ids, most, sampling, stop)]
        while runner.open:
            await asyncio.sleep(0)
        return found

    found = asyncio.run(lines(6))
    assert [line["finish"] for line in found] == [None] * 5 + ["length"]
    row = model.network(torch.tensor([ids]))[0, -1].softmax(-1)
    best = row.topk(5)
    first = found[0]["likely"]
    assert [text for text, _ in first] == [model.tokenizer.spell(int(id)) for id in best.indices]
    assert [share for _, share in first] == pytest.approx(best.values.tolist(), rel=1e-4)
    assert all(line["chosen"] is None or line["chosen"] in range(5) for line in found)
    assert len({line["chosen"] for line in found}) > 1
    assert math.isclose(sum(share for _, share in first), float(best.values.sum()), rel_tol=1e-4)
    text = "".join(line["piece"] for line in found)
    assert "".join(line["piece"] for line in asyncio.run(lines(6))) == text  # the same seed
    cut = asyncio.run(lines(6, [text[3]]))
    assert "".join(line["piece"] for line in cut) == text[: text.index(text[3])]
    assert cut[-1]["finish"] == "stop"
    runner.end()


RACE = (
    "what,problem,contender,by,at,value\n"
    "right,recall,a,tokens,4 facts,0.5\nright,other,a,tokens,4 facts,0.9\nleft,recall,a,tokens,4 facts,0.9\n"
    "read,,a,,016,2\nread,,b,,32,3\n"
)


def test_the_newest_race_that_has_results_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(races, "RACES", tmp_path)
    assert races.measured() is None
    for age, name in enumerate(("b", "a"), 1):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "results.csv"
        file.write_text(RACE.replace(",2\n", f",{age}\n"))
        os.utime(file, (1000 * age, 1000 * age))
    costs = {"a": {"16": {"read": 2.0}}, "b": {"32": {"read": 3.0}}}
    assert races.measured() == {"name": "a", "recall": {"a": {"4 facts": 0.5}}, "costs": costs}
    for lines in (RACE.splitlines()[:2], [RACE.splitlines()[0], "read,,a,,16,2"], [RACE.splitlines()[0]]):
        file.write_text("\n".join(lines))  # of one kind alone
        assert races.measured() is None
    file.write_bytes(b"what\xff")
    assert races.measured() is None

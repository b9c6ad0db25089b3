"""Requests that are kept: had again to the bit, and looked into."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
from api_server import Serve, Served
from cli.tiny_models import SENTENCE

from limelight.look.context import generated

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
SAID = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The cat sat. Mary gave John a drink."}]


@pytest.fixture(scope="module")
def keeping(serving: Serve, tiny: Path) -> Served:
    return serving([str(tiny)], {"keep": 8})


def test_a_hundred_requests_are_written_again_to_the_token(serving: Serve, tiny: Path) -> None:
    """Alone what was written beside others, drawn at random, in other ways each, after the last of them."""
    served = serving([str(tiny)], {"keep": 100})
    ways: list[dict[str, Any]] = [{}, {"top_p": 0.8}, {"min_p": 0.1}, {"presence_penalty": 1.5}, {"temperature": 0}]

    def ask(number: int) -> str:
        text = " ".join(SENTENCE.split()[number % 7 :])
        body = {"prompt": text, "max_tokens": 3 + number % 5, "temperature": 1.5, **ways[number % len(ways)]}
        id: str = served.ask(COMPLETIONS, body)[1]["id"]
        return id

    def again(id: str) -> bool:
        (choice,) = served.ask(f"/v1/requests/{id}")[1]["choices"]
        told = served.ask(f"/v1/requests/{id}/replay", b"")[1]
        return told["same"] is True and told["tokens"] == [choice["tokens"]]

    with ThreadPoolExecutor(6) as together:
        ids = list(together.map(ask, range(100)))
        assert len(set(ids)) == 100
        assert all(together.map(again, reversed(ids)))


def test_what_is_run_again_has_the_same_bits(keeping: Served) -> None:
    """Alone what was written beside others, drawn at random, penalised, behind a prompt that is known by now."""
    bodies = [
        (CHAT, {"messages": SAID, "max_tokens": 20, "n": 2, "temperature": 1.3}),
        (COMPLETIONS, {"prompt": [SENTENCE, "Mary"], "max_tokens": 20, "frequency_penalty": 1.0, "top_p": 0.9}),
        (COMPLETIONS, {"prompt": "a", "response_format": {"type": "regex", "grammar": "[ab]{9}"}, "max_tokens": 20}),
        ("/v1/responses", {"input": SENTENCE, "max_output_tokens": 9}),
    ]
    found: list[Any] = [None] * len(bodies)

    def ask(place: int) -> None:
        found[place] = keeping.ask(*bodies[place])[1]

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(keeping.ask("/v1/requests")[1]["data"]) >= {each["id"] for each in found}
    for each in found:
        kept = keeping.ask(f"/v1/requests/{each['id']}")[1]
        again = keeping.ask(f"/v1/requests/{each['id']}/replay", b"")[1]
        assert again["same"] is True
        assert again["tokens"] == [choice["tokens"] for choice in kept["choices"]]
        assert all(isinstance(choice["seed"], int) for choice in kept["choices"])
        ends = [choice["finish_reason"] for choice in kept["choices"]]
        if each["object"] == "response":
            assert ends == ["length" if each["status"] == "incomplete" else "stop"]
        else:
            assert ends == [choice["finish_reason"] for choice in each["choices"]]
    texts = [choice["message"]["content"] for choice in found[0]["choices"]]
    assert texts == [each["text"] for each in keeping.ask(f"/v1/requests/{found[0]['id']}")[1]["choices"]]


def test_an_answer_is_looked_into_by_the_tokens_that_it_is_made_of(keeping: Served) -> None:
    model = keeping.writer.model
    letters = {str(id): 30 for id in model.tokenizer.encode(" abct.").ids}  # pieces that would be read as others
    body = {"messages": SAID, "max_tokens": 8, "seed": 3, "logit_bias": letters, "temperature": 1.5}
    id = keeping.ask(CHAT, body)[1]["id"]
    (choice,) = keeping.ask(f"/v1/requests/{id}")[1]["choices"]
    seen = model.look_generated(choice["prompt_tokens"], choice["tokens"], SAID)
    assert list(seen.session.tokens) == [*choice["prompt_tokens"], *choice["tokens"]]
    status, told = keeping.ask(f"/v1/requests/{id}/look?by=sentence&check=false")
    assert status == 200, told
    assert told.keys() == {"id", "object", "model", "choice", "by", "answer", "importance", "matrix", "page"}
    assert [told[name] for name in ("id", "object", "model", "choice", "by")] == [
        *(id, "request.look", "tiny", 0, "sentence"),
    ]
    assert told["matrix"].keys() == {"rows", "columns", "losses"}
    assert told["page"] is None  # which shows no system message
    assert told["answer"] == choice["text"].strip()
    expected = seen.importance(by="sentence", check=False)
    values = [each["importance"] for each in told["importance"]["words"]]
    assert values == [each.importance for each in expected.words]
    assert [each["word"] for each in told["importance"]["words"]] == [part.text for part in seen.prompt("sentence")]
    assert told["importance"]["told"] == expected.told()
    assert [each["text"] for each in told["matrix"]["columns"]] == [
        "Be brief.",
        "The cat sat.",
        "Mary gave John a drink.",
    ]
    word = seen.parts("word")[0].text
    asked = keeping.ask(f"/v1/requests/{id}/look?word={quote(word)}&by=message&check=false")[1]
    assert asked["importance"]["target"]["word"] == word
    assert [each["word"] for each in asked["importance"]["words"]] == [each["content"] for each in SAID]
    for wrong, param in (
        ("word=nowhere", None),
        ("word=a&sentence=1", "word"),
        ("choice=4", "choice"),
        ("foo=1", "foo"),
    ):
        status, answer = keeping.ask(f"/v1/requests/{id}/look?{wrong}")
        assert (status, answer["error"]["param"]) == (400, param)


def test_a_completion_is_looked_into_by_paragraphs(keeping: Served) -> None:
    prompt = "The cat sat.\n\nMary gave John a drink."
    body = {"prompt": prompt, "max_tokens": 6, "seed": 3, "temperature": 1.5}
    with keeping.open(COMPLETIONS, {**body, "stream": True}) as answer:
        link = answer.headers["link"].removeprefix("<").partition(">")[0]
        answer.read()
    assert keeping.ask(f"{link}?by=message&check=false")[0] == 200
    id = keeping.ask(COMPLETIONS, body)[1]["id"]
    told = keeping.ask(f"/v1/requests/{id}/look?by=message&check=false")[1]
    assert [each["word"] for each in told["importance"]["words"]] == prompt.split("\n\n")


@pytest.fixture(scope="module")
def paged(serving: Serve, tiny: Path) -> Served:
    return serving([str(tiny)], {"keep": 2, "page": True})


def test_the_page_writes_in_the_same_engine(paged: Served) -> None:
    counts = paged.writer.runner.counts
    body = {"given": SENTENCE, "temperature": 1.0, "seed": 5, "most": 12}
    messages = [{"role": "user", "content": "cat?"}]
    talk = {"messages": messages, "temperature": 1.0, "seed": 2, "most": 7}
    asks: list[tuple[str, Any]] = [("/api/continue", body), ("/api/answer", talk), ("/api/continue", body)]

    def told(path: str, body: Any) -> list[str]:
        with paged.open(path, body) as answer:
            return [json.loads(line)["piece"] for line in answer.read().splitlines()]

    before = counts.generated
    alone = [told(*each) for each in asks]
    assert counts.generated - before == sum(map(len, alone)) > 12
    assert alone[0] == alone[2]
    with ThreadPoolExecutor(4) as together:  # beside one another and an answer of the API
        api = together.submit(paged.ask, COMPLETIONS, {"prompt": SENTENCE, "max_tokens": 60, "ignore_eos": True})
        assert list(together.map(lambda each: told(*each), asks)) == alone
        assert api.result()[0] == 200
    assert paged.writer.busy  # it stays open as long as the page may ask


def test_the_page_shows_the_same(paged: Served, tiny: Path) -> None:
    with paged.open("/") as answer:
        assert answer.status == 200
        assert b"main.js" in answer.read()
    assert paged.ask("/api/models")[1]["open"]["name"] == str(tiny)
    assert paged.ask("/api/words", {"given": SENTENCE})[0] == 200
    said = [{"role": "user", "content": "The cat sat."}]
    id = paged.ask(CHAT, {"messages": said, "max_tokens": 5, "seed": 1})[1]["id"]
    told = paged.ask(f"/v1/requests/{id}/look?check=false&by=message")[1]
    shown = dict(parse_qsl(told["page"].removeprefix("#")))
    assert shown["mode"] == "ask"
    assert json.loads(shown["talk"]) == [["u", "The cat sat."], ["a", told["answer"]]]


def test_few_are_kept_for_a_while_and_none_unless_asked(
    keeping: Served, api: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"prompt": "a", "max_tokens": 1}
    ids = [keeping.ask(COMPLETIONS, body)[1]["id"] for _ in range(9)]
    assert keeping.ask("/v1/requests")[1]["data"] == ids[:0:-1]
    assert keeping.ask(f"/v1/requests/{ids[0]}")[0] == 404
    monkeypatch.setattr("limelight.serve.api.kept.AGE", -1.0)
    late = keeping.ask(COMPLETIONS, body)[1]["id"]
    assert keeping.ask(f"/v1/requests/{late}/look")[0] == 404
    off = api.ask(COMPLETIONS, body)[1]["id"]
    status, answer = api.ask(f"/v1/requests/{off}/look")
    assert status == 404
    assert "--keep" in answer["error"]["message"]


def test_half_characters_belong_to_the_whole_one(keeping: Served) -> None:
    tokenizer = keeping.writer.model.tokenizer
    ids = tokenizer.encode("a € b").ids
    found = generated(tokenizer, tokenizer.encode("The").ids, ids)
    assert found.text == "Thea € b"
    assert found.coded is not None
    spans = zip(ids, found.coded.offsets[-len(ids) :], strict=True)
    euro = [span for id, span in spans if tokenizer.spell(id) == "\ufffd"]
    assert len(euro) == 3
    assert all(start <= 5 < end for start, end in euro)

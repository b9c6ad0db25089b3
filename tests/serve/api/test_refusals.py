"""The words in which the API refuses, the parameter it blames, and what else an answer of no text holds."""

import asyncio
from typing import Any

import pytest
from api_server import Served
from fastapi.testclient import TestClient

from limelight.errors import RequestError
from limelight.serve.api.app import make
from limelight.serve.api.shelf import Shelf

COMPLETIONS, CHAT, EMBED = "/v1/completions", "/v1/chat/completions", "/v1/embeddings"
HELLO = [{"role": "user", "content": "a"}]
ENCODER = {"model": "embedder"}
OBJECT = {"type": "json_object"}


@pytest.mark.parametrize(
    ("path", "body", "param", "said"),
    [
        (CHAT, {"messages": HELLO, "max_tokens": 0}, "max_tokens", "max_tokens: Input should be greater than or equal"),
        (CHAT, [], None, "the request: Input should be a valid dictionary or object to extract fields from"),
        (CHAT, {}, "messages", "messages: Field required"),
        (CHAT, {"messages": HELLO, "str": 1}, "str", "str is not known here; leave it out"),
        (
            CHAT,
            {"messages": HELLO, "response_format": {"type": "none"}},
            "response_format",
            "response_format: Input tag",
        ),
        (
            CHAT,
            {"messages": HELLO, "response_format": {**OBJECT, "more": 1}},
            "response_format.more",
            "response_format.more is not known here; leave it out",
        ),
        (COMPLETIONS, {"prompt": ["a", 1]}, "prompt.1", "prompt.1: Input should be a valid string"),
        (
            CHAT,
            {"messages": HELLO, "stream": True, "prompt_logprobs": 0},
            "prompt_logprobs",
            "prompt_logprobs is not offered in a stream; leave one of them out",
        ),
        (
            COMPLETIONS,
            {"prompt": "a", "stream": True, "prompt_logprobs": 0},
            "prompt_logprobs",
            "prompt_logprobs is not offered in a stream; leave one of them out",
        ),
        (COMPLETIONS, {"prompt": "a", "best_of": 2}, "best_of", "best_of is not offered beyond n; leave it out"),
        (COMPLETIONS, {"prompt": "a", "n": 2, "best_of": 1}, "best_of", "best_of is not offered beyond n"),
        (CHAT, {"messages": HELLO, "top_logprobs": 0}, "top_logprobs", "top_logprobs needs logprobs to be true"),
        ("/tokenize", {"content": "a", "prompt": "a"}, "content", "give one of content, prompt and messages"),
        (EMBED, {**ENCODER, "input": ["w5", ""]}, "input", "input[1] is empty; give at least one word"),
        (
            EMBED,
            {**ENCODER, "input": "w5", "dimensions": 3},
            "dimensions",
            "dimensions can be nothing but 64 with embedder; leave it out",
        ),
        (
            "/score",
            {**ENCODER, "text_1": ["w5", "w6"], "text_2": ["w5"]},
            "text_1",
            "text_1 has 2 texts and text_2 1; give one, or as many of both",
        ),
        (
            "/rerank",
            {**ENCODER, "query": "", "documents": ["w5"]},
            "query",
            "query[0] is empty; give at least one word",
        ),
        ("/rerank", {**ENCODER, "query": "w5", "documents": ["w5", ""]}, "documents", "documents[1] is empty"),
    ],
)
def test_a_refusal_says_what_and_where(both: Served, path: str, body: Any, param: str | None, said: str) -> None:
    status, answer = both.ask(path, body)
    error = answer["error"]
    assert (status, error["type"]) == (400, "invalid_request_error"), error
    assert error["message"].startswith(said)
    assert error["param"] == param


def test_what_a_vocabulary_or_a_context_lacks_is_told_with_the_numbers(both: Served) -> None:
    reader = asyncio.run(both.shelf.reader("embedder"))
    vocab, longest = reader.model.network.vocab, reader.model.longest
    for path, body, said in (
        (EMBED, {**ENCODER, "input": [[5], [vocab]]}, f"input[1] holds the token {vocab}; this model's vocabulary is"),
        (
            EMBED,
            {**ENCODER, "input": [[5] * (longest + 1)]},
            f"embedder reads at most {longest:,} tokens, and input[0] has {longest + 1:,}; shorten it",
        ),
    ):
        error = both.ask(path, body)[1]["error"]
        assert error["message"].startswith(said)
        assert error["param"] == "input"
    assert both.ask(EMBED, {**ENCODER, "input": [[vocab - 1]]})[0] == 200
    vocab = both.writer.model.network.vocab
    for wrong in (vocab, vocab + 1):
        error = both.ask("/detokenize", {"tokens": [1, wrong]})[1]["error"]
        said = f"tokens holds {wrong}; this vocabulary is {vocab:,}"
        assert (error["message"], error["param"]) == (said, "tokens")
    assert both.ask("/detokenize", {"tokens": [vocab - 1]})[0] == 200


def test_pairs_are_scored_in_order_and_the_best_come_first(both: Served) -> None:
    texts = ["w5", "w6 w7", "w8"]
    pairs = both.ask("/score", {**ENCODER, "text_1": texts, "text_2": texts})[1]
    assert [each["index"] for each in pairs["data"]] == [0, 1, 2]
    assert [each["score"] for each in pairs["data"]] == pytest.approx([1, 1, 1], abs=1e-5)
    one = both.ask("/score", {**ENCODER, "text_1": texts[1], "text_2": texts})[1]
    read = [
        len(both.ask("/tokenize", {**ENCODER, "content": text, "add_special_tokens": True})[1]["tokens"])
        for text in texts
    ]
    assert pairs["usage"] == {"prompt_tokens": 2 * sum(read), "total_tokens": 2 * sum(read)}
    assert one["usage"]["total_tokens"] == read[1] + sum(read)
    ranked = both.ask("/rerank", {**ENCODER, "query": texts[1], "documents": texts})[1]
    scores = [each["score"] for each in one["data"]]
    order = sorted(range(3), key=lambda index: scores[index], reverse=True)
    assert ranked["results"] == [
        {"index": index, "relevance_score": pytest.approx(scores[index], abs=1e-6)} for index in order
    ]
    assert order[0] == 1
    assert ranked["usage"] == one["usage"]


def test_n_texts_of_each_prompt_stand_one_behind_another(api: Served) -> None:
    body = {"prompt": ["a", "The cat"], "n": 2, "best_of": 2, "max_tokens": 2, "echo": True, "ignore_eos": True}
    choices = api.ask(COMPLETIONS, body)[1]["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [choice["text"].startswith("The cat") for choice in choices] == [False, False, True, True]
    usual = api.ask(COMPLETIONS, {"prompt": "a", "ignore_eos": True})[1]
    assert usual["usage"]["completion_tokens"] == 16
    nothing = {"prompt": ["a", "b"], "n": 2, "max_tokens": 0}
    answer = api.ask(COMPLETIONS, nothing)[1]
    assert [(each["index"], each["text"], each["finish_reason"]) for each in answer["choices"]] == [
        (index, "", "length") for index in range(4)
    ]
    assert answer["usage"]["completion_tokens"] == 0


def test_a_chat_that_says_nothing_has_an_empty_text(api: Served) -> None:
    eos = min(api.writer.model.tokenizer.eos)
    body = {"messages": HELLO, "logit_bias": {str(eos): 100}, "temperature": 0}
    choice = api.ask(CHAT, body)[1]["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": "", "refusal": None}
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)


def test_an_error_in_the_middle_of_a_stream_is_its_last_event(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bad:
        def mask(self) -> None:
            raise RequestError("this grammar has come to nothing")

        def accept(self, token: int) -> None:
            pass

    monkeypatch.setattr("limelight.serve.api.completions.constraint", lambda *_: Bad)
    last = api.events(COMPLETIONS, {"prompt": "a"})[-1]
    assert last == {
        "error": {
            "message": "this grammar has come to nothing",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }


def test_an_engine_that_does_not_step_is_told_in_full(api: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    api.idle()
    monkeypatch.setattr("limelight.serve.runner.Runner.alive", False)
    status, answer = api.ask("/health")
    assert status == 503
    assert answer["error"] == {
        "message": "an engine does not step",
        "type": "server_error",
        "param": None,
        "code": None,
    }
    assert answer["status"] == "error"
    assert answer["models"]["tiny"]["alive"] is False
    monkeypatch.undo()
    assert api.ask("/health")[1].keys() == {"status", "models"}


def test_whoever_starts_it_hears_of_a_model_that_does_not_open(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    error = RequestError("it is damaged")

    def fail(*_: Any, **how: Any) -> None:
        raise error

    monkeypatch.setattr("limelight.open", fail)
    app: Any = make(lambda: Shelf([str(tiny)]), opened=heard.append, failed=heard.append)
    with pytest.raises(RequestError, match="it is damaged"), TestClient(app):
        pass
    assert heard == [error]


def test_a_page_beside_the_api_holds_its_model_open(tiny: Any) -> None:
    heard: list[Any] = []
    with TestClient(make(lambda: Shelf([str(tiny)]), opened=heard.append, page=True)) as client:
        writer = heard[0].opened[0]
        assert (writer.looking, writer.busy) == (1, True)
        assert client.get("/api/models", headers={"host": "localhost"}).json()["open"]["name"] == str(tiny)
    assert heard[0].opened == []
    assert not writer.alive

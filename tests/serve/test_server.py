"""The server alone: what it answers, to whom, and what it refuses."""

import asyncio
import json
import struct
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cli.tiny_models import SENTENCE

import limelight
from limelight.errors import RequestError
from limelight.serve import stream

Answer = tuple[int, dict[str, str], bytes]


def ask(server: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """One request; `body` goes as JSON, by POST."""
    connection = HTTPConnection(urlsplit(server).netloc, timeout=60)
    sent = None if body is None else json.dumps(body).encode()
    json_type = {} if body is None else {"content-type": "application/json"}
    connection.request("GET" if body is None else "POST", path, sent, {**json_type, **(headers or {})})
    answer = connection.getresponse()
    found = (answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    connection.close()
    return found


def lines(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer[2].splitlines()]


@pytest.fixture
def opened(server: str, tiny: Path) -> str:
    """The server, with its model open."""
    assert "model" in lines(ask(server, "/api/open", {"name": str(tiny)}))[-1]
    return server


def test_files_carry_a_policy_that_allows_nobody_else(server: str) -> None:
    status, headers, body = ask(server, "/")
    assert status == 200
    assert b"main.js" in body
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/none.js", "/..%2fapp.py", "/%2e%2e/serve/app.py", "/docs", "/openapi.json", "/web"])
def test_only_the_pages_own_files_are_served(server: str, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1@evil.example", "", "localhost.evil.example"]
)
def test_a_name_that_others_can_own_is_refused(server: str, host: str) -> None:
    status, _, body = ask(server, "/api/models", headers={"host": host})
    assert status == 421
    assert "models" not in json.loads(body)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:80", "192.168.1.7"])
def test_addresses_and_localhost_are_answered(server: str, host: str) -> None:
    assert ask(server, "/api/models", headers={"host": host})[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_another_pages_requests_are_refused(server: str, origin: str) -> None:
    assert ask(server, "/api/words", {"given": "x"}, {"origin": origin})[0] == 403


def test_a_large_request_is_refused_unread(server: str) -> None:
    connection = HTTPConnection(urlsplit(server).netloc, timeout=60)
    connection.putrequest("POST", "/api/words")
    connection.putheader("content-length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("words", {"given": "x" * 100_001}),
        ("words", {"given": 3}),
        ("words", {}),
        ("words", {"given": "x", "more": 1}),
        ("importance", {"given": "x y", "word": -1}),
        ("continue", {"given": "x", "most": 100_000}),
        ("next", {"given": "x", "temperature": "hot"}),
        ("attention", {"given": "x y", "layer": 99}),
        ("linking", {"given": "x y", "source": 0, "target": 7}),
        ("steps", {"given": "x y", "word": 0, "layer": 0, "head": 77}),
        ("words", {"given": "  "}),
    ],
)
def test_a_senseless_request_is_answered_in_a_sentence(opened: str, path: str, body: dict[str, Any]) -> None:
    status, _, answer = ask(opened, f"/api/{path}", body)
    error = json.loads(answer.splitlines()[-1])["error"]
    assert status == 400
    assert len(error) > 10
    assert "Traceback" not in error


def test_what_goes_wrong_in_a_stream_is_its_last_line(opened: str) -> None:
    answer = ask(opened, "/api/importance", {"given": SENTENCE, "word": 0})
    assert "is the first word" in lines(answer)[-1]["error"]


def test_only_listed_models_are_opened(server: str) -> None:
    answer = lines(ask(server, "/api/open", {"name": "/etc/passwd"}))
    assert "no model here is called" in answer[-1]["error"]


def test_words_are_the_text_again(opened: str) -> None:
    given, added = "  Ünïcode 👩‍👩‍👧 \n<b>x</b> שלום", " und 日本 "
    found = json.loads(ask(opened, "/api/words", {"given": given, "added": added})[2])
    assert "".join(word["gap"] + word["text"] for word in found["words"]) + found["tail"] == given + added
    assert [word["text"] for word in found["words"] if not word["given"]] == ["und", "日", "本"]


def test_importance_is_what_the_library_says(opened: str, tiny: Path) -> None:
    *progress, last = lines(ask(opened, "/api/importance", {"given": SENTENCE, "word": 7}))
    expected = limelight.open(tiny).look(SENTENCE).importance(8)
    assert last["importance"]["values"] == pytest.approx([heard.importance for heard in expected.words], abs=1e-5)
    assert last["importance"]["check"]["top"] == list(expected.check.top)
    assert progress[-1]["done"] == progress[-1]["total"] > 1


def test_what_could_stand_there_and_what_settings_cut(opened: str, tiny: Path) -> None:
    body = {"given": SENTENCE, "word": None, "temperature": 1.0, "top_k": 3}
    rows = json.loads(ask(opened, "/api/next", body)[2])["rows"]
    expected = limelight.open(tiny).look(SENTENCE).next_words(10)
    assert [row["token"] for row in rows] == [token for token, _ in expected]
    assert [row["share"] for row in rows] == pytest.approx([share for _, share in expected], abs=1e-5)
    assert [row["cut"] for row in rows] == [None] * 3 + ["top-k"] * 7
    assert sum(row["kept"] for row in rows) == pytest.approx(1)
    greedy = json.loads(ask(opened, "/api/next", {**body, "temperature": 0})[2])["rows"]
    assert [row["kept"] for row in greedy] == [1.0] + [0.0] * 9


def test_attention_is_little_endian_float32(opened: str, tiny: Path) -> None:
    _, headers, body = ask(opened, "/api/attention", {"given": SENTENCE, "layer": 1})
    assert headers["content-type"] == "application/octet-stream"
    values = struct.unpack("<400f", body)  # 4 heads of 10 × 10 words
    expected = limelight.open(tiny).look(SENTENCE).attention(1, 2).flatten().tolist()
    assert values[200:300] == pytest.approx(expected, abs=1e-5)
    linking = json.loads(ask(opened, "/api/linking", {"given": SENTENCE, "source": 7, "target": 1})[2])["weights"]
    assert linking[1][2] == pytest.approx(values[271], abs=1e-5)


def test_a_continuation_is_drawn_anew_with_each_seed_and_alike_with_the_same(opened: str) -> None:
    def text(seed: int) -> str:
        body = {"given": SENTENCE, "temperature": 1.5, "seed": seed, "most": 12}
        return "".join(line["piece"] for line in lines(ask(opened, "/api/continue", body)))

    assert text(1) == text(1)
    assert len({text(seed) for seed in range(4)}) > 1


def test_looks_at_the_same_time_answer_as_one_alone_does(opened: str) -> None:
    texts = [f"{SENTENCE} {' '.join(['very'] * n)}" for n in range(6)]
    alone = [lines(ask(opened, "/api/importance", {"given": text}))[-1] for text in texts]
    together: dict[str, Any] = {}

    def one(text: str) -> None:
        together[text] = lines(ask(opened, "/api/importance", {"given": text}))[-1]

    threads = [threading.Thread(target=one, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[text] for text in texts] == alone


def test_an_abandoned_look_lets_the_next_one_in(opened: str) -> None:
    connection = HTTPConnection(urlsplit(opened).netloc, timeout=60)
    body = json.dumps({"given": "the cat sat on the mat " * 150})
    connection.request("POST", "/api/importance", body, {"content-type": "application/json"})
    assert connection.getresponse().readline()  # it has begun
    connection.close()
    assert "importance" in lines(ask(opened, "/api/importance", {"given": SENTENCE}))[-1]


def test_work_ends_when_nobody_listens_any_more() -> None:
    ended = threading.Event()

    def work(emit: stream.Emit) -> None:
        try:
            while True:
                emit({"done": 1})
                time.sleep(0.001)
        except stream.AbandonedError:
            ended.set()
            raise

    async def listen_once() -> None:
        heard = stream.lines(work)
        assert json.loads(await anext(heard)) == {"done": 1}
        await heard.aclose()

    asyncio.run(listen_once())
    assert ended.wait(5)


def test_a_defect_is_told_from_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    assert stream.sentence(RequestError("no such word")) == "no such word"
    assert "limelight failed" in stream.sentence(ZeroDivisionError("secret"))
    assert "secret" in caplog.text

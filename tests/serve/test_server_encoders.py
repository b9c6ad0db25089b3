"""The server with an encoder open: what each kind answers about a text, as the page asks it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from serve.asking import ask, lines, spoken

import limelight
from limelight.serve import session
from limelight.serve.session import PageSession

TEXT = "w10 w20 w30 w12 w14"
QUESTION = "w50"
Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def asks(server: str, encoders: dict[str, str]) -> Iterator[Callable[[str], Ask]]:
    """``asks(kind)``: opens an encoder of that kind and gives back what asks it. Afterwards the first model is open."""
    first = json.loads(ask(server, "/api/models")[2])["first"]

    def opened(kind: str) -> Ask:
        about = lines(ask(server, "/api/open", {"name": encoders[kind]}))[-1]["model"]
        assert about["reads"]["kind"] == kind
        assert not about["translates"]
        assert len(about["heads"]) > 0

        def asked(path: str, **body: Any) -> dict[str, Any]:
            answer = lines(ask(server, f"/api/{path}", {"given": TEXT, "beside": QUESTION, **body}))[-1]
            assert "error" not in answer, answer
            return answer

        return asked

    yield opened
    ask(server, "/api/open", {"name": first})


def test_a_word_is_hidden_and_told_from_both_sides(asks: Callable[[str], Ask]) -> None:
    asked = asks("masked")
    words = asked("words")
    assert [word["text"] for word in words["words"]] == TEXT.split()
    assert words["asked"] == 4  # the last word, if nobody chose
    found = asked("importance", word=1)["importance"]
    assert found["word"] == 1
    assert [value is None for value in found["values"]] == [False, True, False, False, False]
    rows = asked("next", word=1, temperature=1)["rows"]
    assert rows[0]["share"] >= rows[1]["share"]
    assert any(row["token"].strip() == "w20" for row in rows)  # its own, whatever its rank


def test_a_gap_holds_the_likeliest_word_as_one_that_the_model_said(
    asks: Callable[[str], Ask], encoders: dict[str, str]
) -> None:
    gap = "w10 [MASK] w30"
    likeliest = limelight.open(encoders["masked"], kind=limelight.MaskedModel).fill(gap)[0][0][0]
    words = asks("masked")("words", given=gap)
    assert [word["text"] for word in words["words"]] == ["w10", likeliest, "w30"]
    assert [word["given"] for word in words["words"]] == [True, False, True]
    assert words["asked"] == 1


def test_each_word_has_its_tag_and_what_it_is_from(asks: Callable[[str], Ask], encoders: dict[str, str]) -> None:
    spans = limelight.open(encoders["tags"], kind=limelight.Tagger).tag([TEXT])[0]
    asked = asks("tags")
    words = asked("words")
    assert [word["tag"] for word in words["words"]] == [span.label for span in spans]
    found = asked("importance", word=2)["importance"]
    assert found["values"][2] is None
    assert asked("next", word=2)["rows"][0]["token"] == spans[2].label


@pytest.mark.parametrize("kind", ["classes", "span", "near"])
def test_the_answer_about_a_whole_text_stands_behind_it(
    asks: Callable[[str], Ask], encoders: dict[str, str], kind: str
) -> None:
    if kind == "classes":
        said = next(iter(limelight.open(encoders[kind], kind=limelight.Classifier).classify([TEXT])[0]))
    elif kind == "span":
        said = limelight.open(encoders[kind], kind=limelight.SpanModel).look(TEXT, QUESTION).importance().target.text
    else:
        score = limelight.open(encoders[kind], kind=limelight.Embedder).score([(TEXT, QUESTION)])[0]
        said = f"{score:.2f}".replace("-", "−")
    asked = asks(kind)
    words = asked("words")
    *given, answer = words["words"]
    assert [word["text"] for word in given] == TEXT.split()
    assert (answer["text"], answer["given"], answer["gap"]) == (said, False, " → ")
    assert words["asked"] == len(given)
    found = asked("importance")["importance"]
    judged = [value is not None for value in found["values"]]
    assert judged == [kind != "span" or word["text"] not in said.split() for word in given]
    assert said in spoken(found)[0]
    n = len(given) + 1
    linking = asked("linking", source=n - 1, target=0)["weights"]
    assert all(0 <= weight <= 1 for layer in linking for weight in layer)
    assert any(weight > 0 for layer in linking for weight in layer)


def test_what_only_writers_can_is_refused_in_a_sentence(server: str, asks: Callable[[str], Ask]) -> None:
    asks("near")
    for path, body in (("lens", {"word": 0}), ("steps", {"word": 0, "layer": 0, "head": 0}), ("save", {})):
        answer = ask(server, f"/api/{path}", {"given": TEXT, **body})
        assert "open one that continues texts" in answer[2].decode() or "not kept in files" in answer[2].decode()
    assert asks("near")("network")["both"]


def test_a_web_of_words_is_an_encoders_where_there_is_one(
    tiny: Path, runs: Path, encoders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "RUNS", runs)
    monkeypatch.setattr(session, "ENCODER", encoders["near"])
    page = PageSession(str(tiny))
    page.open(str(tiny), lambda *_: None)
    web = page.network("w5 w6")
    assert (web["model"], web["both"], web["words"]) == (encoders["near"], True, ["w5", "w6"])
    monkeypatch.setattr(limelight, "open", None)  # once
    assert page.network("w5 w6") == web
    assert page.end(9)

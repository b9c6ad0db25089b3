"""The server alone: what it answers; what it refuses is in test_server_refusals.py."""

import asyncio
import json
import math
import struct
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from cli.tiny_models import SENTENCE
from serve.asking import ask, lines, spoken

import limelight
from limelight.completion import Opening, stream
from limelight.serve.session import PageSession
from limelight.serve.worker import AbandonedError, Emit, Worker


def test_words_are_the_text_again(opened: str) -> None:
    given, added = "  Ünïcode 👩‍👩‍👧 \n<b>x</b> שלום", " und 日本 "
    found = json.loads(ask(opened, "/api/words", {"given": given, "added": added})[2])
    assert "".join(word["gap"] + word["text"] for word in found["words"]) + found["tail"] == given + added
    assert [word["text"] for word in found["words"] if not word["given"]] == ["und", "日", "本"]


def test_importance_is_what_the_library_says(opened: str, tiny: Path) -> None:
    seen = limelight.open(tiny).look(SENTENCE)
    checked, steps = 0, [0]
    for method in (None, "blocking", "alti-logit"):
        *progress, last = lines(ask(opened, "/api/importance", {"given": SENTENCE, "word": 7, "method": method}))
        assert progress[-1]["done"] == progress[-1]["total"]
        steps += [line["total"] for line in progress if "estimate" not in line]
        expected = seen.importance(8, method=method)
        answer, check = last["importance"], expected.check
        assert answer["telling"] == (
            None if expected.telling is None else pytest.approx(vars(expected.telling), abs=1e-5)
        )
        assert answer["values"] == pytest.approx([heard.importance for heard in expected.words], abs=1e-5)
        assert answer["probability"] == pytest.approx(math.exp(expected.logprob), abs=1e-5)
        for name in ("method", "unit", "answer_unit", "rank", "expected", "foil"):
            assert answer[name] == getattr(expected, name), name
        assert (answer["word"], answer["asks"], answer["named"]) == (7, 6, list(expected.named))
        assert answer["losses"] == pytest.approx(expected.losses, abs=1e-5)
        assert answer["times"] == (pytest.approx(expected.times, abs=1e-4) if expected.named else None)
        assert spoken(answer) == expected.told()
        if check is None:
            assert answer["check"] is None
            continue
        checked += 1
        said = {name: getattr(check, name) for name in ("way", "loss", "sets", "every", "better", "holds", "short")}
        assert answer["check"] == {"words": list(check.words), **said, "loss": pytest.approx(check.loss, abs=1e-5)}
        assert checked
    assert max(steps) > 1


def test_the_words_that_an_answer_names_are_words_in_its_sentence(opened: str) -> None:
    """A page makes buttons of them; the same word twice in a text is told apart."""
    text = "it it The cat sat on the mat because it was"
    words = json.loads(ask(opened, "/api/words", {"given": text})[2])["words"]
    answer = lines(ask(opened, "/api/importance", {"given": text, "method": "alti-logit", "check": False}))[-1]
    found = answer["importance"]
    places = [part["word"] for told in found["told"] for part in told if not isinstance(part, str)]
    assert places == found["named"] != []
    for told in found["told"]:
        for part in told:
            assert isinstance(part, str) or part["text"] == f"“{words[part['word']]['text']}”"


def test_what_the_model_says_next_is_asked_about_by_default(opened: str, tiny: Path) -> None:
    seen = limelight.open(tiny).look(SENTENCE)
    expected = seen.importance()
    answer = lines(ask(opened, "/api/importance", {"given": SENTENCE}))[-1]["importance"]
    assert (answer["word"], answer["rank"]) == (10, 1)
    assert spoken(answer) == expected.told()
    found = json.loads(ask(opened, "/api/words", {"given": SENTENCE, "ahead": True})[2])
    assert [word["given"] for word in found["words"]] == [True] * 10 + [False]
    assert found["words"][10]["text"] == expected.target.text == seen.ahead.words[-1].text
    assert "".join(word["gap"] + word["text"] for word in found["words"]) == SENTENCE + found["added"]
    named = lines(ask(opened, "/api/importance", {"given": SENTENCE, "ahead": True, "word": 10}))[-1]["importance"]
    assert named == answer
    given = lines(ask(opened, "/api/importance", {"given": SENTENCE, "word": 9}))[-1]["importance"]
    assert given["rank"] > 1
    assert spoken(given) == seen.importance(10).told()
    assert spoken(given)[0].startswith("The model expected ")


def test_what_each_word_did_comes_before_the_words_that_decide(opened: str) -> None:
    found = lines(ask(opened, "/api/importance", {"given": f"{SENTENCE} once", "check": False}))
    (first,) = [line["estimate"] for line in found if "estimate" in line]
    assert first["measuring"]
    assert found.index({"estimate": first}) < len(found) - 2, "what takes longer comes behind it"
    last = found[-1]["importance"]
    for name in ("word", "unit", "asks", "values"):
        assert first[name] == last[name]


def test_of_a_long_text_an_estimate_comes_first(opened: str) -> None:
    text = " ".join([SENTENCE] * 8)
    long = {"given": " ".join([SENTENCE] * 21), "check": False}
    first, *_, last = [line for line in lines(ask(opened, "/api/importance", long)) if line.get("total") != 1]
    assert first["estimate"]["word"] == last["importance"]["word"] > 200
    assert len(first["estimate"]["values"]) == last["importance"]["word"]
    assert sum(value is not None for value in first["estimate"]["values"]) == 12
    assert last["importance"]["values"].count(None) > 180
    for known in ({}, {"method": "gradient-input"}, {"foil": "cat"}):  # what is known by now, or asked for by name
        assert not any("estimate" in line for line in lines(ask(opened, "/api/importance", long | known)))
    short = lines(ask(opened, "/api/importance", {"given": text, "check": False}))
    assert not any("estimate" in line for line in short)


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


def test_a_head_is_the_same_in_every_view(opened: str) -> None:
    """What the Heads and the Steps show of one head, word by word; what a row lacks to 1 is on the token in front."""
    _, _, body = ask(opened, "/api/attention", {"given": SENTENCE, "layer": 1, "head": 2})
    n = len(SENTENCE.split())
    row = struct.unpack(f"<{n * n}f", body)[7 * n : 8 * n]
    steps = json.loads(ask(opened, "/api/steps", {"given": SENTENCE, "word": 7, "layer": 1, "head": 2})[2])
    weights = steps["weights"]["values"]
    words = json.loads(ask(opened, "/api/words", {"given": SENTENCE})[2])["words"]
    at = 1
    for word, share in zip(words[:7], row, strict=False):
        assert sum(weights[at : at + len(word["tokens"])]) == pytest.approx(share, abs=1e-5)
        at += len(word["tokens"])
    assert weights[0] == pytest.approx(1 - sum(row), abs=1e-5)
    assert weights[0] > 0


def test_one_head_is_a_part_of_all(opened: str) -> None:
    _, _, all_heads = ask(opened, "/api/attention", {"given": SENTENCE, "layer": 1})
    _, _, one = ask(opened, "/api/attention", {"given": SENTENCE, "layer": 1, "head": 2})
    assert one == all_heads[800:1200]


def test_an_answer_comes_before_its_check(opened: str) -> None:
    body = {"given": SENTENCE, "word": 7}
    first = lines(ask(opened, "/api/importance", {**body, "check": False}))[-1]["importance"]
    whole = lines(ask(opened, "/api/importance", body))[-1]["importance"]
    assert not first["checked"]
    assert first["check"] is None
    assert whole["checked"]
    assert first["values"] == whole["values"]


def test_every_word_is_measured_for_every_later_one_as_it_is_alone(opened: str) -> None:
    losses = lines(ask(opened, "/api/every_importance", {"given": SENTENCE}))[-1]["found"]["losses"]
    for place in (1, 7):
        alone = lines(ask(opened, "/api/importance", {"given": SENTENCE, "word": place, "check": False}))[-1]
        assert losses[place][: place - 1] == pytest.approx(alone["importance"]["values"][:-1], abs=1e-4)
        assert losses[place][place - 1 :] == [None] * (len(losses) - place + 1)  # the last one is where is asked


def test_each_token_is_told_beside_what_was_likely(opened: str) -> None:
    body = {"given": SENTENCE, "temperature": 0.0, "most": 6}
    told = lines(ask(opened, "/api/continue", body))
    assert [line["chosen"] for line in told if line["finish"] is None] == [0] * (len(told) - 1)
    assert told[-1]["finish"] in ("stop", "length")
    for line in told:
        shares = [share for _, share in line["likely"]]
        assert shares == sorted(shares, reverse=True)
        assert 0 < sum(shares) <= 1


def test_an_answer_is_asked_where_it_is_from(opened: str, tiny: Path) -> None:
    turns = [
        ("user", "Why?"),
        ("assistant", "It is."),
        ("user", "Is the cat tired?"),
        ("assistant", "The cat sat. Yes!"),
    ]
    messages = [{"role": role, "content": content} for role, content in turns]
    cut = json.loads(ask(opened, "/api/turns", {"messages": messages})[2])["turns"]
    assert ["".join(word["gap"] + word["text"] for word in turn["words"]) for turn in cut] == [
        turn[1] for turn in turns
    ]
    assert [word["sentence"] for word in cut[-1]["words"]] == [0, 0, 0, 0, 1, 1]
    light = lines(ask(opened, "/api/light", {"messages": messages}))[-1]["found"]
    assert len(light["values"]) == 6
    assert [place for place, start, stop in light["columns"]] == [0] * 2 + [1] * 3 + [2] * 5
    found = lines(ask(opened, "/api/came_from", {"messages": messages, "of": "sentence", "part": 1}))[-1]["found"]
    alone = limelight.open(tiny, kind=limelight.Model).look(messages).importance(2, by="word")
    values = [value for turn in found["values"] for value in turn]
    assert values == pytest.approx([heard.importance for heard in alone.words], abs=1e-4)
    assert [len(turn) for turn in found["values"]] == [2, 3, 5, 0]
    assert found["turns"][-1] is None
    refused = ask(opened, "/api/came_from", {"messages": messages[:1]})
    assert "ends without an answer" in lines(refused)[-1]["error"]


def test_an_answer_goes_on_where_it_was_cut_off(opened: str, tiny: Path) -> None:
    messages = [{"role": "user", "content": "cat?"}, {"role": "assistant", "content": "It is"}]
    told = lines(ask(opened, "/api/answer", {"messages": messages, "most": 7}))
    model = limelight.open(tiny, kind=limelight.Model)
    prompt = model.tokenizer.encode(model.tokenizer.chat(messages[:1]) + "It is", special=True).ids
    opening = Opening(prompt, after=prompt)
    sampling = limelight.Sampling(repetition=1.1)
    went = stream(model.network, model.tokenizer, opening, max_tokens=7, sampling=sampling, stop=(), draft=None)
    assert "".join(line["piece"] for line in told) == "".join(went)
    assert told[-1]["finish"] is not None


def test_cards_draw_the_heads_that_do_most_of_something(opened: str) -> None:
    told = json.loads(ask(opened, "/api/spotlights", {"given": SENTENCE, "toward": [1]})[2])["heads"]
    n = len(SENTENCE.split())
    heads = {}
    for layer in range(3):
        row = struct.unpack(f"<{4 * n * n}f", ask(opened, "/api/attention", {"given": SENTENCE, "layer": layer})[2])
        for head in range(4):
            heads[layer, head] = torch.tensor(row[head * n * n : (head + 1) * n * n]).view(n, n)
    measures = {
        "back": lambda weights: weights[3:, 1].sum() / (n - 2),
        "before": lambda weights: weights.diagonal(-1).mean(),
        "rests": lambda weights: 1 - weights.sum(-1).mean(),
    }
    assert [one["kind"] for one in told] == list(measures)
    for one in told:
        assert torch.allclose(torch.tensor(one["weights"]), heads[one["layer"], one["head"]], atol=1e-6)
        most = max(float(measures[one["kind"]](weights)) for weights in heads.values())
        assert one["share"] == pytest.approx(most, abs=1e-5)
    web = json.loads(ask(opened, "/api/network", {"given": SENTENCE})[2])  # there is no encoder here: the open model's
    assert web["model"] is None
    assert torch.allclose(torch.tensor(web["weights"]), torch.stack(list(heads.values())).amax(0), atol=1e-6)


def test_guesses_are_the_next_words_with_or_without_positions(opened: str) -> None:
    def shares(text: str, positions: bool) -> dict[str, float]:
        rows = json.loads(ask(opened, "/api/guesses", {"text": text, "positions": positions})[2])["rows"]
        return {row["token"]: row["share"] for row in rows}

    assert shares(SENTENCE, True) != shares(SENTENCE, False)
    rows = json.loads(ask(opened, "/api/next", {"given": SENTENCE, "temperature": 1.0})[2])["rows"]
    # The one reads the text anew, the other on from what was read of it before.
    assert shares(SENTENCE, True) == pytest.approx({row["token"]: row["share"] for row in rows}, rel=1e-5)


def test_tokens_instead_of_words(opened: str, tiny: Path) -> None:
    text = "unbelievable cats 👩‍👩‍👧"
    tokens = json.loads(ask(opened, "/api/words", {"given": text, "tokens": True})[2])
    words = json.loads(ask(opened, "/api/words", {"given": text})[2])
    assert len(tokens["words"]) > len(words["words"])
    for found in (tokens, words):
        assert "".join(word["gap"] + word["text"] for word in found["words"]) + found["tail"] == text
    session = PageSession(str(tiny))
    session.put(limelight.open(tiny))
    for views in (session.views, session.text_views):
        assert len(views(text, "").words()["words"]) == len(words["words"])
    pieces = [token for word in tokens["words"] for token in word["tokens"]]
    assert pieces == [token for word in words["words"] for token in word["tokens"]]
    answer = lines(ask(opened, "/api/importance", {"given": "unbelievable cats", "tokens": True}))[-1]["importance"]
    assert len(answer["values"]) == answer["word"] > 1


def test_a_text_under_another_model_or_under_a_part_of_this_one(opened: str, tiny: Path, runs: Path) -> None:
    def after(**change: Any) -> Any:
        return lines(ask(opened, "/api/what_if", {"text": SENTENCE, "asked": "it", **change}))[-1]

    same = after()["what_if"]
    assert same == after(name=str(tiny))["what_if"]
    assert same["importance"]["word"] == 7
    assert after(positions=False)["what_if"]["importance"]["values"] != same["importance"]["values"]
    next_word = after(asked=None)["what_if"]
    assert next_word["importance"]["word"] == len(SENTENCE.split())
    assert not next_word["words"]["words"][-1]["given"]
    assert "translates texts" in after(name=str(runs / "lstm-attention"))["error"]
    assert "no model here" in after(name="/etc")["error"]


def test_a_continuation_is_drawn_anew_with_each_seed_and_alike_with_the_same(opened: str) -> None:
    def text(seed: int) -> str:
        body = {"given": SENTENCE, "temperature": 1.5, "seed": seed, "most": 12}
        return "".join(line["piece"] for line in lines(ask(opened, "/api/continue", body)))

    assert text(1) == text(1)
    assert len({text(seed) for seed in range(4)}) > 1


def test_looks_at_the_same_time_answer_as_one_alone_does(opened: str) -> None:
    texts = [f"{SENTENCE} {' '.join(['very'] * n)}" for n in range(3)]
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

    def work(emit: Emit) -> None:
        try:
            while True:
                emit({"done": 1})
                time.sleep(0.001)
        except AbandonedError:
            ended.set()
            raise

    async def listen_once() -> None:
        heard = Worker().lines(work)
        assert await anext(heard) == {"done": 1}
        await heard.aclose()

    asyncio.run(listen_once())
    assert ended.wait(5)

"""What the server says of the inside of a network and of races: the library's own numbers, for a page to draw."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.tiny_models import SENTENCE
from serve.asking import ask, lines

import limelight
from limelight.look import SteeringVector
from limelight.serve import races, steering


@pytest.fixture(scope="module")
def model(tiny: Path) -> limelight.Model:
    return limelight.open(tiny, kind=limelight.Model)


def inside(server: str, **body: Any) -> dict[str, Any]:
    answer = lines(ask(server, "/api/inside", {"given": SENTENCE, **body}))[-1]
    assert "error" not in answer, answer
    return answer["inside"]


def flat(rows: list[list[float]]) -> list[float]:
    return [value for row in rows for value in row]


def test_what_parts_add_and_what_is_lost_without_them(server: str, tiny: Path, model: limelight.Model) -> None:
    ask(server, "/api/open", {"name": str(tiny)})
    seen = model.look("The cat sat on the mat because it was")
    found = inside(server, kind="adds", word=9)
    parts = seen.logit_attribution("tired")
    assert flat(found["values"]) == pytest.approx(flat(parts.values.tolist()), abs=1e-4)
    assert found["columns"] == list(parts.columns)
    assert (found["answer"], found["foil"]) == (parts.answer, parts.foil)
    layer, column, value = parts.strongest(1)[0]
    assert found["strongest"][0] == {"layer": layer, "column": column, "value": pytest.approx(value, abs=1e-4)}
    needed = inside(server, kind="needs", word=9)["values"]
    assert flat(needed) == pytest.approx([-value for value in flat(seen.ablate("tired").values.tolist())], abs=1e-4)


def test_what_is_next_is_patched_from_another_text(server: str, tiny: Path, model: limelight.Model) -> None:
    ask(server, "/api/open", {"name": str(tiny)})
    other = SENTENCE.replace("cat", "mat")
    found = inside(server, kind="carries", word=10, ahead=True, instead=other)
    patched = model.look(SENTENCE).patch_into(model.look(other))
    assert flat(found["values"]) == pytest.approx(flat(patched.values.tolist()), abs=1e-3)
    assert found["columns"][1] == "2 mat → cat"
    assert found["other"] == other
    likely = inside(server, kind="brings", word=10, ahead=True, changed=1)  # another likely word stands there
    assert likely["other"].split()[0] == "The"
    assert likely["other"] != SENTENCE
    assert (
        "first word" in lines(ask(server, "/api/inside", {"given": SENTENCE, "kind": "adds", "word": 0}))[-1]["error"]
    )


def test_a_saved_vector_leads_the_model(
    server: str, tiny: Path, model: limelight.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steer(**body: Any) -> Any:
        return json.loads(ask(server, "/api/steer", {"given": SENTENCE, "word": 9, **body})[2])

    ask(server, "/api/open", {"name": str(tiny)})
    monkeypatch.setattr(steering, "VECTORS", tmp_path)
    assert steer() == {"vectors": [], "folder": str(tmp_path)}
    pairs = [("The cat sat", "Mary gave"), ("a drink", "the mat")]
    vector = model.steering_vector(pairs, layer=2)
    vector.save(tmp_path / "cats.safetensors")
    SteeringVector(torch.ones(7), 1, "another").save(tmp_path / "alien.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"none")
    found = steer(strength=-1.5)
    assert (found["vectors"], found["vector"], found["layer"]) == (["cats"], "cats", 2)
    text = "The cat sat on the mat because it was"  # what stands before the word in question
    led = model.steered(vector, -1.5)
    chances = [each.look(text).logits()[-1].softmax(-1) for each in (model, led)]
    ids = chances[1].topk(8).indices
    for place, (_, was, now) in enumerate(found["rows"]):
        assert [was, now] == pytest.approx([float(each[ids[place]]) for each in chances])
    assert [word for word, *_ in found["rows"]] == [model.tokenizer.spell(int(id)) for id in ids]
    assert found["goes_on"] == [each.complete(text, max_tokens=16, stop=["\n"]).text for each in (model, led)]
    assert all(row[1] == pytest.approx(row[2]) for row in steer(vector="cats", strength=0)["rows"])
    assert steer(vector="cat") == {"error": "no vector for this model is called 'cat'; did you mean 'cats'?"}

    # While the slider moves neither the files nor the text without a vector are read again.
    read: list[Any] = []
    load, complete = SteeringVector.load, limelight.Model.complete
    monkeypatch.setattr(SteeringVector, "load", lambda file: read.append(file) or load(file))
    monkeypatch.setattr(
        limelight.Model, "complete", lambda self, *_, **how: read.append(1) or complete(self, *_, **how)
    )
    assert steer(strength=2.5)["goes_on"][0] == found["goes_on"][0]
    assert read == [1]
    (tmp_path / "cats.safetensors").unlink()
    model.steering_vector(pairs, layer=1).save(tmp_path / "cats.safetensors")
    assert steer(strength=-1.5)["layer"] == 1
    assert read == [1, tmp_path / "cats.safetensors", 1]


def test_the_newest_race_is_told(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(races, "RACES", tmp_path)
    assert json.loads(ask(server, "/api/race", {})[2]) is None
    (tmp_path / "mine").mkdir()
    table = tmp_path / "mine" / "results.csv"
    table.write_text(
        "what,problem,contender,by,rate,seed,parameters,at,tokens,seconds,value\n"
        "loss,recall,lstm,tokens,0.01,1,9,step 5,9,1.0,2.5\n"
        "right,recall,lstm,tokens,0.01,1,9,16 facts,,,0.25\n"
        "right,recall,lstm,tokens,0.01,2,9,16 facts,,,0.75\n"
        "right,recall,lstm,seconds,0.01,2,9,16 facts,,,0.1\n"
        "kept,,lstm,,,,,16,,,512\n"
        "read,,lstm,,,,,16,,,0.5\n",
        "utf-8",
    )
    found = json.loads(ask(server, "/api/race", {})[2])
    assert found == {
        "name": "mine",
        "recall": {"lstm": {"16 facts": 0.5}},
        "costs": {"lstm": {"16": {"kept": 512.0, "read": 0.5}}},
    }
    table.write_text("what,problem\nright,recall\n", "utf-8")  # cut off while it was written
    assert json.loads(ask(server, "/api/race", {})[2]) is None

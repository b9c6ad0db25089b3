"""What all verbs share: where texts come from, where answers go, and a file that goes on where it was stopped."""

import csv
import json
import math
from pathlib import Path

import pytest
from references import saved, write_marked_tokenizer
from tiny_models import Run, random_llama

import limelight


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    saved("bert-classes", folder)
    write_marked_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "texts.csv"
    path.write_text("id,review\n" + "".join(f"{n},w{10 + n % 50} w{20 + n % 7}\n" for n in range(300)))
    return path


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_texts_come_from_everywhere_and_are_answered_alike(run: Run, classifier: Path, tmp_path: Path) -> None:
    command = ["classify", "-m", classifier, "--json"]
    given = run(*command, "w10 w11", "w12")
    piped = run(*command, input=b"w10 w11\nw12\n")
    assert given.code == piped.code == 0
    assert given.out == piped.out
    first, second = map(json.loads, given.out.splitlines())
    assert (first["row"], first["text"], second["row"]) == (1, "w10 w11", 2)
    (expected,) = limelight.open(classifier, kind=limelight.Classifier).classify(["w10 w11"])
    assert first["probabilities"] == pytest.approx(expected)
    assert first["label"] == next(iter(expected))
    (tmp_path / "a.txt").write_text("w10 w11\n\nw12\n")
    (tmp_path / "a.jsonl").write_text('{"n": 1, "text": "w10 w11"}\n{"n": 2, "text": "w12"}\n')
    lines = [json.loads(line) for line in run(*command, "--file", tmp_path / "a.txt").out.splitlines()]
    assert [(each["row"], each["label"]) for each in lines] == [(1, first["label"]), (3, second["label"])]
    found = run(*command, "--file", tmp_path / "a.jsonl")
    assert found.out == given.out
    assert "a.jsonl: column text" in " ".join(found.err.split())
    folder = [json.loads(line) for line in run(*command, "--file", tmp_path).out.splitlines()]
    assert [each["file"] for each in folder] == [str(tmp_path / "a.txt")]


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_what_was_stopped_goes_on_with_nothing_lost_and_nothing_twice(
    run: Run, classifier: Path, table: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"out{ending}"
    command = ["classify", "-m", classifier, "--file", table, "--out", out]
    assert run(*command).code == 0
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    for kept in (0, 1, 7, len(lines) - 1):
        out.write_bytes(b"".join(lines[:kept]) + lines[kept][:-3])  # killed within a line
        assert run(*command).code == 0
        assert out.read_bytes() == whole
    assert run(*command).code == 0
    assert out.read_bytes() == whole
    if ending == ".csv":
        read = list(csv.DictReader(out.read_text().splitlines()))
        assert [each["row"] for each in read] == [str(number) for number in range(1, 301)]
        assert json.loads(read[0]["probabilities"]).keys() == {"bad", "fine", "good"}
    else:
        assert [each["row"] for each in rows(out)] == list(range(1, 301))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["w10", "--file", "TABLE"], "leave one of them out"),
        (["w10", "--columns", "review"], "and there are none"),
        (["--file", "TABLE", "--columns", "reviw"], "no column 'reviw'; did you mean 'review'?"),
        (["--file", "TABLE", "--columns", "id", "review"], "2 columns were named, and 1 is read"),
        (["--file", "nowhere.csv"], "no such file"),
        (["--file", "TABLE", "--out", "OUT.txt"], "written as .jsonl, .csv, .tsv"),
        (["--file", "TABLE", "--out", "OTHER.jsonl"], "holds answers to other texts; name a new file"),
        (["--file", "TABLE", "--out", "BAD.jsonl"], "holds other things than answers by row"),
        (["w10", "--labels", "x", "y"], "name a model of entailment"),
    ],
)
def test_what_cannot_be_read_or_written_is_said(
    run: Run, classifier: Path, table: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    (tmp_path / "OTHER.jsonl").write_text('{"row": 1, "text": "w99", "label": "x"}\n')
    (tmp_path / "BAD.jsonl").write_text("hello\n")
    names = {"TABLE": str(table)} | {name: str(tmp_path / name) for name in ("OUT.txt", "OTHER.jsonl", "BAD.jsonl")}
    done = run("classify", "-m", classifier, *[names.get(each, each) for each in options])
    assert (done.code, done.out) == (1, "")
    assert said in " ".join(done.err.split())
    assert (tmp_path / "OTHER.jsonl").read_text().count("\n") == 1


def test_pairs_and_a_query(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "embedder"
    saved("bert-states", folder)
    write_marked_tokenizer(folder)
    model = limelight.open(folder, kind=limelight.Embedder)
    (near,) = model.score([("w10 w11", "w12")])
    assert run("similar", "w10 w11", "w12", "-m", folder).out == f"{near:.3f}\n".replace("-", "−")
    (tmp_path / "pairs.csv").write_text("a,b\nw10 w11,w12\n")
    done = run("similar", "--file", tmp_path / "pairs.csv", "--columns", "a", "b", "-m", folder, "--json")
    assert json.loads(done.out) == {"row": 1, "text": "w10 w11", "other": "w12", "score": pytest.approx(near)}
    ranked = run("rerank", "w10", "w12 w13", "w10", "w14", "-m", folder, "--json", "-n", 2).out.splitlines()
    assert json.loads(ranked[0])["text"] == "w10"
    assert json.loads(ranked[0])["score"] == pytest.approx(1, abs=1e-4)
    assert len(ranked) == 2
    (tmp_path / "plain.csv").write_text("w10 w11,w12\nw13,w14\n")
    done = run("similar", "--file", tmp_path / "plain.csv", "-m", folder)
    assert (len(done.out.splitlines()), "the first line is read as a row" in " ".join(done.err.split())) == (2, True)
    assert "two texts make a pair, and 1 are given" in " ".join(run("similar", "one", "-m", folder).err.split())


def test_a_chat_model_answers_and_keeps_a_shape(
    run: Run, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    tiny, text = random_llama(tmp_path_factory), "The cat sat on the mat"
    found = json.loads(run("answer", "Who sat?", text, "-m", tiny, "--json").out)
    assert {"row", "text", "answer", "start", "end", "logprob"} == found.keys()
    place = text[found["start"] : found["end"]]
    assert found["answer"] is None or place in {"", text} or place.casefold() == found["answer"].casefold()
    shares = json.loads(run("classify", text, "--labels", "cat", "John", "-m", tiny, "--json").out)["probabilities"]
    assert sum(shares.values()) == pytest.approx(1)
    pytest.importorskip("llguidance")
    (tmp_path / "schema.json").write_text(
        '{"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": false}'
    )
    assert json.loads(run("extract", text, "--schema", tmp_path / "schema.json", "-m", tiny).out)["n"] in {1, 2}


def test_what_made_a_class_is_shown(run: Run, classifier: Path) -> None:
    text = "w10 w11 w12 w13"
    seen = json.loads(run("look", text, "-m", classifier, "--json", "--method", "leave-one-out").out)
    (shares,) = limelight.open(classifier, kind=limelight.Classifier).classify([text])
    label, share = next(iter(shares.items()))
    assert seen["target"]["word"] == label
    assert math.exp(seen["logprob"]) == pytest.approx(share, rel=1e-3)
    assert [word["word"] for word in seen["words"]] == text.split()
    other = json.loads(run("look", text, "-m", classifier, "--json", "--word", "fine", "--method", "leave-one-out").out)
    assert other["target"]["word"] == "fine"
    drawn = run("look", text, "-m", classifier, "--method", "leave-one-out").out
    assert f"The model says “{label}”" in drawn
    refused = run("look", text, "-m", classifier, "--tokens", 3)
    assert refused.code == 2
    assert "writes no text" in " ".join(refused.err.split())

"""``limelight embed`` and ``limelight fill``."""

import json
from pathlib import Path

import pytest
import torch
from references import saved, write_marked_tokenizer
from tiny_models import Run

import limelight


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sentence-transformers with a prompt."""
    folder = tmp_path_factory.mktemp("embedder")
    saved("bert-states", folder)
    write_marked_tokenizer(folder)
    steps = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    steps += [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    (folder / "modules.json").write_text(json.dumps(steps))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "w5 "}}))
    return folder


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked")
    saved("bert-masked", folder)
    write_marked_tokenizer(folder)
    return folder


def test_a_pipe_gets_a_vector_a_line(run: Run, embedder: Path) -> None:
    expected = limelight.open(embedder, kind=limelight.Embedder).embed(["w10 w11", "w12"])
    given = run("embed", "w10 w11", "w12", "--model", embedder)
    piped = run("embed", "--model", embedder, input=b"w10 w11\nw12\n")
    assert given.code == piped.code == 0
    assert given.out == piped.out
    found = torch.tensor([[float(value) for value in line.split(" ")] for line in given.out.splitlines()])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_json_gives_an_object_a_text_and_a_prompt_is_put_in_front(run: Run, embedder: Path) -> None:
    done = run("embed", "w10", "w11", "--model", embedder, "--json", "--prompt", "query")
    objects = [json.loads(line) for line in done.out.splitlines()]
    assert [each["text"] for each in objects] == ["w10", "w11"]
    expected = limelight.open(embedder, kind=limelight.Embedder).embed(["w5 w10", "w5 w11"])
    torch.testing.assert_close(torch.tensor([each["vector"] for each in objects]), expected, rtol=0, atol=1e-5)
    refused = run("embed", "w10", "--model", embedder, "--prompt", "other")
    assert (refused.code, refused.out) == (1, "")
    assert "prompt is 'other'; it must be one of query" in " ".join(refused.err.split())


def test_a_terminal_shows_how_near_texts_are(run: Run, embedder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    out = run("embed", "w10 w11", "w12 w13 w14", "--model", embedder).out
    vectors = limelight.open(embedder, kind=limelight.Embedder).embed(["w10 w11", "w12 w13 w14"])
    assert "2 vectors of 64 numbers" in out
    assert f"{float(torch.cosine_similarity(vectors[0], vectors[1], 0)):.2f}" in out


def test_gaps_are_filled(run: Run, masked: Path) -> None:
    model = limelight.open(masked, kind=limelight.MaskedModel)
    text = "w10 [MASK] w11 [MASK]"
    expected = model.fill(text, 3)
    done = run("fill", text, "--model", masked, "--n", 3)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines == [
        f"gap {number}: " + "  ".join(f"{token} {value:.1%}" for token, value in gap)
        for number, gap in enumerate(expected, 1)
    ]
    found = [
        json.loads(line) for line in run("fill", "-m", masked, "--json", input=b"[MASK] w5\n" * 2).out.splitlines()
    ]
    assert len(found) == 2
    assert found[0]["text"] == "[MASK] w5"
    assert [each["token"] for each in found[0]["gaps"][0]] == [token for token, _ in model.fill("[MASK] w5")[0]]


def test_what_cannot_be_filled_or_embedded_is_said(run: Run, masked: Path, embedder: Path, tiny: Path) -> None:
    for arguments, said in (
        (("fill", "w10 w11", "-m", masked), "the text has no gap to fill; write [MASK] where a word is missing"),
        (("fill", "w10 </s> [MASK]", "-m", masked), "the text holds </s>, one of the model's own marks; leave it out"),
        (("fill", "[MASK]", "-m", embedder), "embeds texts; name a model that fills gaps"),
        (("embed", "w10", "-m", masked), "fills gaps; name a model that embeds texts"),
        (("embed", "w10", "-m", tiny), "continues texts; name a model that embeds texts"),
        (("complete", "w10", "-m", masked), "fills gaps and writes no text; use limelight fill"),
    ):
        done = run(*arguments)
        assert (done.code, done.out) == (1, ""), arguments
        assert said in " ".join(done.err.split()), done.err


def test_both_read_files_and_go_on_where_they_were_stopped(
    run: Run, embedder: Path, masked: Path, tmp_path: Path
) -> None:
    table = tmp_path / "a.csv"
    table.write_text("id,text\n1,w10 [MASK]\n2,\n3,w12 [MASK]\n")
    vectors = run("embed", "-m", embedder, "--file", table).out.splitlines()
    assert [bool(line) for line in vectors] == [True, False, True]  # a line a row
    assert vectors[0] == run("embed", "-m", embedder, "w10 [MASK]").out.strip()
    for verb, model, key in (("embed", embedder, "vector"), ("fill", masked, "gaps")):
        out = tmp_path / f"{verb}.jsonl"
        command = [verb, "-m", model, "--file", table, "--columns", "text", "--out", out]
        assert run(*command).code == 0
        whole = out.read_bytes()
        assert [json.loads(line).keys() for line in whole.splitlines()] == [{"row", "text", key}] * 2
        out.write_bytes(whole[: whole.index(b"\n") + 20])
        assert run(*command).code == 0
        assert out.read_bytes() == whole


def test_a_row_that_cannot_be_answered_is_named(run: Run, masked: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("w10 w11\n\nw12 [MASK]\n" + "w10 " * 200 + "\n")
    wrong = run("fill", "-m", masked, "--file", tmp_path / "a.txt").err
    assert "row 1: the text has no gap to fill" in " ".join(wrong.split())
    folder = tmp_path / "model"
    saved("bert-states", folder)
    write_marked_tokenizer(folder)
    done = run("embed", "-m", folder, "--file", tmp_path / "a.txt")
    assert (done.code, done.out) == (1, "")
    assert "row 4: text 1 has 202 tokens" in " ".join(done.err.split())


def test_gaps_are_judged_by_perplexity(run: Run, masked: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("w10 w11 w12 w13\n" * 50)
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f"{n},w10 w11 w12 w13\n" for n in range(50)))
    told = run("eval", "fill", "-m", masked, "--test", tmp_path / "a.txt").out
    assert "30 gaps in 2 windows: perplexity " in told
    done = run("eval", "fill", "-m", masked, "--test", tmp_path / "a.csv", "--json")
    found = json.loads(done.out)
    assert (found["windows"], found["gaps"], found["perplexity"]["value"] > 1) == (50, 50, True)
    assert "column: text" in run("eval", "fill", "-m", masked, "--test", tmp_path / "a.csv").err
    wrong = run("eval", "fill", "-m", masked, "--test", tmp_path / "a.txt", "--columns", "text")
    assert (wrong.code, wrong.out) == (1, "")
    assert "columns are those of tables" in " ".join(wrong.err.split())

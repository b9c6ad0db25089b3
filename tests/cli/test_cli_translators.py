"""What `limelight train` has made: `translate`, `eval`, `look`, and saving, from Python and on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import Run

import limelight
from limelight.errors import RequestError
from limelight.tasks.learn import learn


def test_lines_are_translated_in_their_order(run: Run, trained: Callable[[str], Path]) -> None:
    model = trained("gru-attention")
    code, out, err = run("translate", "--model", model, input=b"red dog runs\n\ncat sleeps here\r\nhere red\n")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["rot hund rennt", "", "katze schläft hier", "hier rot"]
    assert run("translate", "-m", model, "red dog runs").out == "rot hund rennt\n"
    assert run("translate", "-m", model, input="\ufeffred dog runs\n".encode()).out == "rot hund rennt\n"


def test_n_best_and_json(run: Run, trained: Callable[[str], Path]) -> None:
    model = trained("gru-attention")
    expected = next(limelight.open(model).translate(["red dog"], best=3))
    lines = run("translate", "-m", model, "red dog", "--nbest", 3).out.splitlines()
    assert lines == [
        f"1 ||| {text} ||| {found.score:.4f}" for text, found in zip(expected.texts, expected.hypotheses, strict=True)
    ]
    found = [
        json.loads(line) for line in run("translate", "-m", model, "--json", input=b"red dog\n\n").out.splitlines()
    ]
    assert [each["source"] for each in found] == ["red dog", ""]
    assert found[0]["translations"][0]["text"] == expected.text
    assert found[1] == {"source": "", "translations": [], "left_out": 0}


def test_tables_and_folders_are_translated_row_by_row(run: Run, trained: Callable[[str], Path], tmp_path: Path) -> None:
    command = ["translate", "-m", trained("gru-attention"), "--beam", 1]
    table, folder = tmp_path / "a.csv", tmp_path / "d"
    table.write_text('id,text\n1,red dog runs\n2,\n3,"cat\nsleeps here"\n')
    assert run(*command, "--file", table).out.splitlines() == ["rot hund rennt", "katze schläft hier"]
    out = tmp_path / "out.jsonl"
    for _ in range(2):
        assert run(*command, "--file", table, "--columns", "text", "--out", out).code == 0
        found = [json.loads(line) for line in out.read_text().splitlines()]
        assert [(each["row"], each["translation"]) for each in found] == [
            (1, "rot hund rennt"),
            (3, "katze schläft hier"),
        ]
        out.write_bytes(out.read_bytes()[:-9])
    folder.mkdir()
    (folder / "a.md").write_text("# red dog\n\ncat sleeps here\n")
    (done,) = run(*command, "--file", folder, "--json").out.splitlines()
    assert json.loads(done) == {
        "row": 1,
        "file": str(folder / "a.md"),
        "translation": "# rot hund\n\nkatze schläft hier",
    }
    for wrong, said in (
        (["--columns", "text", "x"], "and there is none"),
        (["--file", table, "--nbest", 2], "leave the text"),
    ):
        assert said in " ".join(run(*command, *wrong).err.split())


def test_input_that_cannot_be_read(run: Run, trained: Callable[[str], Path], tiny: Path) -> None:
    code, _, err = run("translate", "-m", trained("gru-attention"), input=b"red\ndog \xff\n")
    assert (code, err) == (1, "limelight: standard input, line 2, is not UTF-8 text: byte 4 cannot be read\n")
    code, _, err = run("translate", "-m", tiny, "red")
    assert code == 1
    assert "it was not trained to translate" in err
    code, _, err = run("complete", "red", "-m", trained("gru-attention"))
    assert code == 1
    assert "use limelight translate" in err


def test_scores(run: Run, trained: Callable[[str], Path], data: list[Path]) -> None:
    found = json.loads(run("eval", "translate", "-m", trained("gru-attention"), "--test", *data, "--json").out)
    assert found["bleu"]["value"] > 90
    assert "tok:13a" in found["bleu"]["signature"]
    assert found["chrf2"]["value"] > 95
    assert sum(group["sentences"] for group in found["bleu_by_length"]) == 200
    options = ["--tokenized", "--lowercase", "--beam", 1]
    said = run("eval", "translate", "-m", trained("gru-attention"), "--test", *data, *options).out
    assert "case:lc" in said
    assert "tok:none" in said
    assert "words in the source" in said


def test_lines_without_a_source_are_scored_as_sacrebleu_does(
    run: Run, trained: Callable[[str], Path], tmp_path: Path
) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    sources = ["red dog runs", "", "cat sleeps here", "red cat"]
    references = ["rot hund rennt", "hier hier hier hier", "katze schläft dort", ""]
    files = [tmp_path / "e.en", tmp_path / "e.de"]
    for file, lines in zip(files, (sources, references), strict=True):
        file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    model = trained("gru-attention")
    outputs = run("translate", "-m", model, input="\n".join([*sources, ""]).encode()).out.split("\n")[:-1]
    assert len(outputs) == 4
    found = json.loads(run("eval", "translate", "-m", model, "--test", *files, "--json").out)
    for name, wanted in (("bleu", sacrebleu.corpus_bleu), ("chrf2", sacrebleu.corpus_chrf)):
        assert found[name]["value"] == pytest.approx(wanted(outputs, [references]).score)
    assert sum(group["sentences"] for group in found["bleu_by_length"]) == 4


def test_lines_longer_than_the_model_are_counted(run: Run, trained: Callable[[str], Path], tmp_path: Path) -> None:
    pair = "red " * 600 + "\trot\nred\trot\n"
    (tmp_path / "x.tsv").write_text(pair)
    said = run("eval", "translate", "-m", trained("transformer2017-tiny"), "--test", tmp_path / "x.tsv", "--beam", 1)
    assert "1 of 2 lines are longer than the model can read; their ends are left out" in said.err


@pytest.mark.parametrize("model", ["gru-attention", "gpt-tiny"])
def test_a_translator_is_saved_and_opens_as_one(
    run: Run, trained: Callable[[str], Path], tmp_path: Path, model: str
) -> None:
    translator = limelight.open(trained(model))
    assert isinstance(translator, limelight.Translator)
    limelight.save(translator, tmp_path / "saved")
    again = limelight.open(tmp_path / "saved")
    assert isinstance(again, limelight.Translator)
    lines = ["red dog runs", "cat"]
    assert list(again.translate(lines)) == list(translator.translate(lines))
    with pytest.raises(RequestError, match=r"model is .*; it must be what limelight\.open returns"):
        limelight.save("gpt", tmp_path / "other")  # type: ignore[arg-type]


def test_two_tokenizers_are_saved(data: list[Path], tmp_path: Path) -> None:
    options = {"task": "translate", "train": tuple(map(str, data)), "model": "gru-attention", "tokenizer": "word"}
    learn(options | {"shared": False, "threads": 1, "steps": 2, "width": 8}, tmp_path / "run")
    translator = limelight.open(tmp_path / "run")
    assert isinstance(translator, limelight.Translator)
    limelight.save(translator, tmp_path / "saved")
    again = limelight.open(tmp_path / "saved")
    assert isinstance(again, limelight.Translator)
    assert again.language.read("red dog") == translator.language.read("red dog")
    assert again.language.read("rot hund") == translator.language.read("rot hund")
    assert again.language.source.vocab == translator.language.source.vocab
    assert translator.model is None


def test_a_language_model_that_translates_is_one_for_python_and_the_command_line(
    run: Run, trained: Callable[[str], Path], tmp_path: Path, book: Path
) -> None:
    out = trained("gpt-tiny")
    translator = limelight.open(out)
    assert isinstance(translator, limelight.Translator)
    assert run("translate", "-m", out, "red dog").out.rstrip("\n") == next(translator.translate(["red dog"])).text
    assert "use limelight translate" in run("complete", "red", "-m", out).err
    with pytest.raises(RequestError, match=r"with translator\.model\.look"):
        translator.look("red dog", "rot")
    assert isinstance(translator.model, limelight.Model)
    assert len(translator.model.look("red dog runs").words) == 3
    assert [w["word"] for w in json.loads(run("look", "red dog runs", "-m", out, "--json").out)["words"]][:2] == [
        "red",
        "dog",
    ]
    options = {"task": "generate", "train": (str(book),), "model": str(out), "steps": 1, "context": 8, "threads": 1}
    learn(options, tmp_path / "on")
    assert isinstance(limelight.open(tmp_path / "on"), limelight.Model)


def test_a_language_model_that_was_there_learns_to_translate(
    run: Run, written: Callable[[str], Path], data: list[Path], tmp_path: Path
) -> None:
    options = {"task": "translate", "train": tuple(map(str, data)), "model": str(written("gpt-tiny")), "threads": 1}
    with pytest.raises(RequestError, match=r"sentences of at most \d+ tokens; set longest"):
        learn(options | {"longest": 200}, tmp_path / "run")
    learn(options | {"steps": 2}, tmp_path / "run")
    translator = limelight.open(tmp_path / "run")
    assert isinstance(translator, limelight.Translator)
    assert (
        run("translate", "-m", tmp_path / "run", "red dog").out.rstrip("\n")
        == next(translator.translate(["red dog"])).text
    )


def test_alignment_errors(run: Run, trained: Callable[[str], Path], tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    sentence = {"src_words": ["red", "dog", "runs"], "tgt_words": ["rot", "hund", "rennt"]}
    gold.write_text(json.dumps(sentence | {"alignment": [[0, 0], [1, 1], [2, 2]]}) + "\n")
    for model, wanted in (("gru-attention", [0.0]), ("transformer2017-tiny", [pytest.approx(0.5, abs=0.5)] * 4)):
        found = json.loads(run("eval", "align", "-m", trained(model), "--gold", gold, "--json").out)
        assert found["error_rates"] == wanted
    assert "layer 0  0.000" in run("eval", "align", "-m", trained("gru-attention"), "--gold", gold).out
    assert run("eval", "align", "-m", trained("gru-attention")).err.startswith("limelight: limelight eval align needs")
    assert "did you mean 'align'" in run("eval", "algn", "-m", "x").err


def test_a_translation_is_looked_at(run: Run, trained: Callable[[str], Path]) -> None:
    answer = json.loads(run("look", "red dog runs", "-m", trained("gru-attention"), "--word", "hund", "--json").out)
    assert answer["translation"] == "rot hund rennt"
    assert [max(range(3), key=row.__getitem__) for row in answer["alignment"]] == [0, 1, 2]
    heard = {each["word"]: each["importance"] for each in answer["importance"]["words"]}
    assert max(heard, key=heard.__getitem__) == "dog"
    assert answer["importance"]["method"] == "measured"
    said = run("look", "red dog runs", "-m", trained("gru-attention"), "--target", "rot katze", "--word", 2).out
    assert "The model expected “hund”; “katze” is its no. " in said
    assert "How much less likely “katze” is with each word replaced:" in said
    options = ("--method", "leave-one-out", "--not", "katze", "--word", "hund")
    against = run("look", "red dog runs", "-m", trained("gru-attention"), *options).out
    assert "How much less likely “hund” is beside “katze” with each word left out:" in against


def test_a_source_word_is_hidden_from_a_transformer(trained: Callable[[str], Path]) -> None:
    model = limelight.open(trained("transformer2017-tiny"))
    assert isinstance(model, limelight.Translator)
    seen = model.look("red dog runs", "rot hund")
    found = seen.importance("hund", method="blocking")
    marks, source = model.language.marks, model.language.read("red dog runs")
    target = model.language.target.encode("rot hund").ids
    visible = torch.tensor([[True, False, True, True]])

    def logits(visible: torch.Tensor | None) -> torch.Tensor:
        memory = model.network.encode(torch.tensor([[*source, marks.end]]), None, visible)
        return model.network.step(torch.tensor([[marks.start, *target]]), model.network.start(memory, 3))[0, 1]

    whole, hidden = (scores.log_softmax(0)[target[1]] for scores in (logits(None), logits(visible)))
    assert found.words[1].importance == pytest.approx(float(whole - hidden), abs=1e-4)
    assert seen.alignment(0).shape == (2, 3)
    with pytest.raises(RequestError, match="there is no layer 4"):
        seen.alignment(4)


def test_summaries_are_scored_beside_first_sentences(run: Run, trained: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("rouge_score")
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "red dog", "summary": ["rot hund", "x"]}\n{"text": "", "summary": "x"}\n')
    done = run("eval", "summarise", "-m", trained("gru-attention"), "--test", path, "--json")
    found = json.loads(done.out)
    assert (found["texts"], found["rouge"]["rouge1"]["value"], found["first_sentence"]["rougeL"]["value"]) == (
        1,
        100,
        0,
    )
    done = run("eval", "summarise", "-m", trained("gru-attention"), "--test", path)
    assert "first sentence  0.0 (0.0 to 0.0)" in done.out
    assert "columns: text holds the texts, summary the summaries" in done.err

"""``limelight train``, and what opens afterwards: ``translate``, ``eval``, ``complete`` and ``look``."""

import json
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import Run

import limelight
from limelight.checkpoints.source import resolve
from limelight.errors import LimelightError, RequestError, SourceError
from limelight.tasks.learn import learn
from limelight.train.disk import locked
from limelight.train.settings import Settings, from_toml

WORDS = {"red": "rot", "dog": "hund", "cat": "katze", "runs": "rennt", "sleeps": "schläft", "here": "hier"}
SMALL = "--set threads=1 every=10 average=2 keep=2 --batch-tokens 128 --tokenizer word --dropout 0".split()


def pairs(folder: Path, count: int = 200) -> list[Path]:
    """Sentences of WORDS and their translations word for word, in two files."""
    draw = random.Random(0)
    sides: tuple[list[str], list[str]] = ([], [])
    for _ in range(count):
        sentence = draw.choices(list(WORDS), k=draw.randint(2, 5))
        sides[0].append(" ".join(sentence) + "\n")
        sides[1].append(" ".join(WORDS[word] for word in sentence) + "\n")
    files = [folder / "train.en", folder / "train.de"]
    for file, lines in zip(files, sides, strict=True):
        file.write_text("".join(lines), encoding="utf-8")
    return files


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return pairs(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``trained("gru-attention")``: the run of a model that learnt WORDS, trained once."""
    found: dict[str, Path] = {}

    def trained(model: str) -> Path:
        if model not in found:
            out = tmp_path_factory.mktemp("runs") / model
            steps = 200 if model == "gru-attention" else 30
            options = {"task": "translate", "train": tuple(map(str, data)), "model": model, "tokenizer": "word"}
            options |= {"threads": 1, "batch_tokens": 128, "dropout": 0.0, "average": 1, "lr": 8e-3, "width": 64}
            options["optimizer"] = "adamw"  # by which the recurrent one learns to listen to each word where it stands
            learn(options | {"steps": steps, "every": steps}, out)
            found[model] = out
        return found[model]

    return trained


def test_a_run_holds_all_that_was_said_and_opens(run: Run, data: list[Path], tmp_path: Path) -> None:
    out, config = tmp_path / "run", tmp_path / "options.toml"
    config.write_text('lr = 0.1\nmodel = "gru-attention"\nseed = 7\nwatch = "bleu"\n')
    command = ["train", "translate", "--config", config, "--train", *data, "--valid", *data, "--steps", 10, *SMALL]
    code, said, err = run(*command, "--lr", 0.01, "--out", out)
    assert code == 0
    assert said.startswith("Done after 10 steps: validation loss ")
    assert ", BLEU " in said
    assert f"limelight translate --model {out}" in said
    assert "gru-attention: " in err
    assert "weights learn from 200 pairs" in err
    assert "step 10 of 10" in err
    settings = Settings(**from_toml(out / "settings.toml"))
    assert (settings.lr, settings.seed, settings.every, settings.valid) == (0.01, 7, 10, tuple(map(str, data)))
    events = ("events",) if find_spec("tensorboard") else ()
    for name in ("log.jsonl", "samples.jsonl", "curve.png", "checkpoints", "model/config.json", *events):
        assert (out / name).exists(), name
    assert "→" in json.loads((out / "samples.jsonl").read_text().splitlines()[0])["texts"][0]

    assert resolve(out).path == out / "model"
    again = run("train", "translate", "--out", out, "--json")
    assert again.err == ""
    assert json.loads(again.out)["steps"] == 10
    other = run(*command, "--lr", 0.5, "--out", out)
    assert (other.code, other.out) == (1, "")
    assert "was started with lr 0.01" in other.err


def test_three_words_choose_everything(run: Run, data: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = ["--steps", 2, "--set", "parameters=100000"]
    _, _, err = run("train", "translate", "--train", *data, "--out", out, *small)
    learning = int(err.split("transformer-modern-tiny: ")[1].split(" weights")[0].replace(",", ""))
    assert 50_000 < learning <= 100_000
    settings = from_toml(out / "settings.toml")
    assert (settings["model"], settings["tokenizer"]) == ("transformer-modern-tiny", "bpe")
    assert isinstance(limelight.open(out), limelight.Translator)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("translat --train a b", "did you mean 'translate'"),
        ("translate", "files to learn from"),
        ("translate --train a b --set lr", "--set takes NAME=VALUE, and 'lr' has no ="),
        ("translate --train a b --set warmpu=3", "no option 'warmpu'; did you mean 'warmup'?"),
        ("translate --train a b --set warmup=soon", "warmup is 'soon'; it takes a whole number"),
        ("translate --train a b --model transformer-modern-tny", "did you mean 'transformer-modern-tiny'?"),
        ("translate --train a b --model ./nowhere", "there is no file or folder 'nowhere'"),
        ("generate --train a --model gru-attention", "gru-attention translates; to generate text"),
        ("translate --train a b --model gpt-tiny --set shared=false", "leave shared = true"),
        ("translate --train a b --set watch=blue", "it is one of loss, bleu"),
        ("translate --train nowhere.en nowhere.de", "nowhere.en: no such file"),
        ("translate --train a b --valid nowhere.en nowhere.de", "nowhere.en: no such file"),
        ("translate --train a b --lr -1", "lr is -1.0; it takes a number above 0"),
        ("translate --train a b --set batch_tokens=-5", "batch_tokens is -5; it takes a whole number of at least 1"),
        ("translate --train a b --epochs -1", "epochs is -1.0; it takes a number above 0"),
        ("translate --train a b --epochs 2 --steps 9", "steps and epochs say the same thing in two ways"),
        ("translate --train a b --set width=8 parameters=9", "parameters and width say the same thing in two ways"),
        ("generate --train a --columns 1 2", "columns has no effect when a model learns to generate"),
        ("translate --train a b --set context=9", "context has no effect when a model learns to translate"),
        ("generate --train a --model ./nowhere --vocab 9", "brings its own vocab"),
        ("translate --train a b --lora 8", "lora trains a model on that is there"),
        ("generate --train a --set watch=bleu", "needs translations to score"),
        ("translate --train a b --set shard=true", "shard divides a model among several processes"),
        ("translate --train a b --device cuba", "the device 'cuba' is not one that torch knows"),
        ("translate --train a b --device meta", "nothing is computed on the device 'meta'"),
        ("translate --train /dev/null /dev/null", "/dev/null is no ordinary file"),
        ("translate --train a b --set width=131000", "this machine has"),
        ("translate --train a b --set width=9", "must be a multiple of 8, and 9 is not"),
        ("translate --train a b --set parameters=9", "does not fit into 9 parameters"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / name).write_text("x y z\n" * 100)
    code, out, err = run("train", *options.split(), "--out", "run")
    assert (code, out) == (1, "")
    assert message in err
    assert not (tmp_path / "run" / "settings.toml").exists()


def test_a_folder_that_cannot_be_is_said_first(run: Run, data: list[Path], tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    for place, message in (("notes", "notes is a file; name a new folder"), ("notes/run", "cannot be written")):
        code, out, err = run("train", "translate", "--train", *data, "--out", tmp_path / place)
        assert (code, out) == (1, "")
        assert message in err
    assert (tmp_path / "notes").read_text() == "mine"


def test_what_was_refused_may_be_said_otherwise(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("the cat sat on the mat. " * 20)
    command = ["train", "generate", "--train", tmp_path / "x.txt", "--out", tmp_path / "run", "--steps", 1, *SMALL]
    code, _, err = run(*command, "--set", "context=250", "width=8")
    assert code == 1
    assert "too few examples (0) to keep some from training" in err
    assert not (tmp_path / "run/settings.toml").exists()
    assert run(*command, "--set", "context=8", "width=8").code == 0


@pytest.mark.parametrize(
    ("options", "folder", "message"),
    [
        (5, "run", "options is 5; it must be a dictionary with values by the names of options"),
        ({5: 5}, "run", "no option 5"),
        ({"task": "generate", "train": [5]}, "run", "it takes a list of texts"),
        ({"task": "generate", "train": "book.txt"}, "run", "it takes a list of texts"),
        ({"task": "generate", "train": ["a"], "steps": "5"}, "run", "it takes a whole number"),
        ({"task": "generate", "train": ["a"]}, 5, "folder is 5"),
    ],
)
def test_wrong_types_from_python(options: Any, folder: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(LimelightError, match=message):
        learn(options, tmp_path / folder if isinstance(folder, str) else folder)


def test_the_last_word_on_how_long_counts(run: Run, data: list[Path], tmp_path: Path) -> None:
    config = tmp_path / "options.toml"
    config.write_text("steps = 9999\nepochs = 12.5\n")
    out = tmp_path / "run"
    small = [*SMALL, "--model", "gru-attention", "--set", "width=8"]
    code, *_ = run("train", "translate", "--config", config, "--train", *data, "--steps", 3, *small, "--out", out)
    assert code == 0
    assert from_toml(out / "settings.toml")["steps"] == 3
    # 0 leaves it to the data, also where the run goes on
    assert run("train", "translate", "--epochs", 0, "--lr", 0, "--dropout", -1, "--out", out).code == 0


def test_a_run_goes_on_from_elsewhere_and_its_hint_can_be_pasted(
    run: Run, data: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data[0].parent)
    out = tmp_path / "two words"
    small = [*SMALL, "--model", "gru-attention", "--set", "width=8", "--steps", 3]
    code, said, _ = run("train", "translate", "--train", "train.en", "train.de", *small, "--out", out)
    assert code == 0
    assert shlex.split(said.splitlines()[-1])[-1] == str(out)
    monkeypatch.chdir(tmp_path)
    for files in ([], ["--train", *data]):
        (out / "result.json").unlink()
        assert run("train", "translate", *files, "--out", "two words").code == 0
    code, _, err = run("train", "translate", "--train", *reversed(data), "--out", out)
    assert code == 1
    assert "changed since the run" in err


def test_a_second_training_in_one_folder_is_refused(run: Run, data: list[Path], tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        code, out, err = run("train", "translate", "--train", *data, "--out", tmp_path / "run")
    assert (code, out) == (1, "")
    assert f"another training is at work in {tmp_path / 'run'}" in err


def test_a_config_for_another_task_is_refused(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    config.write_text('task = "generate"\n')
    code, _, err = run("train", "translate", "--config", config, "--out", tmp_path / "run")
    assert code == 1
    assert "is for the task generate; you asked for translate" in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to a child")
def test_ctrl_c_says_how_to_go_on(run: Run, data: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = [*SMALL, "--model", "transformer2017-tiny", "--steps", "1000000"]
    command = [sys.executable, "-m", "limelight", "train", "translate", "--train", *map(str, data), *small]
    with subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.PIPE, text=True) as process:
        wait_for(out / "checkpoints" / "step-000010" / "state.json")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "limelight: stopped; the same command goes on from step" in err
    assert resolve(out).path.parent.parent == out / "checkpoints"  # type: ignore[union-attr]
    assert isinstance(limelight.open(out), limelight.Translator)


def test_the_best_checkpoint_opens_while_a_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").touch()
    with pytest.raises(SourceError, match="has not written a model yet"):
        resolve(tmp_path)
    for step, best in ((10, 10), (20, 20), (30, 20)):
        place = tmp_path / "checkpoints" / f"step-{step:06d}"
        place.mkdir(parents=True)
        (place / "state.json").write_text(json.dumps({"best_step": best}))
    assert resolve(tmp_path).path == tmp_path / "checkpoints" / "step-000020" / "model"
    (place / "state.json").write_text("{")
    with pytest.raises(SourceError, match="step-000030 is damaged"):
        resolve(tmp_path)


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} never came")


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


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "book.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 60)
    return path


@pytest.fixture(scope="module")
def written(book: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``written("lstm")``: the run of a language model."""
    found: dict[str, Path] = {}

    def written(model: str) -> Path:
        if model not in found:
            out = tmp_path_factory.mktemp("runs") / model
            options = {"task": "generate", "train": (str(book),), "model": model, "context": 32, "batch_tokens": 256}
            learn(options | {"steps": 10, "every": 10, "threads": 1}, out)
            found[model] = out
        return found[model]

    return written


@pytest.mark.parametrize("model", ["gpt-tiny", "gru"])
def test_language_models_continue_and_are_looked_at(run: Run, written: Callable[[str], Path], model: str) -> None:
    out = written(model)
    assert len(run("complete", "the quick", "-m", out, "--max-tokens", 5).out) == 6
    answer = json.loads(run("look", "the quick brown", "-m", out, "--json", "--no-continue").out)
    assert answer["method"] == "measured"
    assert [heard["word"] for heard in answer["words"]] == ["the", "quick", "brown"]


def test_a_recurrent_model_says_what_it_lacks(run: Run, written: Callable[[str], Path]) -> None:
    model = limelight.open(written("gru"))
    seen = model.look("the quick brown fox jumps over")
    found = seen.importance("over", method="leave-one-out")
    assert found.check is not None
    assert list(found.losses) == ["replaced", "deleted"]  # nothing can be hidden
    front = model.tokenizer.prefix
    one = seen.importance("over", foil="a", method="leave-one-out")  # asks for one token alone
    a, o = model.tokenizer.id("a"), model.tokenizer.id("o")

    def contrast(text: str) -> float:
        scores = model.network(torch.tensor([[*front, *model.tokenizer.encode(text).ids]]))[0, -1]
        return float(scores[o] - scores[a])

    whole = contrast("the quick brown fox jumps ")
    assert one.words[0].importance == pytest.approx(whole - contrast(" quick brown fox jumps "), abs=1e-4)
    code, _, err = run("look", "the quick brown", "-m", written("gru"), "--method", "blocking", "--no-continue")
    assert code == 1
    assert "recurrent" in err
    with pytest.raises(RequestError, match="recurrent"):
        seen.attention(0, 0)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_trained_model_is_trained_on(
    run: Run, written: Callable[[str], Path], book: Path, tmp_path: Path, rank: int
) -> None:
    lora = ["--lora", rank] if rank else []
    base = written("gpt-tiny")
    code, _, _ = run(
        "train", "generate", "--train", book, "--model", base, *lora, "--steps", 5, "--out", tmp_path / "on"
    )
    assert code == 0
    settings = from_toml(tmp_path / "on" / "settings.toml")
    assert settings["lr"] == (3e-4 if rank else 5e-5)
    assert (settings["dropout"], settings["context"]) == (0.0, 32)
    before, after = (limelight.open(path).network.state_dict() for path in (base, tmp_path / "on"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert all("attention" in name for name in changed) if rank else len(changed) == len(before)


def test_adapters_go_on_beside_the_weights_that_they_began_with(
    run: Run, written: Callable[[str], Path], book: Path, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(written("gpt-tiny") / "model", base)
    out = tmp_path / "on"
    command = ["train", "generate", "--train", book, "--model", base, "--lora", 2, "--steps", 4, "--out", out]
    assert run(*command, "--set", "every=2").code == 0
    (out / "result.json").unlink()
    shutil.rmtree(out / "checkpoints" / "step-000004")
    kept = (base / "model.safetensors").read_bytes()
    weights = load_file(base / "model.safetensors")
    save_file({name: 2 * weight for name, weight in weights.items()}, base / "model.safetensors", {"format": "pt"})
    code, _, err = run(*command)
    assert code == 1
    assert f"the model {base} is not the one that the run in {out} began with" in err
    (base / "model.safetensors").write_bytes(kept)
    assert run(*command).code == 0

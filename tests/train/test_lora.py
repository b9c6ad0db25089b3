"""LoRA: begins as the model itself, learns alone, merges to the same answers, and unmerges to the same bits."""

from pathlib import Path

import pytest
import torch
from cli.tiny_models import llama
from safetensors import safe_open
from small_models import gpt

from limelight.errors import FileError, RequestError
from limelight.models.api import Decoder
from limelight.train.lora import LoraLinear, add_lora, merge, merged, save_peft, tune, unmerge

TOKENS = torch.arange(12).reshape(2, 6)


def bits(network: torch.nn.Module) -> dict[str, bytes]:
    return {name: t.detach().numpy().tobytes() for name, t in network.state_dict().items()}


def adapted(seed: int = 3) -> Decoder:
    network = gpt(40)
    add_lora(network, 4)
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, LoraLinear):
            torch.nn.init.normal_(module.up, std=0.3)
    return network


def test_begins_as_the_model() -> None:
    network = gpt(40)
    before = network(TOKENS)
    add_lora(network, 4)
    assert torch.equal(network(TOKENS), before)
    learning = [name for name, p in network.named_parameters() if p.requires_grad]
    assert len(learning) == 2 * 4 * 2  # two blocks, four projections, two matrices
    assert all(name.endswith((".up", ".down")) for name in learning)


def test_merge_and_unmerge() -> None:
    network = adapted()
    before, answer = bits(network), network(TOKENS)
    assert not torch.allclose(answer, gpt(40)(TOKENS), atol=1e-2)
    with merged(network):
        assert bits(network).keys() == bits(gpt(40)).keys()
        assert torch.allclose(network(TOKENS), answer, atol=1e-5)
    assert bits(network) == before
    kept = merge(network)
    unmerge(network, kept)
    assert bits(network) == before
    base = {name.replace(".base.", "."): t for name, t in before.items() if not name.endswith((".up", ".down"))}
    assert base == bits(gpt(40))


def test_what_was_learned_is_smaller_where_it_does_not_learn() -> None:
    base, network = gpt(40), adapted()
    for module in network.modules():
        if isinstance(module, LoraLinear):
            module.used = 0.7 * module.scale
    full = adapted().train()
    assert torch.equal(network.train()(TOKENS), full(TOKENS))
    with merged(full), merged(network):
        for name, weight in network.state_dict().items():
            first = base.state_dict()[name]
            assert torch.allclose(weight, first + 0.7 * (full.state_dict()[name] - first), atol=1e-6), name
        expected = network(TOKENS)
    assert torch.allclose(network.eval()(TOKENS), expected, atol=1e-5)
    assert not torch.allclose(network(TOKENS), full(TOKENS), atol=1e-2)


def test_what_does_not_fit() -> None:
    with pytest.raises(RequestError, match="no layer to adapt is called qq"):
        add_lora(gpt(40), 4, layers=["qq"])


def test_what_is_put_beside_a_layer() -> None:
    torch.manual_seed(0)
    base = torch.nn.Linear(25, 3)
    layer = LoraLinear(base, 400, 0.5)
    assert (layer.down.shape, layer.up.shape, layer.up.any().item()) == ((400, 25), (3, 400), False)
    assert float(layer.down.detach().abs().max()) == pytest.approx(1 / 25**0.5, rel=1e-2)  # as torch begins a layer
    assert (layer.scale, layer.used, LoraLinear(base, 2, 0.5, 0.25).used) == (0.5, 0.5, 0.375)
    assert {name: p.requires_grad for name, p in layer.named_parameters()} == {
        "down": True,
        "up": True,
        "base.weight": False,
        "base.bias": False,
    }
    plain = layer.merged()
    assert (plain.in_features, plain.out_features, plain.weight.requires_grad) == (25, 3, False)
    assert plain.bias is base.bias
    assert torch.equal(plain.weight, base.weight)


def test_which_layers_are_adapted_and_by_how_much() -> None:
    for given, scale in (({}, 2.0), ({"alpha": 6.0}, 1.5), ({"alpha": 1.0}, 0.25)):
        network = gpt(40)
        add_lora(network, 4, layers=["up"], **given)  # type: ignore[arg-type]
        found = {
            name: (each.scale, len(each.down)) for name, each in network.named_modules() if type(each) is LoraLinear
        }
        assert found == {f"decoder.blocks.{n}.feedforward.up": (scale, 4) for n in (0, 1)}
    with pytest.raises(RequestError) as refused:
        add_lora(gpt(40), 4, layers=["upp", "qq"])
    assert str(refused.value) == (
        "no layer to adapt is called upp or qq; did you mean 'up'?"
        " (full-precision layers: down, k, out, proj, q, up, v)"
    )
    with pytest.raises(RequestError, match=r"called q or k or v or out \(full-precision layers: none\)$"):
        add_lora(torch.nn.ReLU(), 4)
    network = gpt(40)
    tune(network, 4, 0.25)
    assert {(each.scale, each.used) for each in network.modules() if type(each) is LoraLinear} == {(2.0, 1.5)}


def test_adapters_that_other_programs_cannot_open_are_not_written(tmp_path: Path) -> None:
    network = adapted()  # GPT-2 keeps queries, keys and values in one matrix
    save_peft(network, "base", tmp_path / "a")
    save_peft(gpt(40), "base", tmp_path / "a")
    assert not (tmp_path / "a").exists()
    talker = llama(40)
    add_lora(talker, 2)
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match=r"file: cannot be written \(.*File exists"):
        save_peft(talker, "base", tmp_path / "file")
    save_peft(talker, "base", tmp_path / "new" / "b")
    assert sorted(path.name for path in (tmp_path / "new" / "b").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    with safe_open(tmp_path / "new" / "b" / "adapter_model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}  # without which transformers refuses a file

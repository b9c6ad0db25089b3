"""LoRA: begins as the model itself, learns alone, merges to the same answers, and unmerges to the same bits."""

import pytest
import torch
from small_models import gpt

from limelight.errors import RequestError
from limelight.models.api import Decoder
from limelight.train.lora import LoraLinear, add_lora, merge, merged, unmerge

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

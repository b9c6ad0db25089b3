"""Direct logit attribution: its parts are the whole, and each is what its name says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.tiny_models import trained
from references import saved
from torch import Tensor

import limelight
from limelight.errors import RequestError
from limelight.models.build import build
from limelight.models.gpt import gpt

TEXT = "w10 w11 w12 w13 w14 w15"
NAMES = ["llama", "llama-biases-tied", "qwen2", "gemma2", "gpt2", "gpt_neox", "gpt_neox-serial-tied", "phi3-longrope"]


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    return limelight.open(folder, kind=limelight.Model)


def test_the_parts_are_the_difference_of_the_logits(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    logits = seen.logits()[-1]
    for answer, foil in ((20, 30), (30, 20), (7, 95)):
        found = seen.logit_attribution(f"w{answer}", foil=f"w{foil}")
        assert (found.answer, found.foil) == (f"w{answer}", f"w{foil}")
        assert found.log_odds == pytest.approx(float(logits[answer] - logits[foil]), abs=1e-4)
        parts = found.embeddings + float(found.attention.sum() + found.feedforward.sum()) + found.rest
        assert parts == pytest.approx(found.log_odds, abs=1e-4)
        assert found.embeddings + float(found.values.sum()) + found.rest == pytest.approx(found.log_odds, abs=1e-4)
        torch.testing.assert_close(found.values[:, :4], found.heads)
        torch.testing.assert_close(found.values[:, :5].sum(1), found.attention, rtol=1e-4, atol=1e-5)
        assert float(found.values.std()) > 1e-3
    likely = seen.logits()[-1].topk(2).indices.tolist()
    assert seen.logit_attribution().log_odds == pytest.approx(float(logits[likely[0]] - logits[likely[1]]), abs=1e-4)
    with pytest.raises(RequestError, match="begin with the same token"):
        seen.logit_attribution("w20", foil="w20")


def last(model: limelight.Model, name: str, *, ahead: bool = False) -> Tensor:
    """What a module puts out, or reads, at the last place: [·]."""
    found: list[Tensor] = []
    hooks: dict[str, Any] = {name: lambda module, inputs, output: found.append(inputs[0] if ahead else output)}
    with torch.inference_mode():
        model.hooked(hooks).network(torch.tensor([model.encode(TEXT, sink=True)]))
    return found[0][0, -1].double()


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_neox"])
def test_each_part_is_its_vector_through_the_final_norm_and_the_head(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    folder = tmp_path_factory.mktemp(name)
    saved(name, folder)
    model = limelight.open(folder, kind=limelight.Model)
    found = model.look(TEXT).logit_attribution("w20", foil="w30")
    norm, head = model.network.stack.norm, model.network.head.proj
    final = last(model, "decoder.norm", ahead=True)
    if name == "llama":
        scale = norm.weight.double() / (final.square().mean() + norm.eps).sqrt()
    else:
        scale = norm.weight.double() / (final.var(correction=0) + norm.eps).sqrt()
    weights = head.weight.double()

    def through(vector: Tensor) -> float:
        centred = vector if name == "llama" else vector - vector.mean()
        return float((weights[20] - weights[30]) @ (centred * scale))

    with torch.no_grad():
        for layer in range(3):
            block = f"decoder.blocks.{layer}"
            assert float(found.attention[layer]) == pytest.approx(through(last(model, f"{block}.attention")), abs=1e-4)
            fed = through(last(model, f"{block}.feedforward"))
            assert float(found.feedforward[layer]) == pytest.approx(fed, abs=1e-4)
            out = model.network.get_submodule(f"{block}.attention.out")
            mixed = last(model, f"{block}.attention.out", ahead=True)
            for h in range(4):
                own = out.weight.double()[:, h * 16 : (h + 1) * 16] @ mixed[h * 16 : (h + 1) * 16]
                assert float(found.heads[layer, h]) == pytest.approx(through(own), abs=1e-4)
        assert found.embeddings == pytest.approx(through(last(model, "decoder.embeddings")), abs=1e-4)


def test_an_attribution_is_a_table(model: limelight.Model) -> None:
    found = model.look(TEXT).logit_attribution("w20", foil="w30")
    assert found.columns == (*(f"head {i}" for i in range(4)), "bias", "feedforward")
    head, names, *rows = str(found).splitlines()
    assert head.startswith("Logit attribution: “w20” rather than “w30” ")
    assert names.split() == " ".join(["layer", *found.columns]).split()
    assert len(rows) == 3
    (layer, column, value), _ = found.strongest(2)
    assert float(found.values[layer, found.columns.index(column)]) == value
    assert abs(value) == float(found.values.abs().max())


def test_norms_behind_the_parts_are_held_too(tmp_path: Path) -> None:
    tokenizer = trained()
    config = gpt(vocab=tokenizer.vocab, context=64, layers=3, width=32, heads=4, dropout=0.0)
    stack = config.transformer
    blocks = tuple(replace(block, order="post") for block in stack.blocks)
    network = build(replace(config, decoder=replace(stack, blocks=blocks, norm=None))).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + 0.1)
    seen = limelight.Model(network, tokenizer, "post", tmp_path).look("The cat sat on the")
    found = seen.logit_attribution("mat", foil="cat")
    ids = [tokenizer.encode(f" {word}").ids[0] for word in ("mat", "cat")]
    assert found.log_odds == pytest.approx(float(seen.logits()[-1, ids[0]] - seen.logits()[-1, ids[1]]), abs=1e-4)
    parts = found.embeddings + float(found.values.sum()) + found.rest
    assert parts == pytest.approx(found.log_odds, abs=1e-4)
    torch.testing.assert_close(found.values[:, :5].sum(1), found.attention, rtol=1e-4, atol=1e-5)

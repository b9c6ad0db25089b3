"""Ablation: one part at a time as `what_if` does it, to zero and to means that are taken by hand."""

import copy
from typing import Any

import pytest
import torch
from references import saved
from torch import Tensor

import limelight
from limelight.errors import RequestError
from limelight.look import PARTS, Means
from limelight.look.edit import edit

TEXT = "w10 w11 w12 w13 w14 w15"
TEXTS = ["w20 w21 w22", "w30", "w40 w41 w42 w43 w44 w45 w46", "w50 w51 w52"]
MODULES = {"residual": "", "attention": ".attention", "feedforward": ".feedforward", "heads": ".attention.out"}


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2", "gpt_neox"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    return limelight.open(folder, kind=limelight.Model)


@pytest.fixture
def means(model: limelight.Model) -> Means:
    return model.means(TEXTS)


def odds(seen: limelight.Seen) -> float:
    logits = seen.logits()[-1]
    return float(logits[20] - logits[30])


def test_means_are_over_all_places_but_the_sink_token(model: limelight.Model, means: Means) -> None:
    caught: dict[tuple[str, int], list[Tensor]] = {}

    def noting(part: str, layer: int) -> Any:
        def note(module: torch.nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            made = inputs[0] if part in ("residual", "heads") else output
            caught.setdefault((part, layer), []).append(made[0, 1:])

        return note

    hooks = {f"decoder.blocks.{layer}{MODULES[part]}": noting(part, layer) for part in PARTS for layer in range(3)}
    hooks["decoder.norm"] = noting("residual", 3)
    watched = model.hooked(hooks)
    with torch.inference_mode():
        for text in TEXTS:
            watched.network(torch.tensor([model.encode(text, sink=True)]))
    for (part, layer), found in caught.items():
        torch.testing.assert_close(means.of[part][layer], torch.cat(found).mean(0), rtol=1e-4, atol=1e-5)
    assert len(caught) == 4 * 3 + 1
    assert means.places == 14
    assert repr(means) == "Means(3 layers, over 14 tokens)"


def test_a_head_that_is_ablated_is_a_head_that_is_off(model: limelight.Model, means: Means) -> None:
    seen = model.look(TEXT)
    for to in (None, means):
        found = seen.ablate("w20", foil="w30", means=to)
        assert found.whole == pytest.approx(odds(seen), abs=1e-4)
        assert found.log_odds.shape == (3, 4)
        for layer in range(3):
            for head in range(4):
                off = odds(seen.what_if(heads_off=[(layer, head)], means=to))
                assert float(found.log_odds[layer, head]) == pytest.approx(off, abs=1e-4)
        torch.testing.assert_close(found.values, found.log_odds - found.whole)
        assert float(found.values.std()) > 1e-3
    assert "Ablating heads to mean: change of “w20” rather than “w30”, " in str(found)


@pytest.mark.parametrize("part", ["attention", "feedforward"])
def test_a_part_that_is_ablated_everywhere_is_a_part_that_is_off(
    model: limelight.Model, means: Means, part: str
) -> None:
    """Off at every place but the sink token by a hook, and by `what_if` with it."""
    seen = model.look(TEXT)
    for to in (None, means):
        found = seen.ablate("w20", foil="w30", part=part, means=to, tokens=True)
        assert found.log_odds.shape == (3, 7)
        instead = torch.zeros(64) if to is None else to.of[part][1]

        def hook(module: Any, inputs: Any, output: Tensor, instead: Tensor = instead) -> Tensor:
            return instead.expand_as(output)

        def at_the_end(module: Any, inputs: Any, output: Tensor, instead: Tensor = instead) -> Tensor:
            return torch.cat((output[:, :-1], instead.expand_as(output[:, -1:])), 1)

        name = f"decoder.blocks.1.{part}"
        whole = odds(model.hooked({name: hook}).look(TEXT))
        chosen: dict[str, Any] = {f"{part}_off": [1]}
        assert odds(seen.what_if(means=to, **chosen)) == pytest.approx(whole, abs=1e-5)
        end = odds(model.hooked({name: at_the_end}).look(TEXT))
        assert float(found.log_odds[1, -1]) == pytest.approx(end, abs=1e-4)
        assert whole != pytest.approx(found.whole, abs=1e-3)


def test_a_layer_off_with_means_adds_what_it_adds_on_average(model: limelight.Model, means: Means) -> None:
    other = copy.deepcopy(model.network)
    added = means.of["residual"][2] - means.of["residual"][1]
    tokens = torch.tensor([model.encode(TEXT, sink=True)])
    other.decoder.blocks[1].register_forward_hook(lambda module, inputs, output: inputs[0] + added)
    with torch.inference_mode():
        expected = other(tokens)
        found = edit(model.network, layers_off=[1], means=means)(tokens)
        torch.testing.assert_close(found, expected)
        assert not torch.allclose(found, edit(model.network, layers_off=[1])(tokens), atol=1e-3)


def test_what_does_not_fit_is_refused(model: limelight.Model, means: Means, tiny: Any) -> None:
    seen = model.look(TEXT)
    for ask in (seen.ablate, seen.what_if):
        with pytest.raises(RequestError, match=r"means is 3; it must be what `model.means` returns"):
            ask(means=3)  # type: ignore[arg-type]
        with pytest.raises(RequestError, match="of a model of another shape"):
            ask(means=limelight.open(tiny, kind=limelight.Model).means(["The cat"]))
    with pytest.raises(RequestError, match=r"part is 'head'; it must be one of .*; did you mean 'heads'"):
        seen.ablate(part="head")
    for name in ("attention_off", "feedforward_off"):
        with pytest.raises(RequestError, match="layers 0 to 2"):
            seen.what_if(**{name: [3]})  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="no tokens to take a mean of"):
        model.means([])
    with pytest.raises(RequestError, match="has 201 tokens and the model sees at most 128"):
        model.means(["w10", "w11 " * 200])
    with pytest.raises(RequestError, match="part 1 of texts is 3"):
        model.means([3])  # type: ignore[list-item]

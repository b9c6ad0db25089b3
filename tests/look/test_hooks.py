"""Hooks by name on a twin: against torch's own on the model itself."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from references import saved
from torch import Tensor, nn

import limelight
from limelight.errors import RequestError
from limelight.quant.linear import quantise
from limelight.quant.program import fuse

TEXT = "w10 w11 w12 w13 w14"
TOKENS = torch.tensor([[10, 11, 12, 13, 14]])


@pytest.fixture(scope="module", params=["llama", "gemma2", "gpt2", "gpt_neox"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    return limelight.open(folder, kind=limelight.Model)


@torch.inference_mode()
def run(model: limelight.Model) -> Tensor:
    return model.network(TOKENS)


def doubled(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return output * 2


def turned(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.flip(-1)


def flipped(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (inputs[0].flip(-1), *inputs[1:])


@pytest.mark.parametrize(
    "name", ["embed", "decoder.blocks.1", "decoder.blocks.2.attention.out", "decoder.norm", "head"]
)
def test_hooks_do_what_torch_s_own_do(model: limelight.Model, name: str) -> None:
    before = run(model)
    for hooks, pre_hooks in (({name: turned}, {}), ({}, {name: flipped})):
        if name == "embed" and pre_hooks:
            continue
        other = copy.deepcopy(model)
        for hook in hooks.values():
            other.network.get_submodule(name).register_forward_hook(hook)
        for pre_hook in pre_hooks.values():
            other.network.get_submodule(name).register_forward_pre_hook(pre_hook)
        found = run(model.hooked(hooks, pre_hooks))
        assert torch.equal(found, run(other))
        assert not torch.equal(found, before)
    assert torch.equal(run(model), before)  # the model itself goes on as it was


def test_a_hook_may_only_look(model: limelight.Model) -> None:
    seen: list[Tensor] = []
    watched = model.hooked({"decoder.blocks.0.attention.out": lambda module, inputs, output: seen.append(inputs[0])})
    assert torch.equal(run(watched), run(model))
    assert seen[0].shape[:2] == TOKENS.shape
    expected = model.look(TEXT).importance("w13")
    assert watched.look(TEXT).importance("w13") == expected


def test_hooks_of_hooked_models_are_called_in_turn(model: limelight.Model) -> None:
    once = model.hooked({"decoder.blocks.1": doubled})
    twice = once.hooked({"decoder.blocks.1": doubled})
    four = model.hooked({"decoder.blocks.1": lambda module, inputs, output: output * 4})
    assert torch.equal(run(twice), run(four))


def test_a_module_in_several_places_is_hooked_in_one(model: limelight.Model) -> None:
    shared: dict[int, list[str]] = {}
    for name, module in model.network.named_modules(remove_duplicate=False):
        shared.setdefault(id(module), []).append(name)
    names = next(names for names in shared.values() if len(names) > 1 and "positions" not in names[0])
    calls: list[str] = []
    hook = {names[0]: lambda module, inputs, output: calls.append(names[0])}
    pre_hook = {names[0]: lambda module, inputs: calls.append("before")}
    run(model.hooked(hook))
    often = len(calls)
    assert 1 <= often <= 2  # rotary embeddings turn queries and keys
    run(model.hooked(hook, pre_hook))
    assert calls[often:] == ["before", names[0]] * often


def test_names_that_are_none_are_refused_by_name(model: limelight.Model) -> None:
    for name, said in (
        ("decoder.blocks.1.attention.ot", "did you mean 'decoder.blocks.1.attention.out'?"),
        ("decoder.blocks.9.attention", r"did you mean 'decoder.blocks.\d.attention'?"),
        ("decoder.blocks.1.mixture_of_experts", "there are .*'decoder.blocks.1.attention', "),
        ("nothing", "there are 'embed', 'decoder', 'head'"),
        (7, "no module is called 7; there are 'embed'"),
        ("decoder.norm.xyz", "^no module is called 'decoder.norm.xyz'$"),  # which has no parts to list
    ):
        with pytest.raises(RequestError, match=said):
            model.hooked({name: doubled})  # type: ignore[dict-item]
    for name in ("", "decoder.blocks"):
        with pytest.raises(RequestError, match="holds modules and never runs itself; there are"):
            model.hooked(pre_hooks={name: flipped})
    with pytest.raises(RequestError, match="the hook of 'head' is 3; it must be a function"):
        model.hooked({"head": 3})  # type: ignore[dict-item]
    with pytest.raises(RequestError, match=r"^pre_hooks is 3; it must be a dictionary"):
        model.hooked(pre_hooks=3)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="hooks is 3; it must be a dictionary"):
        model.hooked(3)  # type: ignore[arg-type]


def test_a_hook_that_returns_what_does_not_fit_is_named(model: limelight.Model) -> None:
    for made, said in ((TOKENS, r"one of shape \[1, 5\]"), (3, "3")):
        changed = model.hooked({"decoder.blocks.1": lambda module, inputs, output, made=made: made})
        with pytest.raises(
            RequestError, match=f"the hook of 'decoder.blocks.1' returned {said}; it must be a tensor of"
        ):
            run(changed)


def test_what_is_hooked_is_not_saved_without_its_hooks(model: limelight.Model, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="changed by hooks"):
        limelight.save(model.hooked({"head": doubled}), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_low_bit_stacks_that_are_hooked_run_block_by_block(model: limelight.Model) -> None:
    low = copy.deepcopy(model)
    quantise(low.network)
    fuse(low.network)
    low.network.decoder.cache_dtype = None  # what 16 bits round away could tip the next token
    plain = low.complete("w10 w11 w12", max_tokens=12)
    calls = []
    watched = low.hooked({"decoder.blocks.1.attention": lambda module, inputs, output: calls.append(output.shape)})
    assert watched.complete("w10 w11 w12", max_tokens=12).text == plain.text
    assert [shape[1] for shape in calls] == [3, *[1] * 11]
    zero = low.hooked({"decoder.norm": lambda module, inputs, output: output * 0})
    assert zero.complete("w10 w11 w12", max_tokens=3).text != plain.text
    assert low.complete("w10 w11 w12", max_tokens=12).text == plain.text
    with pytest.raises(RequestError, match="keeps its weights"):
        low.hooked({"head.proj.matrix": doubled})

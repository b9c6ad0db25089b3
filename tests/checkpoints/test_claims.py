"""What a checkpoint says of itself is held against what it holds, before anything of that size is made."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from references import saved
from safetensors.torch import load_file, save_file

from limelight.checkpoints.open import open_checkpoint
from limelight.errors import ConfigError, FileError

TOKENS = torch.randint(3, 99, (1, 20), generator=torch.Generator().manual_seed(1))


def change(folder: Path, **keys: Any) -> None:
    """Other values in a folder's config."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def rewrite(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    """Other tensors in a folder's weights; None leaves one out."""
    path = folder / "model.safetensors"
    weights = {**load_file(path), **change}
    path.unlink()  # its pages may be in use
    save_file({name: weight for name, weight in weights.items() if weight is not None}, path)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"num_hidden_layers": 10**9}, "'num_hidden_layers' is 1000000000; it must be a whole number from 1 to 4,096"),
        ({"num_hidden_layers": 4096}, "describes 4,096 layers, but the file holds 30 tensors"),
        *(({"num_hidden_layers": n}, "describes a model of .* numbers, but the file's tensors hold") for n in (4, 30)),
        ({"num_hidden_layers": 2}, "has a tensor for .*, which this model's config has no place for"),
        ({"vocab_size": 1 << 24}, "describes a model of 2,1.* numbers, but the file's tensors hold 105,280"),
        (
            {"vocab_size": 50},
            r"'lm_head\.weight' has the shape \(99, 64\); for .* the config says \(50, 64\)",
        ),
        ({"hidden_size": 1 << 24, "head_dim": 1 << 24}, "describes a model of"),
        ({"num_attention_heads": 1 << 20, "head_dim": 1 << 20}, "describes a model of"),
        ({"num_key_value_heads": 3}, "4 heads cannot share 3 heads of keys and values"),
        ({"head_dim": 15}, "15 of a head's 15 features would turn"),
        (
            {"num_attention_heads": 3, "head_dim": None},
            "'num_attention_heads' is 3, which does not divide the width 64",
        ),
    ],
)
def test_a_config_that_claims_what_the_file_does_not_hold(keys: dict[str, Any], why: str, tmp_path: Path) -> None:
    saved("llama", tmp_path)
    change(tmp_path, **keys)
    with pytest.raises(ConfigError, match=why):
        open_checkpoint(tmp_path)


def test_a_claim_is_held_against_the_file_before_rows_are_put_in_order(tmp_path: Path) -> None:
    saved("glm", tmp_path)  # whose heads' rows stand in another order than ours
    change(tmp_path, num_attention_heads=1 << 20, head_dim=1 << 20)
    with pytest.raises(ConfigError, match="describes a model of"):
        open_checkpoint(tmp_path)


def test_rows_too_many_are_not_left_out_in_silence(tmp_path: Path) -> None:
    saved("phi3", tmp_path)
    name = "model.layers.0.self_attn.qkv_proj.weight"
    weight = load_file(tmp_path / "model.safetensors")[name]
    rewrite(tmp_path, {name: torch.cat((weight, weight[:1]))})
    with pytest.raises(
        ConfigError, match=f"{name}' does not fit the config: it has 129 rows where the config says 128"
    ):
        open_checkpoint(tmp_path)


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    saved("llama", tmp_path)
    name = "model.layers.0.mlp.up_proj.weight"
    for bits in (8, 16, 32, 64):
        for said, kind in ((f"U{bits}", f"uint{bits}"), (f"I{bits}", f"int{bits}")):
            rewrite(tmp_path, {name: torch.zeros(96, 64, dtype=getattr(torch, kind))})
            with pytest.raises(ConfigError, match=f"{name}' holds whole numbers \\({said}\\), as quantised models do"):
                open_checkpoint(tmp_path)
    rewrite(tmp_path, {name: torch.zeros(96, 64, dtype=torch.bool)})
    with pytest.raises(ConfigError, match=r"holds whole numbers \(BOOL\)"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "place",
    ["model.layers.1.self_attn.v_proj.weight", "model.norm.weight", "lm_head.weight", "model.embed_tokens.weight"],
)
def test_a_model_that_computes_no_numbers_is_not_opened(number: float, place: str, tmp_path: Path) -> None:
    saved("llama", tmp_path)
    weight = load_file(tmp_path / "model.safetensors")[place]
    weight[-1] = number  # of the embeddings, a word that is not asked for
    rewrite(tmp_path, {place: weight})
    with pytest.raises(FileError, match=r"computes no numbers \(NaN or infinite\): its weights are damaged"):
        open_checkpoint(tmp_path)


def test_two_tensors_are_not_tied_whatever_the_config_says(tmp_path: Path) -> None:
    expected = saved("llama", tmp_path)
    change(tmp_path, tie_word_embeddings=True)
    with pytest.warns(UserWarning, match=r"are tied, but 'lm_head\.weight' differs and is used"):
        network = open_checkpoint(tmp_path).network
    assert not network.config.tied
    with torch.inference_mode():
        torch.testing.assert_close(network(TOKENS), expected(TOKENS).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kept", [("lm_head.weight",), ("lm_head.weight", "model.embed_tokens.weight")])
def test_tied_embeddings_may_lie_in_the_file_under_either_name(kept: tuple[str, ...], tmp_path: Path) -> None:
    expected = saved("llama-biases-tied", tmp_path)
    embedding = load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"]
    rewrite(tmp_path, {"model.embed_tokens.weight": None, **{name: embedding.clone() for name in kept}})
    network = open_checkpoint(tmp_path).network
    assert network.config.tied
    with torch.inference_mode():
        torch.testing.assert_close(network(TOKENS), expected(TOKENS).logits, rtol=1e-5, atol=1e-5)


def test_a_pipe_as_a_config_is_not_waited_for(tmp_path: Path) -> None:
    saved("llama", tmp_path)
    (tmp_path / "config.json").unlink()
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(FileError, match=r"config\.json: not a regular file"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"quantization_config": {"quant_method": "hqq"}}, "this is a model quantised by hqq"),
        ({"quantization_config": {"bits": 4}}, "this is a model quantised in a form of its own"),
        (
            {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "a", "1": "b", "2": "c"}},
            "this is a classifier with 3 labels",
        ),
        ({"architectures": ["LlamaForTokenClassification"]}, "this is a classifier of tokens with 2 labels"),
        ({"model_type": "whisper"}, "does not open models of the type 'whisper'; it opens gpt2, llama"),
        ({"model_type": ["llama"]}, "has no 'model_type'"),
    ],
)
def test_a_message_says_what_the_model_is(keys: dict[str, Any], what: str, tmp_path: Path) -> None:
    saved("llama", tmp_path)
    change(tmp_path, **keys)
    with pytest.raises(ConfigError, match=what) as refused:
        open_checkpoint(tmp_path)
    assert "did you mean" not in str(refused.value)  # a model of another family is no slip of the keyboard


def test_an_adapter_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(FileError, match=r"holds an adapter \(LoRA\), not a model"):
        open_checkpoint(tmp_path)

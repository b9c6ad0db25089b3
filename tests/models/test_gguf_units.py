"""GGUF files of state space models, linear attention and latent attention, laid out as llama.cpp's converter does."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import references
import torch
import transformers
from gguf_files import add_keys, finish
from references import DEEPSEEK, HYBRID, reference
from torch import Tensor

from limelight.checkpoints.open import open_checkpoint
from limelight.errors import ConfigError
from limelight.models.gguf import family_of
from limelight.models.mapping import Merge, PermuteColumns
from limelight.quant.packed import pack

TOKENS = torch.randint(3, 96, (2, 40), generator=torch.Generator().manual_seed(1))  # more than a chunk
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}

MORE = {
    "qwen3_next-gguf": transformers.Qwen3NextConfig(
        **HYBRID, **EXPERTS, shared_expert_intermediate_size=40, partial_rotary_factor=0.5
    ),
    "qwen3_5_text-gguf": transformers.Qwen3_5TextConfig(**HYBRID),
    "deepseek_v2-gguf": transformers.DeepseekV2Config(
        **DEEPSEEK, q_lora_rank=20, topk_method="group_limited_greedy", n_group=3, topk_group=2,
        routed_scaling_factor=1.5, rope_parameters={
            "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 32,
            "mscale": 0.7, "mscale_all_dim": 0.7,
        },
    ),
}  # fmt: skip
"""References whose configs say what a GGUF file can: all layers with experts, no biases, one temperature."""

Parts = list[tuple[str, Tensor]]


def keys_of(config: transformers.PretrainedConfig, **more: Any) -> dict[str, Any]:
    """What the converter says of every model."""
    keys = {
        "context_length": 128,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        **more,
    }
    if hasattr(config, "num_attention_heads"):
        keys["attention.head_count"] = config.num_attention_heads
        keys["feed_forward_length"] = config.intermediate_size
        keys["attention.layer_norm_rms_epsilon"] = config.rms_norm_eps
        keys["rope.freq_base"] = config.rope_parameters["rope_theta"]
    return keys


def mamba(config: transformers.PretrainedConfig) -> dict[str, Any]:
    one = config.model_type == "mamba"
    inner = config.intermediate_size if one else config.num_heads * config.head_dim
    keys = {"conv_kernel": config.conv_kernel, "inner_size": inner, "state_size": config.state_size}
    keys["time_step_rank"] = config.time_step_rank if one else config.num_heads
    if one:
        keys["dt_b_c_rms"] = False
    else:
        keys["group_count"] = config.n_groups
    said = {f"ssm.{name}": value for name, value in keys.items()}
    eps = {"attention.layer_norm_rms_epsilon": config.layer_norm_epsilon}
    return keys_of(config, **said, **eps, **{"feed_forward_length": 0, "attention.head_count": 0})


def of_mamba(name: str, weight: Tensor, config: transformers.PretrainedConfig) -> Parts:
    two = config.model_type == "mamba2"
    if name.endswith(("A_log", ".D")) and two:
        weight = weight[:, None]
    if name.endswith("mixer.norm.weight"):
        weight = weight.view(config.n_groups, -1)
    return [(name.replace("dt_bias", "dt_proj.bias"), weight)]


def hybrid(config: transformers.PretrainedConfig) -> dict[str, Any]:
    keys = {
        "ssm.conv_kernel": config.linear_conv_kernel_dim,
        "ssm.state_size": config.linear_key_head_dim,
        "ssm.group_count": config.linear_num_key_heads,
        "ssm.time_step_rank": config.linear_num_value_heads,
        "ssm.inner_size": config.linear_value_head_dim * config.linear_num_value_heads,
        "full_attention_interval": 2,
        "rope.dimension_count": int(config.head_dim * config.rope_parameters["partial_rotary_factor"]),
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
    }
    if config.model_type == "qwen3_next":
        keys |= {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32}
        keys |= {"expert_shared_feed_forward_length": 40}
    return keys_of(config, **keys)


def of_hybrid(name: str, weight: Tensor, config: transformers.PretrainedConfig) -> Parts:
    keys, values = config.linear_num_key_heads, config.linear_num_value_heads
    width, inner = 2 * keys * config.linear_key_head_dim, values * config.linear_value_head_dim

    def dealt(part: Tensor, dim: int = 0) -> Tensor:
        """The heads of values in turn through the keys, which Qwen3.5 has and Qwen3-Next has not."""
        if config.model_type == "qwen3_next":
            return part
        shape = part.shape
        apart = part.unflatten(dim, (keys, values // keys, -1)).transpose(dim, dim + 1)
        return apart.reshape(shape)

    leaf = name.rpartition("linear_attn.")[2]
    layer = "".join(re.findall(r"layers\.(\d+)\.", name))
    if leaf == "in_proj_qkvz.weight":
        head = config.linear_key_head_dim
        share = values // keys * config.linear_value_head_dim
        q, k, v, z = (
            part.flatten(0, 1) for part in weight.unflatten(0, (keys, -1)).split([head, head, share, share], 1)
        )
        return [(f"blk.{layer}.attn_qkv.weight", torch.cat((q, k, v))), (f"blk.{layer}.attn_gate.weight", z)]
    if leaf in ("in_proj_qkv.weight", "conv1d.weight"):
        weight = torch.cat((weight[:width], dealt(weight[width:])))
    elif leaf in ("in_proj_z.weight", "in_proj_a.weight", "in_proj_b.weight", "A_log", "dt_bias"):
        weight = dealt(weight)
    elif leaf == "out_proj.weight":
        weight = dealt(weight, 1)
        assert weight.shape[1] == inner
    elif name.endswith("norm.weight") and leaf != "norm.weight":
        weight = weight + 1
    return of_experts(name.replace("dt_bias", "dt_proj.bias"), weight, layer)


def of_experts(name: str, weight: Tensor, layer: str) -> Parts:
    """All experts of a layer in one tensor for each part, as they are in the reference."""
    if name.endswith("experts.gate_up_proj"):
        gate, up = weight.chunk(2, 1)
        return [(f"blk.{layer}.ffn_gate_exps.weight", gate), (f"blk.{layer}.ffn_up_exps.weight", up)]
    if name.endswith("experts.down_proj"):
        return [(f"blk.{layer}.ffn_down_exps.weight", weight)]
    return [(name, weight)]


def deepseek(config: transformers.PretrainedConfig) -> dict[str, Any]:
    three = config.model_type == "deepseek_v3"
    keys: dict[str, Any] = {
        "attention.head_count_kv": 1,
        "attention.kv_lora_rank": config.kv_lora_rank,
        "attention.key_length": config.kv_lora_rank + config.qk_rope_head_dim,
        "attention.value_length": config.kv_lora_rank,
        "attention.key_length_mla": config.qk_nope_head_dim + config.qk_rope_head_dim,
        "attention.value_length_mla": config.v_head_dim,
        "rope.dimension_count": config.qk_rope_head_dim,
        "leading_dense_block_count": config.first_k_dense_replace,
        "vocab_size": config.vocab_size,
        "expert_count": config.n_routed_experts,
        "expert_used_count": config.num_experts_per_tok,
        "expert_feed_forward_length": config.moe_intermediate_size,
        "expert_shared_count": config.n_shared_experts,
        "expert_weights_scale": float(config.routed_scaling_factor),
        "expert_weights_norm": bool(three and config.norm_topk_prob),
        "expert_gating_func": 2 if three else 1,
        "expert_group_count": config.n_group or 1,
        "expert_group_used_count": config.topk_group or 1,
    }
    if config.q_lora_rank:
        keys["attention.q_lora_rank"] = config.q_lora_rank
    if config.rope_parameters["rope_type"] == "yarn":
        keys |= {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}
        keys["rope.scaling.yarn_log_multiplier"] = 0.1 * config.rope_parameters["mscale_all_dim"]
    return keys_of(config, **keys)


def of_deepseek(name: str, weight: Tensor, config: transformers.PretrainedConfig) -> Parts:
    layer = "".join(re.findall(r"layers\.(\d+)\.", name))
    if name.endswith("kv_b_proj.weight"):
        whole = weight.unflatten(0, (config.num_attention_heads, -1))
        keys, values = whole.split([config.qk_nope_head_dim, config.v_head_dim], 1)
        return [(f"blk.{layer}.attn_k_b.weight", keys.transpose(1, 2)), (f"blk.{layer}.attn_v_b.weight", values)]
    if name.endswith("e_score_correction_bias"):
        return [(f"blk.{layer}.exp_probs_b.bias", weight)]
    return of_experts(name, weight, layer)


def older(name: str, weight: Tensor, config: transformers.PretrainedConfig) -> Parts:
    """Before keys and values were kept apart."""
    if name.endswith("kv_b_proj.weight"):
        return [(name, weight)]
    return of_deepseek(name, weight, config)


def older_keys(config: transformers.PretrainedConfig) -> dict[str, Any]:
    keys = deepseek(config)
    keys["attention.key_length"] = keys.pop("attention.key_length_mla")
    keys["attention.value_length"] = keys.pop("attention.value_length_mla")
    return keys | {"attention.head_count_kv": config.num_attention_heads}


def short_convolutions(config: transformers.PretrainedConfig) -> dict[str, Any]:
    heads = [config.num_key_value_heads if kind == "full_attention" else 0 for kind in config.layer_types]
    return {
        "context_length": 128,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": 64,  # which follows from the config
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": heads,
        "attention.layer_norm_rms_epsilon": config.norm_eps,
        "rope.freq_base": config.rope_parameters["rope_theta"],
        "shortconv.l_cache": config.conv_L_cache,
        "vocab_size": config.vocab_size,
    }


def of_convolutions(name: str, weight: Tensor, config: transformers.PretrainedConfig) -> Parts:
    return [(name, weight.squeeze(1) if "conv.conv" in name else weight)]


Keys = Callable[[transformers.PretrainedConfig], dict[str, Any]]
Convert = Callable[[str, Tensor, transformers.PretrainedConfig], Parts]
CASES: dict[str, tuple[str, str, Keys, Convert]] = {
    "mamba": ("mamba", "mamba", mamba, of_mamba),
    "mamba2": ("mamba2", "mamba2", mamba, of_mamba),
    "qwen3next": ("qwen3next", "qwen3_next-gguf", hybrid, of_hybrid),
    "qwen35": ("qwen35", "qwen3_5_text-gguf", hybrid, of_hybrid),
    "lfm2": ("lfm2", "lfm2", short_convolutions, of_convolutions),
    "deepseek2": ("deepseek2", "deepseek_v2-gguf", deepseek, of_deepseek),
    "deepseek2-older": ("deepseek2", "deepseek_v2-gguf", older_keys, older),
    "deepseek3": ("deepseek2", "deepseek_v3", deepseek, of_deepseek),
}


def write(case: str, path: Path) -> transformers.PreTrainedModel:
    architecture, name, keys, convert = CASES[case]
    theirs = reference(name)
    writer = gguf.GGUFWriter(path, architecture)
    add_keys(writer, architecture, keys(theirs.config))
    kinds = {called: number for number, called in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], theirs.config.num_hidden_layers)
    for key, weight in theirs.state_dict().items():
        if key == "lm_head.weight" and theirs.config.tie_word_embeddings:
            continue
        for made, tensor in convert(key, weight, theirs.config):
            called = made if made.startswith("blk.") else names.get_name(made, (".weight", ".bias"))
            assert called is not None, made
            if called.endswith("ssm_a"):
                tensor = -tensor.exp()
            if "conv1d" in called:
                tensor = tensor.squeeze()
            writer.add_tensor(called, tensor.contiguous().numpy())
    finish(writer)
    return theirs


@pytest.mark.parametrize("case", CASES)
def test_every_architecture(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "CONFIGS", {**references.CONFIGS, **MORE})
    theirs = write(case, tmp_path / "model.gguf")
    ours = open_checkpoint(tmp_path / "model.gguf").network
    with torch.inference_mode():
        expected = theirs(TOKENS).logits
        size = float(expected.std())
        torch.testing.assert_close(ours(TOKENS), expected, rtol=2e-5, atol=2e-5 * max(size, 1))


def test_what_cannot_be_followed_is_refused_by_name(tmp_path: Path) -> None:
    config = reference("mamba").config
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "mamba")
    add_keys(writer, "mamba", {**mamba(config), "ssm.dt_b_c_rms": True})
    writer.add_tensor("token_embd.weight", torch.zeros(99, 64).numpy())
    finish(writer)
    with pytest.raises(ConfigError, match=r"'mamba\.ssm\.dt_b_c_rms' is True"):
        open_checkpoint(tmp_path / "model.gguf")


READ = """
    arcee bert bloom cohere2 command-r deepseek2 ernie4_5 exaone4 falcon gemma gemma2 gemma3 glm4 gpt-oss gpt2 gptneox
    granite granitemoe lfm2 llama mamba mamba2 modern-bert mpt nomic-bert olmo olmo2 olmoe phi2 phi3 qwen2 qwen2moe
    qwen3 qwen35 qwen3moe qwen3next rwkv7 smollm3 stablelm starcoder2 t5
""".split()


def test_an_architecture_is_read_or_refused_by_its_name() -> None:
    for named in gguf.MODEL_ARCH_NAMES.values():
        metadata = {"general.architecture": named}
        if named in READ:
            assert family_of(metadata, {})[1].architecture == named
            continue
        with pytest.raises(ConfigError, match=f"does not read the GGUF architecture '{named}'; it reads .*llama"):
            family_of(metadata, {})


def test_a_packed_tensor_whose_columns_move_becomes_numbers() -> None:
    packed = pack(torch.randn(2, 64, 32, generator=torch.Generator().manual_seed(0)))
    whole = packed.dequantize()
    index = torch.arange(32).flip(0)
    assert torch.equal(PermuteColumns(index).load([packed.rows(slice(None))])[0], whole.flatten(0, 1)[:, index])
    assert torch.equal(Merge(2, turned=True).load([packed])[0], whole.transpose(1, 2).flatten(0, 1))
    (merged,) = Merge(2).load([packed])
    assert not isinstance(merged, Tensor)
    assert torch.equal(merged.dequantize(), whole.flatten(0, 1))
    numbers = whole.flatten(0, 1)
    for operation, ours in ((PermuteColumns(index), numbers), (Merge(2), numbers), (Merge(2, turned=True), numbers)):
        assert torch.equal(operation.load(operation.save([ours]))[0], ours)

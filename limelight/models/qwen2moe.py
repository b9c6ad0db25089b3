"""Qwen 1.5 and 2 with experts (Qwen team, 2024): Qwen 2 with small experts, and a shared one that is weighed."""

from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models import decoders, moe
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, kinds
from limelight.models.mapping import Table, WeightMapping


def read(
    keys: ConfigReader, config: c.ModelConfig, count: int, chosen: int, hidden: int, shared: int | None = None
) -> c.ModelConfig:
    """A Qwen with experts, from one without. hidden: of an expert. shared: of one that all positions pass."""
    every, dense = keys.whole("decoder_sparse_step", 1), keys.take("mlp_only_layers", [])
    if not isinstance(dense, list) or not all(isinstance(layer, int) for layer in dense):
        raise keys.refused("mlp_only_layers", dense, "a list of numbers of layers")
    activation = config.transformer.blocks[0].feedforward.activation
    experts = c.Experts(
        c.GatedFeedForward(hidden, activation),
        count,
        c.Router(chosen, keys.truth("norm_topk_prob", False)),
        None if shared is None else c.GatedFeedForward(shared, activation),
        shared is not None,
    )
    return moe.sparse(config, experts, lambda i: i not in dense and (i + 1) % every == 0)


def kept(keys: ConfigReader) -> None:
    """Takes the keys of experts that `read` is still to take, and those that say nothing of what is computed."""
    keys.take("mlp_only_layers")
    for name in ("decoder_sparse_step", "norm_topk_prob"):
        keys.take(name)
    keys.keep(
        "output_router_logits", "router_aux_loss_coef", "intermediate_size", "decoder_sparse_step", "mlp_only_layers"
    )


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    count, chosen = keys.whole("num_experts", 60), keys.whole("num_experts_per_tok", 4)
    hidden, shared = keys.whole("moe_intermediate_size", 1408), keys.whole("shared_expert_intermediate_size", 5632)
    bias = keys.truth("qkv_bias", True)
    windows = _windows(keys)
    kept(keys)
    config = decoders.read("qwen2_moe", keys, context=32768, kv_heads=16, hidden=5632, bias=bias, windows=windows)
    return read(keys, config, count, chosen, hidden, shared)


def _windows(keys: ConfigReader) -> list[int | None]:
    layers, first = keys.layers("num_hidden_layers"), keys.whole("max_window_layers", 28, least=0)
    keys.take("sliding_window")
    keys.keep("sliding_window", "use_sliding_window", "max_window_layers")
    slides = keys.truth("use_sliding_window", False)
    if slides and keys.take("sliding_window") == 0:  # as configs have it where no layer slides
        raise ConfigError(f"{keys.called('use_sliding_window')} asks for windows, but 'sliding_window' is 0")
    window = keys.whole("sliding_window", 4096) if slides else None
    sliding = ["sliding_attention" if (i + 1) % 2 and i < first and slides else "full_attention" for i in range(layers)]
    types = kinds(keys, layers) or sliding
    keys.keep("layer_types")
    return [window if kind == "sliding_attention" else None for kind in types]


def write(config: c.ModelConfig) -> dict[str, Any]:
    """The foreign keys of Qwens with experts."""
    experts = moe.experts_of(config)
    blocks = config.transformer.blocks
    dense = moe.dense_of(config)
    keys = {**decoders.write(config), "moe_intermediate_size": experts.hidden}
    if dense is not None:
        keys["intermediate_size"] = dense.hidden
    return {
        **keys,
        "num_experts": experts.count,
        "num_experts_per_tok": experts.router.chosen,
        "norm_topk_prob": experts.router.normalised,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [i for i, block in enumerate(blocks) if not isinstance(block.feedforward, c.Experts)],
    }


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    windows = [block.attention.window for block in config.transformer.blocks]
    shared = moe.experts_of(config).shared
    keys = write(config)
    del keys["head_dim"]
    return {
        **keys,
        "qkv_bias": config.transformer.blocks[0].attention.bias,
        "shared_expert_intermediate_size": 1 if shared is None else shared.hidden,
        "layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows],
        "sliding_window": next((window for window in windows if window is not None), None),
        "use_sliding_window": any(window is not None for window in windows),
    }


def table(config: c.ModelConfig) -> Table:
    return decoders.table(config).replaced(
        *moe.mappings(),
        *moe.shared_mappings("shared_expert"),
        WeightMapping("model.layers.{i}.mlp.shared_expert_gate.weight", "decoder.blocks.{i}.feedforward.share.weight"),
    )


EXPERTS = {
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}
"""Metadata of GGUF files of experts."""

FAMILY = Family(
    "qwen2_moe",
    {c.LMHead: "Qwen2MoeForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "qwen2moe",
        whole={**EXPERTS, "expert_shared_feed_forward_length": "shared_expert_intermediate_size"},
        experts=True,
    ),
)

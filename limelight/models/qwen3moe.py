"""Qwen 3 with experts (Yang et al., 2025)."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, moe, qwen2moe
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, merged, renamed
from limelight.models.mapping import Table

NAMES = {"num_experts": "num_local_experts"}
"""What newer configs of this family call a key."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(merged(values, NAMES), names=NAMES)
    count, chosen = keys.whole("num_experts", 128), keys.whole("num_experts_per_tok", 8)
    hidden, bias = keys.whole("moe_intermediate_size", 768), keys.truth("attention_bias", False)
    window = keys.whole("sliding_window", 4096) if keys.truth("use_sliding_window", False) else None
    keys.keep("sliding_window", "use_sliding_window", "max_window_layers")
    qwen2moe.kept(keys)
    config = decoders.read(
        "qwen3_moe",
        keys,
        context=32768,
        kv_heads=4,
        hidden=6144,
        bias=bias,
        out_bias=bias,
        head_norm=True,
        windows=[window] * keys.layers("num_hidden_layers"),
    )
    return qwen2moe.read(keys, config, count, chosen, hidden)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    attention = config.transformer.blocks[0].attention
    return {
        **renamed(qwen2moe.write(config), NAMES),
        "attention_bias": attention.bias,
        "sliding_window": attention.window,
        "use_sliding_window": attention.window is not None,
    }


def table(config: c.ModelConfig) -> Table:
    return decoders.table(config).replaced(*moe.mappings())


FAMILY = Family(
    "qwen3_moe",
    {c.LMHead: "Qwen3MoeForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "qwen3moe",
        whole=qwen2moe.EXPERTS,
        tensors={"attention_bias": "blk.0.attn_q.bias"},
        fixed={"norm_topk_prob": True},
        experts=True,
    ),
)

"""Qwen 3 (Yang et al., 2025): Llama with a norm on each head's queries and keys."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, qwen2
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader({"head_dim": 128, **values})
    bias, windows = keys.truth("attention_bias", False), qwen2.windows(keys)
    return decoders.read(
        "qwen3", keys, context=32768, kv_heads=32, bias=bias, out_bias=bias, head_norm=True, windows=windows
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    attention_bias = config.transformer.blocks[0].attention.bias
    return {**decoders.write(config), **qwen2.window_keys(config), "attention_bias": attention_bias}


FAMILY = Family(
    "qwen3",
    {c.LMHead: "Qwen3ForCausalLM"},
    from_hf,
    to_hf,
    decoders.table,
    Gguf("qwen3", tensors={"attention_bias": "blk.0.attn_q.bias"}),
)

"""OLMo (Groeneveld et al., 2024): Llama with norms that have no weights."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader


def clipped(config: c.ModelConfig, limit: float | None) -> c.ModelConfig:
    """The same model, with queries, keys and values cut off at ±limit."""
    return config.with_blocks(lambda i, block: replace(block, attention=replace(block.attention, clip=limit)))


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    bias, limit = keys.truth("attention_bias", False), keys.number("clip_qkv", None)
    config = decoders.read("olmo", keys, context=2048, norm=c.WeightlessLayerNorm(1e-5), bias=bias, out_bias=bias)
    return clipped(config, limit)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    attention = config.transformer.blocks[0].attention
    return {**decoders.write(config, None), "attention_bias": attention.bias, "clip_qkv": attention.clip}


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "layer_norm_eps"}  # which is the same for all


FAMILY = Family(
    "olmo",
    {c.LMHead: "OlmoForCausalLM"},
    from_hf,
    to_hf,
    decoders.table,
    Gguf(
        "olmo",
        ("attention.layer_norm_epsilon", "layer_norm_eps"),
        numbers={"attention.clamp_kqv": "clip_qkv"},
        complete=_said,
        interleaved=True,
    ),
)

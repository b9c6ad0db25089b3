"""Llama (Touvron et al., 2023; Llama 3.1, Meta 2024): pre-norm, rotary, gated feed-forward, grouped keys and values."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    bias, feedforward_bias = keys.truth("attention_bias", False), keys.truth("mlp_bias", False)
    return decoders.read("llama", keys, context=2048, bias=bias, out_bias=bias, feedforward_bias=feedforward_bias)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    block = config.transformer.blocks[0]
    return {**decoders.write(config), "attention_bias": block.attention.bias, "mlp_bias": block.feedforward.bias}


FAMILY = Family(
    "llama",
    {c.LMHead: "LlamaForCausalLM"},
    from_hf,
    to_hf,
    decoders.table,
    # llama.cpp turns neighbouring pairs for this architecture, and its converter reorders q and k for that.
    Gguf("llama", interleaved=True, tensors=decoders.BIASES),
)

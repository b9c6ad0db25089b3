"""Ministral (Mistral AI, 2024): Mistral some of whose layers see a window."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, kinds


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    layers = keys.layers("num_hidden_layers")
    window = keys.whole("sliding_window", None if keys.says("sliding_window") else 4096)
    types = kinds(keys, layers) or ["sliding_attention"] * layers
    keys.keep("sliding_window")
    windows = [window if kind == "sliding_attention" else None for kind in types]
    return decoders.read("ministral", keys, context=131072, kv_heads=8, windows=windows)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    windows = [block.attention.window for block in config.transformer.blocks]
    return {
        **decoders.write(config),
        "layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows],
        "sliding_window": next((window for window in windows if window is not None), None),
    }


FAMILY = Family("ministral", {c.LMHead: "MinistralForCausalLM"}, from_hf, to_hf, decoders.table)

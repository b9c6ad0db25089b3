"""Mistral (Jiang et al., 2023): Llama whose layers see a sliding window."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family
from limelight.models.hf import ConfigReader


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    window = keys.whole("sliding_window", None if keys.says("sliding_window") else 4096)
    windows = [window] * keys.layers("num_hidden_layers")
    return decoders.read("mistral", keys, context=131072, kv_heads=8, windows=windows)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    return {**decoders.write(config), "sliding_window": config.transformer.blocks[0].attention.window}


FAMILY = Family("mistral", {c.LMHead: "MistralForCausalLM"}, from_hf, to_hf, decoders.table)

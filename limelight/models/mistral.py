"""Mistral (Jiang et al., 2023): Llama whose layers see a sliding window."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import llama
from limelight.models.family import Family
from limelight.models.hf import Keys


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = Keys(values)
    window = keys.take("sliding_window", None if "sliding_window" in values else 4096)
    return llama.read("mistral", keys, windows=[window] * keys.need("num_hidden_layers"))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    return {**llama.write(config), "sliding_window": config.transformer.blocks[0].attention.window}


FAMILY = Family("mistral", "MistralForCausalLM", from_hf, to_hf, llama.table)

"""Qwen 2 and 2.5 (Yang et al., 2024): Llama with biases on queries, keys and values."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, kinds


def windows(keys: ConfigReader) -> list[int | None]:
    """Each layer's window: from ``layer_types``, or by the older rule that the layers from `max_window_layers` on
    have one where `use_sliding_window` says so."""
    layers, first = keys.layers("num_hidden_layers"), keys.whole("max_window_layers", 28, least=0)
    window = keys.whole("sliding_window", None if keys.says("sliding_window") else 4096)
    if not keys.truth("use_sliding_window", False):
        window = None
    sliding = ["sliding_attention" if i >= first else "full_attention" for i in range(layers)]
    types = kinds(keys, layers) or sliding
    keys.keep("sliding_window", "use_sliding_window", "max_window_layers", "layer_types")
    return [window if kind == "sliding_attention" else None for kind in types]


def window_keys(config: c.ModelConfig) -> dict[str, Any]:
    """The foreign keys for the layers' windows."""
    found = [block.attention.window for block in config.transformer.blocks]
    window = next((w for w in found if w is not None), None)
    return {
        "layer_types": ["full_attention" if w is None else "sliding_attention" for w in found],
        "sliding_window": window,
        "use_sliding_window": window is not None,
    }


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    return decoders.read("qwen2", keys, context=32768, kv_heads=32, bias=True, windows=windows(keys))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    return {**decoders.write(config), **window_keys(config)}


FAMILY = Family("qwen2", {c.LMHead: "Qwen2ForCausalLM"}, from_hf, to_hf, decoders.table, Gguf("qwen2"))

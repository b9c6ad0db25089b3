"""SmolLM3 (Hugging Face, 2025): Llama in which every fourth layer knows no positions."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, kinds, rotary
from limelight.models.qwen2 import window_keys


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    layers, turned = keys.layers("num_hidden_layers"), _turned(keys)
    bias, feedforward_bias = keys.truth("attention_bias", False), keys.truth("mlp_bias", False)
    window = keys.whole("sliding_window", None) if keys.truth("use_sliding_window", False) else None
    sliding = ["full_attention" if turns or window is None else "sliding_attention" for turns in turned]
    types = kinds(keys, layers) or sliding
    keys.keep("sliding_window", "use_sliding_window", "layer_types", "no_rope_layers", "no_rope_layer_interval")
    config = decoders.read(
        "smollm3",
        keys,
        context=32768,
        turning=partial(rotary, base=2e6),
        kv_heads=4,
        bias=bias,
        out_bias=bias,
        feedforward_bias=feedforward_bias,
        windows=[window if kind == "sliding_attention" else None for kind in types],
        tied=True,
    )

    def still(i: int, block: c.Block) -> c.Block:
        return block if turned[i] else replace(block, attention=replace(block.attention, rotary=None))

    return config.with_blocks(still)


def _turned(keys: ConfigReader) -> list[bool]:
    """Which layers turn their queries and keys."""
    layers, every = keys.layers("num_hidden_layers"), keys.whole("no_rope_layer_interval", 4)
    said = keys.take("no_rope_layers")
    if said is None:
        return [(i + 1) % every != 0 for i in range(layers)]
    if not isinstance(said, list) or len(said) < layers or any(one not in (0, 1) for one in said):
        raise keys.refused("no_rope_layers", said, f"a list with 0 or 1 for each of the {layers} layers")
    return [bool(one) for one in said[:layers]]


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    blocks = config.transformer.blocks
    return {
        **decoders.write(config),
        **window_keys(config),
        "attention_bias": blocks[0].attention.bias,
        "mlp_bias": blocks[0].feedforward.bias,
        "no_rope_layers": [int(block.attention.rotary is not None) for block in blocks],
    }


FAMILY = Family(
    "smollm3",
    {c.LMHead: "SmolLM3ForCausalLM"},
    from_hf,
    to_hf,
    decoders.table,
    Gguf("smollm3", tensors=decoders.BIASES, interleaved=True),
)

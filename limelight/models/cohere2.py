"""Command R7B and A (Cohere, 2024): Command R whose layers have a window, but for every fourth, which knows no
positions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import cohere
from limelight.models import config as c
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, kinds


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    layers, window = keys.layers("num_hidden_layers"), keys.whole("sliding_window", 4096)
    pattern = keys.whole("sliding_window_pattern", 4)
    types = kinds(keys, layers) or [
        "sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(layers)
    ]
    keys.keep("sliding_window", "sliding_window_pattern")
    windows = [window if kind == "sliding_attention" else None for kind in types]
    config = cohere.read("cohere2", keys, base=10000.0, windows=windows)

    def still(i: int, block: c.Block) -> c.Block:
        return block if windows[i] else replace(block, attention=replace(block.attention, rotary=None))

    return config.with_blocks(still)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    windows = [block.attention.window for block in config.transformer.blocks]
    return {
        **cohere.write(config),
        "layer_types": ["full_attention" if w is None else "sliding_attention" for w in windows],
        "sliding_window": next((w for w in windows if w is not None), 4096),
    }


FAMILY = Family(
    "cohere2",
    {c.LMHead: "Cohere2ForCausalLM"},
    from_hf,
    to_hf,
    cohere.table,
    Gguf(
        "cohere2",
        ("attention.layer_norm_epsilon", "layer_norm_eps"),
        whole={"attention.sliding_window": "sliding_window"},
        numbers={"logit_scale": "logit_scale"},
        tensors={"attention_bias": "blk.0.attn_q.bias"},
        interleaved=True,
    ),
)

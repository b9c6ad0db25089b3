"""EXAONE 4 (LG AI Research, 2025): OLMo 2's order of norms, with a norm on each head; where layers have windows, the
others know no positions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, olmo2
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, kinds
from limelight.models.mapping import Table


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    layers, window = keys.layers("num_hidden_layers"), keys.whole("sliding_window", _window(keys))
    pattern = keys.whole("sliding_window_pattern", 4, least=0) if window else 0
    types = kinds(keys, layers) or [
        "sliding_attention" if pattern and (i + 1) % pattern else "full_attention" for i in range(layers)
    ]
    keys.keep("sliding_window", "sliding_window_pattern")
    windows = [window if kind == "sliding_attention" else None for kind in types]
    config = decoders.read(
        "exaone4", keys, context=2048, kv_heads=32, eps=1e-5, head_norm=True, order="output", windows=windows
    )

    def still(i: int, block: c.Block) -> c.Block:
        turns = window is None or windows[i] is not None
        return block if turns else replace(block, attention=replace(block.attention, rotary=None))

    return config.with_blocks(still)


def _window(keys: ConfigReader) -> int | None:
    """The window where the config has none: it may say that there is none."""
    return None if keys.says("sliding_window") else 4096


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    attentions = [block.attention for block in config.transformer.blocks]
    turns = all(each.rotary is not None for each in attentions)
    windows = [each.window for each in attentions]
    alone = next((window for window in windows if window is not None), 4096)
    return {
        **decoders.write(config),
        "layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows],
        "sliding_window": None if turns and not any(windows) else alone,
    }


def table(config: c.ModelConfig) -> Table:
    return decoders.table(config).replaced(*olmo2.BEHIND, without=("input_layernorm", "post_attention_layernorm"))


FAMILY = Family(
    "exaone4",
    {c.LMHead: "Exaone4ForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "exaone4",
        whole={
            "attention.sliding_window": "sliding_window",
            "attention.sliding_window_pattern": "sliding_window_pattern",
        },
        names=olmo2.NAMES,
        without=("attention_after", "feedforward_after"),
        complete=lambda values: {"sliding_window": None, **values},
    ),
)

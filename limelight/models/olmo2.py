"""OLMo 2 (OLMo team, 2025): each part reads the stream as it is, and what it adds is normalised; queries and keys are
normalised across all heads."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader
from limelight.models.mapping import Table, WeightMapping


def as_one(config: c.ModelConfig) -> c.ModelConfig:
    """The same model, with queries and keys normalised across all heads."""
    return config.with_blocks(lambda i, block: replace(block, attention=replace(block.attention, normed="all")))


NORMS = tuple(
    WeightMapping(
        f"model.layers.{{i}}.self_attn.{part}_norm.weight", f"decoder.blocks.{{i}}.attention.{part}_norm.norm.weight"
    )
    for part in "qk"
)
"""The names of norms across all heads."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    bias = keys.truth("attention_bias", False)
    config = decoders.read(
        "olmo2", keys, context=2048, eps=1e-5, bias=bias, out_bias=bias, head_norm=True, order="output"
    )
    return as_one(config)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    return {**decoders.write(config), "attention_bias": config.transformer.blocks[0].attention.bias}


BEHIND = tuple(
    WeightMapping(f"model.layers.{{i}}.post_{part}_layernorm.weight", f"decoder.blocks.{{i}}.{part}_norm.weight")
    for part in ("attention", "feedforward")
)
"""The names of norms behind a block's parts."""


def table(config: c.ModelConfig) -> Table:
    return decoders.table(config).replaced(
        *BEHIND, *NORMS, without=("input_layernorm", "post_attention_layernorm", "q_norm", "k_norm")
    )


NAMES = {"attention_norm": "post_attention_norm", "feedforward_norm": "post_ffw_norm"}
"""What llama.cpp calls norms behind a block's parts."""

ACROSS = {"attention.q_norm.norm": "attn_q_norm", "attention.k_norm.norm": "attn_k_norm"}
"""What llama.cpp calls norms across all heads."""


def _without_windows(values: Mapping[str, Any]) -> dict[str, Any]:
    if window := values.get("sliding_window"):
        raise ConfigError(
            f"the GGUF key 'olmo2.attention.sliding_window' is {window}: this is OLMo 3, which limelight reads from "
            "safetensors alone; open its folder on the hub"
        )
    return dict(values)


FAMILY = Family(
    "olmo2",
    {c.LMHead: "Olmo2ForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "olmo2",
        whole={"attention.sliding_window": "sliding_window"},
        complete=_without_windows,
        names={**NAMES, **ACROSS},
        without=("attention_after", "feedforward_after", "attention.q_norm", "attention.k_norm"),
    ),
)

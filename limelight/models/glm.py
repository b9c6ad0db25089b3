"""GLM-4 (GLM team, 2024): Llama with biases on queries, keys and values, and half of each head turned by neighbouring
features; gate and up are one tensor."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, rotary
from limelight.models.mapping import Split, Table, WeightMapping


def read(family: str, values: Mapping[str, Any], order: c.Order) -> c.ModelConfig:
    """Either form of GLM-4."""
    keys = ConfigReader({"head_dim": 128, **values})
    bias = keys.truth("attention_bias", True)
    return decoders.read(
        family,
        keys,
        context=131072,
        turning=partial(rotary, share=0.5),
        kv_heads=2,
        eps=1.5625e-7,
        bias=bias,
        order=order,
    )


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    return read("glm", values, "pre")


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    attention = config.transformer.blocks[0].attention
    turned = attention.rotary
    assert turned is not None
    share = turned.width / attention.head_width
    return {**decoders.write(config), "attention_bias": attention.bias, "partial_rotary_factor": share}


def table(config: c.ModelConfig) -> Table:
    hidden = config.transformer.blocks[0].feedforward.hidden
    theirs, ours = "model.layers.{i}.", "decoder.blocks.{i}."
    return decoders.table(config).replaced(
        *decoders.interleaved(config),
        WeightMapping(
            f"{theirs}mlp.gate_up_proj.weight",
            (f"{ours}feedforward.gate.weight", f"{ours}feedforward.up.weight"),
            Split((hidden, hidden)),
        ),
        without=("gate_proj", "up_proj"),
    )


FAMILY = Family("glm", {c.LMHead: "GlmForCausalLM"}, from_hf, to_hf, table)

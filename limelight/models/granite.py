"""Granite (IBM, 2024): Llama with four numbers that scale embeddings, scores, what each part adds, and logits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader


def read(family: str, keys: ConfigReader, **more: Any) -> c.ModelConfig:
    """Any Granite, with the same feed-forward in all layers. more: see `decoders.read`."""
    bias, added = keys.truth("attention_bias", False), keys.number("residual_multiplier", 1.0)
    divided = keys.number("logits_scaling", 1.0)
    keys.keep("logits_scaling")
    config = decoders.read(
        family,
        keys,
        context=2048,
        bias=bias,
        out_bias=bias,
        scale=keys.number("attention_multiplier", 1.0),
        embeddings=c.Embeddings(keys.number("embedding_multiplier", 1.0)),
        **more,
    )
    assert isinstance(config.head, c.LMHead)
    config = replace(config, head=replace(config.head, scale=1 / divided))
    return config.with_blocks(lambda i, block: replace(block, scale=added))


def write(config: c.ModelConfig) -> dict[str, Any]:
    """The foreign keys of any Granite."""
    stack, head = config.transformer, config.head
    block = stack.blocks[0]
    assert isinstance(head, c.LMHead)
    return {
        **decoders.write(config),
        "attention_bias": block.attention.bias,
        "embedding_multiplier": stack.embeddings.scale,
        "attention_multiplier": block.attention.scale,
        "residual_multiplier": block.scale,
        "logits_scaling": 1 / head.scale,
    }


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    return read("granite", keys, feedforward_bias=keys.truth("mlp_bias", False))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    return {**write(config), "mlp_bias": config.transformer.blocks[0].feedforward.bias}


GGUF = Gguf(
    "granite",
    numbers={
        "embedding_scale": "embedding_multiplier",
        "attention.scale": "attention_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_scale": "logits_scaling",
    },
    tensors=decoders.BIASES,
    interleaved=True,
)

FAMILY = Family("granite", {c.LMHead: "GraniteForCausalLM"}, from_hf, to_hf, decoders.table, GGUF)

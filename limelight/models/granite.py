"""Granite (IBM, 2024): Llama with four numbers that scale embeddings, scores, what each part adds, and logits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    bias, feedforward_bias = keys.truth("attention_bias", False), keys.truth("mlp_bias", False)
    added, divided = keys.number("residual_multiplier", 1.0), keys.number("logits_scaling", 1.0)
    keys.keep("logits_scaling")
    config = decoders.read(
        "granite",
        keys,
        context=2048,
        bias=bias,
        out_bias=bias,
        feedforward_bias=feedforward_bias,
        scale=keys.number("attention_multiplier", 1.0),
        embeddings=c.Embeddings(keys.number("embedding_multiplier", 1.0)),
    )
    assert isinstance(config.head, c.LMHead)
    config = replace(config, head=replace(config.head, scale=1 / divided))
    return config.with_blocks(lambda i, block: replace(block, scale=added))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack, head = config.transformer, config.head
    block = stack.blocks[0]
    assert isinstance(head, c.LMHead)
    return {
        **decoders.write(config),
        "attention_bias": block.attention.bias,
        "mlp_bias": block.feedforward.bias,
        "embedding_multiplier": stack.embeddings.scale,
        "attention_multiplier": block.attention.scale,
        "residual_multiplier": block.scale,
        "logits_scaling": 1 / head.scale,
    }


FAMILY = Family(
    "granite",
    {c.LMHead: "GraniteForCausalLM"},
    from_hf,
    to_hf,
    decoders.table,
    Gguf(
        "granite",
        numbers={
            "embedding_scale": "embedding_multiplier",
            "attention.scale": "attention_multiplier",
            "residual_scale": "residual_multiplier",
            "logit_scale": "logits_scaling",
        },
        tensors=decoders.BIASES,
        interleaved=True,
    ),
)

"""StarCoder 2 (Lozhkov et al., 2024): Llama's attention with layer norms, biases and a plain feed-forward."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader
from limelight.models.mapping import Table, WeightMapping


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    bias = keys.truth("use_bias", True)
    keys.keep("residual_dropout", "embedding_dropout")
    return decoders.read(
        "starcoder2",
        keys,
        context=4096,
        kv_heads=2,
        norm=c.LayerNorm(keys.number("norm_epsilon", 1e-5)),
        activation=("hidden_act", "gelu_pytorch_tanh"),
        gated=False,
        bias=bias,
        out_bias=bias,
        feedforward_bias=bias,
        windows=[keys.whole("sliding_window", None)] * keys.layers("num_hidden_layers"),
        tied=True,
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    attention = config.transformer.blocks[0].attention
    return {**decoders.write(config, "norm_epsilon"), "use_bias": attention.bias, "sliding_window": attention.window}


def table(config: c.ModelConfig) -> Table:
    theirs, ours = "model.layers.{i}.mlp.", "decoder.blocks.{i}.feedforward."
    return decoders.table(config).replaced(
        WeightMapping(f"{theirs}c_fc.{{p}}", f"{ours}up.{{p}}"),
        WeightMapping(f"{theirs}c_proj.{{p}}", f"{ours}down.{{p}}"),
    )


FAMILY = Family(
    "starcoder2",
    {c.LMHead: "Starcoder2ForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "starcoder2",
        ("attention.layer_norm_epsilon", "norm_epsilon"),
        tensors={"use_bias": "blk.0.attn_q.bias"},
    ),
)

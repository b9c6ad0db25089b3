"""BLOOM (BigScience, 2022): linear biases for positions, and a norm behind the embeddings."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, merged, renamed
from limelight.models.mapping import Table, WeightMapping, grouped_by_head, in_layers

OTHER_NAMES = {"num_attention_heads": "n_head", "num_hidden_layers": "n_layer"}
NAMES = {**OTHER_NAMES, "max_position_embeddings": "seq_length"}
"""What this family calls keys of others; the reference reads the first two by both names, and has no longest text."""


def sloped(config: c.ModelConfig, steepest: float = 8.0) -> c.ModelConfig:
    """The same model, with linear biases for positions."""
    bias = c.LinearBias(steepest=steepest)
    return config.with_blocks(lambda i, block: replace(block, attention=replace(block.attention, score_bias=bias)))


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    older = {} if values.get("n_embed") is None else {"hidden_size": values["n_embed"]}
    said = {name: value for name, value in values.items() if name != "n_embed"} | older
    keys = ConfigReader(merged(said, OTHER_NAMES), names=NAMES)
    if keys.truth("apply_residual_connection_post_layernorm", False):
        raise ConfigError(
            "this BLOOM adds to what its norms make ('apply_residual_connection_post_layernorm'); limelight cannot"
        )
    norm = c.LayerNorm(keys.number("layer_norm_epsilon", 1e-5))
    keys.keep("slow_but_exact", "offset_alibi", "skip_bias_add", "skip_bias_add_qkv", "unk_token_id")
    config = decoders.read(
        "bloom",
        keys,
        context=2048,
        turning=decoders.unturned,
        norm=norm,
        activation="gelu_tanh",
        gated=False,
        hidden=4 * keys.whole("hidden_size"),
        groups=keys.whole("num_attention_heads"),
        bias=True,
        out_bias=True,
        feedforward_bias=True,
        embeddings=c.Embeddings(norm=norm),
        tied=True,
    )
    return sloped(config)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    without = ("head_dim", "num_key_value_heads", "intermediate_size", "hidden_act")
    return renamed(decoders.write(config, "layer_norm_epsilon"), NAMES, without)


PARTS = {
    "input_layernorm": "attention_norm",
    "self_attention.dense": "attention.out",
    "post_attention_layernorm": "feedforward_norm",
    "mlp.dense_h_to_4h": "feedforward.up",
    "mlp.dense_4h_to_h": "feedforward.down",
}


def table(config: c.ModelConfig) -> Table:
    attention, layer = config.transformer.blocks[0].attention, "transformer.h.{i}."
    q_k_v = tuple(f"decoder.blocks.{{i}}.attention.{part}.{{p}}" for part in "qkv")
    by_head = grouped_by_head(attention.heads, attention.head_width)
    mappings = (
        WeightMapping("transformer.word_embeddings.weight", "embed.weight"),
        WeightMapping("transformer.word_embeddings_layernorm.{p}", "decoder.embeddings.norm.{p}"),
        WeightMapping(f"{layer}self_attention.query_key_value.{{p}}", q_k_v, *by_head),
        *in_layers(layer, PARTS),
        WeightMapping("transformer.ln_f.{p}", "decoder.norm.{p}"),
        WeightMapping("lm_head.{p}", "head.proj.{p}"),
    )
    return Table(mappings, prefix="transformer.", tied={"lm_head.weight": "embed.weight"} if config.tied else {})


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return renamed(values, NAMES, ("head_dim", "num_key_value_heads", "intermediate_size"))


FAMILY = Family(
    "bloom",
    {c.LMHead: "BloomForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf("bloom", ("attention.layer_norm_epsilon", "layer_norm_epsilon"), complete=_said, joint=True),
)

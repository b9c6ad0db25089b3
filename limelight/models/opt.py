"""OPT (Zhang et al., 2022): GPT-2 with ReLU and positions that begin behind two rows; one of them normalises behind its
parts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, renamed
from limelight.models.mapping import Table, WeightMapping, in_layers

NAMES = {"intermediate_size": "ffn_dim", "hidden_act": "activation_function"}
"""What this family calls keys of others."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values, names=NAMES)
    width, context = keys.whole("hidden_size"), keys.whole("max_position_embeddings", 2048)
    if keys.whole("word_embed_proj_dim", width) != width:
        narrow = keys.take("word_embed_proj_dim")
        raise keys.refused("word_embed_proj_dim", narrow, f"the model's width, {width}; others cannot be read")
    bias, before = keys.truth("enable_bias", True), keys.truth("do_layer_norm_before", True)
    weighed = keys.truth("layer_norm_elementwise_affine", True)
    keys.keep("word_embed_proj_dim", "dropout", "layerdrop", "init_std")
    ends = before and not keys.truth("_remove_final_layer_norm", False)
    config = decoders.read(
        "opt",
        keys,
        context=2048,
        turning=decoders.unturned,
        norm=c.LayerNorm(1e-5) if weighed else c.WeightlessLayerNorm(1e-5),
        activation=("hidden_act", "relu"),
        gated=False,
        groups=keys.whole("num_attention_heads"),
        bias=bias,
        out_bias=bias,
        feedforward_bias=bias,
        order="pre" if before else "post",
        embeddings=c.Embeddings(positions=c.Learned(context, 2)),
        tied=True,
    )
    return config if ends else replace(config, decoder=replace(config.transformer, norm=None))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack = config.transformer
    block = stack.blocks[0]
    before = block.order == "pre"
    return {
        **renamed(decoders.write(config, None), NAMES, ("head_dim", "num_key_value_heads")),
        "word_embed_proj_dim": stack.width,
        "enable_bias": block.attention.bias,
        "do_layer_norm_before": before,
        "layer_norm_elementwise_affine": isinstance(block.norm, c.LayerNorm),
        "_remove_final_layer_norm": before and stack.norm is None,
    }


PARTS = {
    "self_attn_layer_norm": "attention_norm",
    **{f"self_attn.{part}_proj": f"attention.{part}" for part in ("q", "k", "v", "out")},
    "final_layer_norm": "feedforward_norm",
    "fc1": "feedforward.up",
    "fc2": "feedforward.down",
}


def table(config: c.ModelConfig) -> Table:
    mappings = (
        WeightMapping("model.decoder.embed_tokens.weight", "embed.weight"),
        WeightMapping("model.decoder.embed_positions.weight", "decoder.embeddings.positions.weight"),
        *in_layers("model.decoder.layers.{i}.", PARTS),
        WeightMapping("model.decoder.final_layer_norm.{p}", "decoder.norm.{p}"),
        WeightMapping("lm_head.{p}", "head.proj.{p}"),
    )
    tied = {"lm_head.weight": "embed.weight"} if config.tied else {}
    return Table(mappings, prefix="model.", tied=tied)


FAMILY = Family("opt", {c.LMHead: "OPTForCausalLM"}, from_hf, to_hf, table)

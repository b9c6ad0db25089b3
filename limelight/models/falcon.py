"""Falcon (Almazrouei et al., 2023): attention and feed-forward side by side, one key and value for all heads or for
groups of them; the first small ones had neither, and linear biases for positions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, renamed, rotary
from limelight.models.mapping import Table, WeightMapping, grouped_by_head

NAMES = {"intermediate_size": "ffn_hidden_size", "hidden_act": "activation", "num_key_value_heads": "num_kv_heads"}
"""What this family calls keys of others."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    older = {} if values.get("n_embed") is None else {"hidden_size": values["n_embed"]}
    keys = ConfigReader({name: value for name, value in values.items() if name != "n_embed"} | older, names=NAMES)
    heads, alibi, bias = keys.whole("num_attention_heads"), keys.truth("alibi", False), keys.truth("bias", False)
    newer, parallel = keys.truth("new_decoder_architecture", False), keys.truth("parallel_attn", True)
    norms = keys.whole("num_ln_in_parallel_attn", 2 if newer else 1, most=2)
    if (newer and not parallel) or (not newer and norms == 2):
        raise ConfigError(
            f"the model's config says 'new_decoder_architecture': {newer}, 'parallel_attn': {parallel} and "
            f"'num_ln_in_parallel_attn': {norms}; there is no such Falcon"
        )
    said = keys.whole("num_key_value_heads", heads)
    if alibi:  # then the others mean nothing
        keys.keep("rope_parameters", "rope_scaling", "rope_theta")
    keys.keep("num_key_value_heads", "num_ln_in_parallel_attn", "multi_query", "ffn_hidden_size")
    config = decoders.read(
        "falcon",
        keys,
        context=2048,
        turning=decoders.unturned if alibi else rotary,
        norm=c.LayerNorm(keys.number("layer_norm_epsilon", 1e-5)),
        activation=("hidden_act", "gelu"),
        gated=False,
        hidden=4 * keys.whole("hidden_size"),
        groups=said if newer else 1 if keys.truth("multi_query", True) else heads,
        bias=bias,
        out_bias=bias,
        feedforward_bias=bias,
        order=("parallel" if norms == 2 else "shared") if parallel else "pre",
        tied=True,
    )
    if not alibi:
        return config

    def sloped(i: int, block: c.Block) -> c.Block:  # the reference scales the biases as it scales the products
        attention = block.attention
        return replace(block, attention=replace(attention, score_bias=c.LinearBias(attention.scale)))

    return config.with_blocks(sloped)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    block = config.transformer.blocks[0]
    attention = block.attention
    newer = block.order == "parallel" or attention.kv_heads not in (1, attention.heads)
    return {
        **renamed(decoders.write(config, "layer_norm_epsilon"), NAMES, ("head_dim",)),
        "bias": attention.bias,
        "alibi": attention.score_bias is not None,
        "new_decoder_architecture": newer,
        "parallel_attn": block.order != "pre",
        "multi_query": attention.kv_heads == 1,
        "num_ln_in_parallel_attn": (2 if block.order == "parallel" else 1) if newer else None,
    }


def table(config: c.ModelConfig) -> Table:
    attention = config.transformer.blocks[0].attention
    theirs, ours = "transformer.h.{i}.", "decoder.blocks.{i}."
    two = config.transformer.blocks[0].order == "parallel"
    mappings = (
        WeightMapping("transformer.word_embeddings.weight", "embed.weight"),
        WeightMapping(f"{theirs}{'ln_attn' if two else 'input_layernorm'}.{{p}}", f"{ours}attention_norm.{{p}}"),
        WeightMapping(
            f"{theirs}{'ln_mlp' if two else 'post_attention_layernorm'}.{{p}}", f"{ours}feedforward_norm.{{p}}"
        ),
        WeightMapping(
            f"{theirs}self_attention.query_key_value.{{p}}",
            tuple(f"{ours}attention.{part}.{{p}}" for part in "qkv"),
            *grouped_by_head(attention.kv_heads, attention.head_width, attention.heads // attention.kv_heads),
        ),
        WeightMapping(f"{theirs}self_attention.dense.{{p}}", f"{ours}attention.out.{{p}}"),
        WeightMapping(f"{theirs}mlp.dense_h_to_4h.{{p}}", f"{ours}feedforward.up.{{p}}"),
        WeightMapping(f"{theirs}mlp.dense_4h_to_h.{{p}}", f"{ours}feedforward.down.{{p}}"),
        WeightMapping("transformer.ln_f.{p}", "decoder.norm.{p}"),
        WeightMapping("lm_head.{p}", "head.proj.{p}"),
    )
    return Table(
        mappings,
        prefix="transformer.",
        ignored=(f"{theirs}self_attention.rotary_emb.inv_freq",),
        tied={"lm_head.weight": "embed.weight"} if config.tied else {},
    )


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    one = values["num_key_value_heads"] == 1
    return {**renamed(values, NAMES, ("head_dim",)), "multi_query": one, "new_decoder_architecture": not one}


FAMILY = Family(
    "falcon",
    {c.LMHead: "FalconForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "falcon",
        ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        tensors={"bias": "blk.0.attn_qkv.bias"},
        complete=_said,
        joint=True,
    ),
)

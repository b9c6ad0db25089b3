"""LFM2 (Liquid AI, 2025): layers of short convolutions among layers of attention."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, hybrid, units
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, kinds, merged, rotary
from limelight.models.mapping import Shaped, Table, WeightMapping

FULL, CONV = "full_attention", "conv"

INERT = (
    *("block_dim", "block_mlp_init_scale", "block_norm_eps", "block_out_init_scale", "block_use_swiglu"),
    *("block_use_xavier_init", "conv_dim", "conv_dim_out", "conv_use_xavier_init", "num_heads", "theta"),
    *("full_attn_idxs", "use_pos_enc"),
)
"""Keys of published configs that the reference does not read, or not beside ``layer_types``."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(merged(values, {"tie_embedding": "tie_word_embeddings", "block_ff_dim": "intermediate_size"}))
    layers, listed = keys.layers("num_hidden_layers"), keys.take("full_attn_idxs")
    if listed is not None and not (
        isinstance(listed, list) and all(type(i) is int and 0 <= i < layers for i in listed)
    ):
        raise keys.refused("full_attn_idxs", listed, "a list of the numbers of layers")
    hears = range(layers) if listed is None else listed
    types = kinds(keys, layers, (FULL, CONV)) or [FULL if i in hears else CONV for i in range(layers)]
    bias, conv, hidden = keys.truth("conv_bias", False), keys.whole("conv_L_cache", 3, least=2), _hidden(keys)
    keys.keep(*INERT)
    config = decoders.read(
        "lfm2",
        keys,
        context=128_000,
        turning=partial(rotary, base=1e6),
        kv_heads=8,
        norm=c.RMSNorm(keys.number("norm_eps", 1e-5)),
        activation="silu",
        hidden=12288,
        head_norm=True,
        tied=True,
    )
    unit, wide = units.ShortConv(conv=conv, bias=bias), c.GatedFeedForward(hidden, "silu")
    return config.with_blocks(
        lambda i, block: replace(block, attention=block.attention if types[i] == FULL else unit, feedforward=wide)
    )


def _hidden(keys: ConfigReader) -> int:
    """How wide the feed-forward is, which follows from the width that configs say; an export says the same again."""
    hidden, multiple = keys.whole("intermediate_size", 12288), keys.whole("block_multiple_of", 256)
    factor = keys.number("block_ffn_dim_multiplier", 1.0)
    keys.keep("intermediate_size", "block_multiple_of", "block_ffn_dim_multiplier", "block_auto_adjust_ff_dim")
    if not keys.truth("block_auto_adjust_ff_dim", True):
        return int(hidden)
    return int(-(-int(factor * int(2 * hidden / 3)) // multiple) * multiple)


def _unit(config: c.ModelConfig) -> units.ShortConv:
    """The unit of the first layer that has one; what stands for it where none has."""
    parts = (block.attention for block in config.transformer.blocks)
    return next((part for part in parts if isinstance(part, units.ShortConv)), units.ShortConv(conv=3))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    parts = [block.attention for block in config.transformer.blocks]
    unit = _unit(config)
    said = decoders.write(hybrid.hearing(config)[1], eps="norm_eps")
    del said["hidden_act"]
    return {
        **said,
        "block_auto_adjust_ff_dim": False,
        "layer_types": [CONV if part.carries else FULL for part in parts],
        "conv_L_cache": unit.conv,
        "conv_bias": unit.bias,
    }


NAMES = {
    "operator_norm.weight": "attention_norm.weight",
    "ffn_norm.weight": "feedforward_norm.weight",
    "feed_forward.w1.weight": "feedforward.gate.weight",
    "feed_forward.w3.weight": "feedforward.up.weight",
    "feed_forward.w2.weight": "feedforward.down.weight",
    "self_attn.q_layernorm.weight": "attention.q_norm.weight",
    "self_attn.k_layernorm.weight": "attention.k_norm.weight",
    "self_attn.q_proj.weight": "attention.q.weight",
    "self_attn.k_proj.weight": "attention.k.weight",
    "self_attn.v_proj.weight": "attention.v.weight",
    "conv.in_proj.{p}": "attention.mixed.{p}",
    "conv.conv.{p}": "attention.conv.{p}",
}
"""Of a layer's weights, but for what leads out of attention or convolution."""


def table(config: c.ModelConfig) -> Table:
    theirs, ours = "model.layers.{i}.", "decoder.blocks.{i}."
    mappings = [WeightMapping(theirs + name, ours + own) for name, own in NAMES.items()]
    mappings += hybrid.out(config, f"{theirs}self_attn.out_proj", f"{theirs}conv.out_proj")
    mappings += [
        WeightMapping("model.embed_tokens.weight", "embed.weight"),
        WeightMapping("model.embedding_norm.weight", "decoder.norm.weight"),
        WeightMapping("lm_head.weight", "head.proj.weight"),
    ]
    return Table(tuple(mappings), prefix="model.", tied={"lm_head.weight": "embed.weight"} if config.tied else {})


def _in_gguf(config: c.ModelConfig) -> list[WeightMapping]:
    theirs, ours = "blk.{i}.shortconv.", "decoder.blocks.{i}.attention."
    conv, width = _unit(config).conv, config.width
    return [
        *hybrid.out(config, "blk.{i}.attn_output", f"{theirs}out_proj"),
        WeightMapping("token_embd_norm.{p}", "decoder.norm.{p}"),
        WeightMapping(f"{theirs}in_proj.{{p}}", f"{ours}mixed.{{p}}"),
        WeightMapping(f"{theirs}conv.weight", f"{ours}conv.weight", Shaped((width, conv), (width, 1, conv))),
    ]


def _from_gguf(values: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in values.items() if name not in ("heard", "head_dim")}
    types = [FULL if hears else CONV for hears in values["heard"]]
    return {**said, "layer_types": types, "block_auto_adjust_ff_dim": False}


FAMILY = Family(
    "lfm2",
    {c.LMHead: "Lfm2ForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "lfm2",
        eps=("attention.layer_norm_rms_epsilon", "norm_eps"),
        whole={"shortconv.l_cache": "conv_L_cache"},
        complete=_from_gguf,
        without=("attention.out",),
        hybrid=True,
        own=_in_gguf,
    ),
)

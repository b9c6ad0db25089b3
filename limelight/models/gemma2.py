"""Gemma 2 (Gemma team, 2024): four norms a block, capped scores, every other layer with a window."""

from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, activation_name, head_width, kinds, rope_keys, rotary
from limelight.models.llama import table as llama_table
from limelight.models.mapping import Table, WeightMapping


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    width, layers = keys.whole("hidden_size"), keys.layers("num_hidden_layers")
    heads, head = keys.whole("num_attention_heads"), keys.whole("head_dim", 256)
    head_width(keys, width, heads)  # the reference insists on it, though nothing is shared out
    kv_heads = keys.whole("num_key_value_heads", 4)
    context = keys.whole("max_position_embeddings", 8192)
    norm = c.ShiftedRMSNorm(keys.number("rms_norm_eps", 1e-6))
    bias = keys.truth("attention_bias", False)
    scale = keys.number("query_pre_attn_scalar", 256) ** -0.5
    cap = keys.number("attn_logit_softcapping", None if keys.says("attn_logit_softcapping") else 50.0)
    head_cap = keys.number("final_logit_softcapping", None if keys.says("final_logit_softcapping") else 30.0)
    turning = rotary(keys, head, context)
    if keys.truth("use_bidirectional_attention", False):
        raise ConfigError("this Gemma 2 reads in both directions ('use_bidirectional_attention'); limelight cannot")
    window = keys.whole("sliding_window", 4096)
    types = kinds(keys, layers) or ["full_attention" if i % 2 else "sliding_attention" for i in range(layers)]
    feedforward = c.GatedFeedForward(
        keys.whole("intermediate_size"), keys.activation("hidden_activation", "gelu_pytorch_tanh")
    )
    keys.keep("sliding_window", "hidden_act")  # the second is an older name, which the reference does not read
    blocks = tuple(
        c.Block(
            c.Attention(
                heads,
                kv_heads,
                head,
                scale,
                turning,
                bias,
                bias,
                cap=cap,
                window=window if kind == "sliding_attention" else None,
            ),
            feedforward,
            norm,
            "sandwich",
        )
        for kind in types
    )
    return c.ModelConfig(
        "gemma2",
        keys.whole("vocab_size"),
        context,
        c.TransformerStack(width, blocks, norm, c.Embeddings(width**0.5)),
        c.LMHead(keys.truth("tie_word_embeddings", True), cap=head_cap),
        keys.rest(),
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack, block = config.transformer, config.transformer.blocks[0]
    attention, head = block.attention, config.head
    assert attention.rotary is not None
    assert isinstance(head, c.LMHead)
    windows = [b.attention.window for b in stack.blocks]
    return {
        "vocab_size": config.vocab,
        "hidden_size": stack.width,
        "intermediate_size": block.feedforward.hidden,
        "num_hidden_layers": len(stack.blocks),
        "num_attention_heads": attention.heads,
        "num_key_value_heads": attention.kv_heads,
        "head_dim": attention.head_width,
        "hidden_activation": activation_name(block.feedforward.activation),
        "max_position_embeddings": config.context,
        "rms_norm_eps": block.norm.eps,
        "attention_bias": attention.bias,
        "query_pre_attn_scalar": round(attention.scale**-2),
        "attn_logit_softcapping": attention.cap,
        "final_logit_softcapping": head.cap,
        "layer_types": ["full_attention" if w is None else "sliding_attention" for w in windows],
        "sliding_window": next((w for w in windows if w is not None), 4096),  # the reference cannot run without one
        "tie_word_embeddings": config.tied,
        **rope_keys(attention.rotary, attention.head_width),
    }


def table(config: c.ModelConfig) -> Table:
    base = llama_table(config)
    theirs, ours = "model.layers.{i}.", "decoder.blocks.{i}."
    norms = (
        WeightMapping(f"{theirs}post_attention_layernorm.weight", f"{ours}attention_after.weight"),
        WeightMapping(f"{theirs}pre_feedforward_layernorm.weight", f"{ours}feedforward_norm.weight"),
        WeightMapping(f"{theirs}post_feedforward_layernorm.weight", f"{ours}feedforward_after.weight"),
    )
    kept = tuple(mapping for mapping in base.mappings if mapping.theirs[0] != norms[0].theirs[0])
    return Table(kept + norms, base.prefix, base.ignored, base.tied)


FAMILY = Family("gemma2", {c.LMHead: "Gemma2ForCausalLM"}, from_hf, to_hf, table)

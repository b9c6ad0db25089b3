"""GPT-NeoX and Pythia (Black et al., 2022): attention and feed-forward side by side, rotary on a part of each head."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, activation_name, head_width, rope_keys, rotary
from limelight.models.mapping import Table, WeightMapping, grouped_by_head

OLD_NAMES = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
"""The rotary keys in this family's configs, which are older than the others'."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    width, heads, layers = (
        keys.whole("hidden_size"),
        keys.whole("num_attention_heads"),
        keys.layers("num_hidden_layers"),
    )
    head = head_width(keys, width, heads)
    context = keys.whole("max_position_embeddings", 2048)
    norm = c.LayerNorm(keys.number("layer_norm_eps", 1e-5))
    bias = keys.truth("attention_bias", True)
    turning = rotary(keys, head, context, share=0.25, names=("rotary_emb_base", "rotary_pct"))
    block = c.Block(
        c.Attention(heads, heads, head, head**-0.5, turning, bias, bias),
        c.FeedForward(keys.whole("intermediate_size"), keys.activation("hidden_act", "gelu")),
        norm,
        "parallel" if keys.truth("use_parallel_residual", True) else "pre",
    )
    return c.ModelConfig(
        "gpt_neox",
        keys.whole("vocab_size"),
        context,
        c.TransformerStack(width, (block,) * layers, norm),
        c.LMHead(keys.truth("tie_word_embeddings", False)),
        keys.rest(),
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack, block = config.transformer, config.transformer.blocks[0]
    rotary = block.attention.rotary
    assert rotary is not None
    rope = rope_keys(rotary, block.attention.head_width)
    return {
        "vocab_size": config.vocab,
        "hidden_size": stack.width,
        "intermediate_size": block.feedforward.hidden,
        "num_hidden_layers": len(stack.blocks),
        "num_attention_heads": block.attention.heads,
        "hidden_act": activation_name(block.feedforward.activation),
        "max_position_embeddings": config.context,
        "layer_norm_eps": block.norm.eps,
        "attention_bias": block.attention.bias,
        "use_parallel_residual": block.order == "parallel",
        "tie_word_embeddings": config.tied,
        "rotary_pct": rotary.width / block.attention.head_width,
        **{OLD_NAMES.get(name, name): value for name, value in rope.items()},
    }


def table(config: c.ModelConfig) -> Table:
    attention = config.transformer.blocks[0].attention
    theirs, ours = "gpt_neox.layers.{i}.", "decoder.blocks.{i}."
    mappings = (
        WeightMapping("gpt_neox.embed_in.weight", "embed.weight"),
        WeightMapping(f"{theirs}input_layernorm.{{p}}", f"{ours}attention_norm.{{p}}"),
        WeightMapping(f"{theirs}post_attention_layernorm.{{p}}", f"{ours}feedforward_norm.{{p}}"),
        WeightMapping(
            f"{theirs}attention.query_key_value.{{p}}",
            tuple(f"{ours}attention.{part}.{{p}}" for part in "qkv"),
            *grouped_by_head(attention.heads, attention.head_width),
        ),
        WeightMapping(f"{theirs}attention.dense.{{p}}", f"{ours}attention.out.{{p}}"),
        WeightMapping(f"{theirs}mlp.dense_h_to_4h.{{p}}", f"{ours}feedforward.up.{{p}}"),
        WeightMapping(f"{theirs}mlp.dense_4h_to_h.{{p}}", f"{ours}feedforward.down.{{p}}"),
        WeightMapping("gpt_neox.final_layer_norm.{p}", "decoder.norm.{p}"),
        WeightMapping("embed_out.{p}", "head.proj.{p}"),
    )
    return Table(
        mappings,
        prefix="gpt_neox.",
        ignored=tuple(
            f"{theirs}attention.{name}"
            for name in ("bias", "masked_bias", "rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")
        ),
        tied=dict.fromkeys(("embed_out.weight", "lm_head.weight"), "embed.weight") if config.tied else {},
    )


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in values.items() if name not in ("turned", "head_dim", "num_key_value_heads")}
    return {**said, "rotary_pct": values.get("turned", values["head_dim"]) / values["head_dim"]}


FAMILY = Family(
    "gpt_neox",
    {c.LMHead: "GPTNeoXForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "gptneox",
        ("attention.layer_norm_epsilon", "layer_norm_eps"),
        whole={"rope.dimension_count": "turned"},
        numbers={"rope.freq_base": "rotary_emb_base"},
        truths={"use_parallel_residual": "use_parallel_residual"},
        complete=_said,
        joint=True,
    ),
)

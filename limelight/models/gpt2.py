"""GPT-2 (Radford et al., 2019): pre-norm, learned positions, GELU, one tensor for q, k and v."""

from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, head_width, merged, renamed
from limelight.models.mapping import Split, Table, Transpose, WeightMapping

OTHER_NAMES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
"""What other families call the same; the reference reads these names too, and they win."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(merged(values, OTHER_NAMES))
    width, heads, layers = keys.whole("n_embd"), keys.whole("n_head"), keys.layers("n_layer")
    context = keys.whole("n_positions")
    norm = c.LayerNorm(keys.number("layer_norm_epsilon", 1e-5))
    feedforward = c.FeedForward(keys.whole("n_inner", 4 * width), keys.activation("activation_function", "gelu_new"))
    if keys.truth("add_cross_attention", False):
        raise ConfigError("this GPT-2 has cross-attention ('add_cross_attention'), which limelight does not read")
    head = head_width(keys, width, heads, "n_head")
    scale = head**-0.5 if keys.truth("scale_attn_weights", True) else 1.0
    by_layer = keys.truth("scale_attn_by_inverse_layer_idx", False)
    keys.keep("add_cross_attention")
    blocks = tuple(
        c.Block(
            c.Attention(heads, heads, head, scale / (i + 1) if by_layer else scale, bias=True, out_bias=True),
            feedforward,
            norm,
        )
        for i in range(layers)
    )
    return c.ModelConfig(
        "gpt2",
        keys.whole("vocab_size"),
        context,
        c.TransformerStack(width, blocks, norm, c.Embeddings(positions=c.Learned(context))),
        c.LMHead(keys.truth("tie_word_embeddings", True)),
        keys.rest(),
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack, block = config.transformer, config.transformer.blocks[0]
    return {
        "vocab_size": config.vocab,
        "n_embd": stack.width,
        "n_inner": block.feedforward.hidden,
        "n_layer": len(stack.blocks),
        "n_head": block.attention.heads,
        "n_positions": config.context,
        "activation_function": {"gelu_tanh": "gelu_new"}.get(
            block.feedforward.activation, block.feedforward.activation
        ),
        "layer_norm_epsilon": block.norm.eps,
        "scale_attn_weights": block.attention.scale != 1.0,
        "scale_attn_by_inverse_layer_idx": block.attention.scale != stack.blocks[-1].attention.scale,
        "tie_word_embeddings": config.tied,
    }


def table(config: c.ModelConfig) -> Table:
    width = config.transformer.width
    theirs, ours = "transformer.h.{i}.", "decoder.blocks.{i}."
    mappings = (
        WeightMapping("transformer.wte.weight", "embed.weight"),
        WeightMapping("transformer.wpe.weight", "decoder.embeddings.positions.weight"),
        WeightMapping(f"{theirs}ln_1.{{p}}", f"{ours}attention_norm.{{p}}"),
        WeightMapping(
            f"{theirs}attn.c_attn.{{p}}",
            tuple(f"{ours}attention.{part}.{{p}}" for part in "qkv"),
            Transpose(),
            Split((width, width, width)),
        ),
        WeightMapping(f"{theirs}attn.c_proj.{{p}}", f"{ours}attention.out.{{p}}", Transpose()),
        WeightMapping(f"{theirs}ln_2.{{p}}", f"{ours}feedforward_norm.{{p}}"),
        WeightMapping(f"{theirs}mlp.c_fc.{{p}}", f"{ours}feedforward.up.{{p}}", Transpose()),
        WeightMapping(f"{theirs}mlp.c_proj.{{p}}", f"{ours}feedforward.down.{{p}}", Transpose()),
        WeightMapping("transformer.ln_f.{p}", "decoder.norm.{p}"),
        WeightMapping("lm_head.{p}", "head.proj.{p}"),
    )
    return Table(
        mappings,
        prefix="transformer.",
        ignored=(f"{theirs}attn.bias", f"{theirs}attn.masked_bias"),
        tied={"lm_head.weight": "embed.weight"} if config.tied else {},
    )


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    names = {**OTHER_NAMES, "intermediate_size": "n_inner"}
    return renamed(values, names, ("rope_scaling", "num_key_value_heads", "head_dim"))


FAMILY = Family(
    "gpt2",
    {c.LMHead: "GPT2LMHeadModel"},
    from_hf,
    to_hf,
    table,
    Gguf("gpt2", ("attention.layer_norm_epsilon", "layer_norm_epsilon"), complete=_said, joint=True),
)

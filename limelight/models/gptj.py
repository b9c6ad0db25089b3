"""GPT-J (Wang & Komatsuzaki, 2021): attention and feed-forward side by side behind one norm; neighbouring features of a
part of each head turn."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, merged, renamed
from limelight.models.mapping import Table, WeightMapping, interleaved_rotary

OTHER_NAMES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
NAMES = {**OTHER_NAMES, "intermediate_size": "n_inner", "hidden_act": "activation_function"}
"""What this family calls keys of others; the reference reads the first four by both names."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(merged(values, OTHER_NAMES), names=NAMES)
    turned = c.Rotary(keys.whole("rotary_dim", 64, least=2), 10000.0)
    config = decoders.read(
        "gptj",
        keys,
        context=2048,
        turning=lambda *_: turned,
        norm=c.LayerNorm(keys.number("layer_norm_epsilon", 1e-5)),
        activation=("hidden_act", "gelu_new"),
        gated=False,
        hidden=4 * keys.whole("hidden_size"),
        groups=keys.whole("num_attention_heads"),
        feedforward_bias=True,
        order="shared",
    )
    assert isinstance(config.head, c.LMHead)
    return replace(config, head=replace(config.head, bias=True))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    turned = config.transformer.blocks[0].attention.rotary
    assert turned is not None
    keys = decoders.write(config, "layer_norm_epsilon")
    without = ("head_dim", "num_key_value_heads", "rope_theta", "partial_rotary_factor")
    return {**renamed(keys, NAMES, without), "rotary_dim": turned.width}


def table(config: c.ModelConfig) -> Table:
    attention = config.transformer.blocks[0].attention
    assert attention.rotary is not None
    turned = interleaved_rotary(attention.heads, attention.head_width, attention.rotary.width)
    theirs, ours = "transformer.h.{i}.", "decoder.blocks.{i}."
    mappings = (
        WeightMapping("transformer.wte.weight", "embed.weight"),
        WeightMapping(f"{theirs}ln_1.{{p}}", f"{ours}attention_norm.{{p}}"),
        WeightMapping(f"{theirs}attn.q_proj.weight", f"{ours}attention.q.weight", turned),
        WeightMapping(f"{theirs}attn.k_proj.weight", f"{ours}attention.k.weight", turned),
        WeightMapping(f"{theirs}attn.v_proj.weight", f"{ours}attention.v.weight"),
        WeightMapping(f"{theirs}attn.out_proj.weight", f"{ours}attention.out.weight"),
        WeightMapping(f"{theirs}mlp.fc_in.{{p}}", f"{ours}feedforward.up.{{p}}"),
        WeightMapping(f"{theirs}mlp.fc_out.{{p}}", f"{ours}feedforward.down.{{p}}"),
        WeightMapping("transformer.ln_f.{p}", "decoder.norm.{p}"),
        WeightMapping("lm_head.{p}", "head.proj.{p}"),
    )
    return Table(
        mappings,
        prefix="transformer.",
        ignored=(f"{theirs}attn.bias", f"{theirs}attn.masked_bias"),
        tied={"lm_head.weight": "embed.weight"} if config.tied else {},
    )


FAMILY = Family("gptj", {c.LMHead: "GPTJForCausalLM"}, from_hf, to_hf, table)

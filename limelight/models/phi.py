"""Phi-1, 1.5 and 2 (Li et al., 2023): attention and feed-forward side by side behind one norm, half of each head turns,
biases everywhere."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, rotary
from limelight.models.mapping import Table, WeightMapping


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    head_norm = keys.truth("qk_layernorm", False)
    config = decoders.read(
        "phi",
        keys,
        context=2048,
        turning=partial(rotary, share=0.5),
        norm=c.LayerNorm(keys.number("layer_norm_eps", 1e-5)),
        activation=("hidden_act", "gelu_new"),
        gated=False,
        bias=True,
        out_bias=True,
        feedforward_bias=True,
        head_norm=head_norm,
        order="shared",
    )
    assert isinstance(config.head, c.LMHead)
    return replace(config, head=replace(config.head, bias=True))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    attention = config.transformer.blocks[0].attention
    turned = attention.rotary
    assert turned is not None
    return {
        **decoders.write(config, "layer_norm_eps"),
        "partial_rotary_factor": turned.width / attention.head_width,
        "qk_layernorm": attention.norm is not None,
    }


def table(config: c.ModelConfig) -> Table:
    theirs, ours = "model.layers.{i}.", "decoder.blocks.{i}."
    return decoders.table(config).replaced(
        WeightMapping(f"{theirs}self_attn.dense.{{p}}", f"{ours}attention.out.{{p}}"),
        WeightMapping(f"{theirs}self_attn.q_layernorm.{{p}}", f"{ours}attention.q_norm.{{p}}"),
        WeightMapping(f"{theirs}self_attn.k_layernorm.{{p}}", f"{ours}attention.k_norm.{{p}}"),
        WeightMapping(f"{theirs}mlp.fc1.{{p}}", f"{ours}feedforward.up.{{p}}"),
        WeightMapping(f"{theirs}mlp.fc2.{{p}}", f"{ours}feedforward.down.{{p}}"),
        WeightMapping("model.final_layernorm.{p}", "decoder.norm.{p}"),
        without=("q_norm", "k_norm"),
    )


def part_turns(values: Mapping[str, Any]) -> dict[str, Any]:
    """The config where llama.cpp says how many features of a head turn."""
    turned = values.get("rotary_dim", values["head_dim"])
    kept = {name: value for name, value in values.items() if name != "rotary_dim"}
    return {**kept, "partial_rotary_factor": turned / values["head_dim"]}


FAMILY = Family(
    "phi",
    {c.LMHead: "PhiForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "phi2",
        ("attention.layer_norm_epsilon", "layer_norm_eps"),
        whole={"rope.dimension_count": "rotary_dim"},
        complete=part_turns,
    ),
)

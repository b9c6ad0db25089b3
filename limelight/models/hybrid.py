"""What hybrids share, which have recurrent units in some layers and attention in others; most of it of Qwen3-Next and
Qwen3.5, whose units are those of the gated delta rule."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from limelight.models import config as c
from limelight.models import decoders, units
from limelight.models.hf import ConfigReader, kinds, rotary
from limelight.models.mapping import Permute, Split, Table, WeightMapping

LINEAR, FULL = "linear_attention", "full_attention"


def read(family: str, keys: ConfigReader, *, kv_heads: int, hidden: int) -> c.ModelConfig:
    """Layers of both kinds, with the same dense feed-forward in all. The rest: see `decoders.read`."""
    if keys.activation("hidden_act", "silu") != "silu":
        raise keys.refused("hidden_act", keys.take("hidden_act"), "'silu'")
    layers, every = keys.layers("num_hidden_layers"), keys.whole("full_attention_interval", 4)
    types = kinds(keys, layers, (LINEAR, FULL)) or [LINEAR if (i + 1) % every else FULL for i in range(layers)]
    eps, bias = keys.number("rms_norm_eps", 1e-6), keys.truth("attention_bias", False)
    delta = units.GatedDelta(
        keys=keys.whole("linear_num_key_heads", 16),
        asking_width=keys.whole("linear_key_head_dim", 128),
        units=keys.whole("linear_num_value_heads", 32),
        unit_width=keys.whole("linear_value_head_dim", 128),
        conv=keys.whole("linear_conv_kernel_dim", 4),
        norm=c.RMSNorm(eps),
    )
    config = decoders.read(
        family,
        keys,
        context=32768,
        turning=partial(rotary, share=0.25),
        kv_heads=kv_heads,
        norm=c.ShiftedRMSNorm(eps),
        hidden=hidden,
        bias=bias,
        out_bias=bias,
        head_norm=True,
    )
    heard = replace(config.transformer.blocks[0].attention, gated=True)
    return config.with_blocks(lambda i, block: replace(block, attention=heard if types[i] == FULL else delta))


def write(config: c.ModelConfig, written: Mapping[str, Any], hears: c.Attention) -> dict[str, Any]:
    """The foreign keys of hybrids. written: those of the model if all its layers had attention as `hears` has."""
    parts = [block.attention for block in config.transformer.blocks]
    unit = unit_of(config)
    turned = hears.rotary
    # The reference asks a cache for its length, and only layers of attention have one.
    alone = {"use_cache": False} if all(part.carries for part in parts) else {}
    return {
        **written,
        **alone,
        "attention_bias": hears.bias,
        "partial_rotary_factor": 0.25 if turned is None else turned.width / hears.head_width,
        "layer_types": [LINEAR if part.carries else FULL for part in parts],
        "linear_num_key_heads": unit.keys,
        "linear_key_head_dim": unit.asking_width,
        "linear_num_value_heads": unit.units,
        "linear_value_head_dim": unit.unit_width,
        "linear_conv_kernel_dim": unit.conv,
    }


NONE = units.GatedDelta(keys=16, asking_width=128, units=32, unit_width=128, conv=4, norm=c.RMSNorm(1e-6))
"""What stands for the unit of a model that has none."""


def unit_of(config: c.ModelConfig) -> units.GatedDelta:
    """The unit of the first layer that has one; what stands for it where none has."""
    parts = (block.attention for block in config.transformer.blocks)
    return next((part for part in parts if isinstance(part, units.GatedDelta)), NONE)


def hearing(config: c.ModelConfig) -> tuple[c.Attention, c.ModelConfig]:
    """The attention of the first layer that has any, and the same model with it in all."""
    parts = [block.attention for block in config.transformer.blocks if not block.attention.carries]
    hears = parts[0] if parts else c.Attention(1, 1, 8, 8**-0.5, c.Rotary(2, 10000.0), gated=True)
    return hears, config.with_blocks(lambda i, block: replace(block, attention=hears))


def out(config: c.ModelConfig, heard: str, unit: str) -> list[WeightMapping]:
    """The names of what leads out of attention, behind `heard`, and out of units, each in its own layers."""
    layers = enumerate(block.attention.carries for block in config.transformer.blocks)
    return [
        WeightMapping(f"{unit if carries else heard}.{{p}}", "decoder.blocks.{i}.attention.out.{p}").at(i)
        for i, carries in layers
    ]


def queries(theirs: str, hears: c.Attention) -> WeightMapping:
    """Queries, each head's beside its gate in theirs."""
    ours, wide = "decoder.blocks.{i}.attention.", hears.heads * hears.head_width
    head = torch.arange(2 * hears.head_width).view(2, -1)
    rows = head[:, None] + torch.arange(hears.heads)[:, None] * head.numel()  # [2, H, D]
    return WeightMapping(theirs, (f"{ours}q.{{p}}", f"{ours}gate.{{p}}"), Permute(rows.flatten()), Split((wide, wide)))


def table_of(config: c.ModelConfig, unit: Sequence[WeightMapping]) -> Table:
    """The names in checkpoints. unit: those of the projections into the delta rule, for layer ``{i}``."""
    hears, plain = hearing(config)
    theirs, ours = "model.layers.{i}.", "decoder.blocks.{i}.attention."
    table = decoders.table(plain)
    full = (
        queries(f"{theirs}self_attn.q_proj.{{p}}", hears),
        *(m for m in table.mappings if "self_attn" in m.theirs[0] and "q_proj" not in m.theirs[0]),
    )
    names = {"dt_bias": "step_bias", "A_log": "log_rate", "conv1d.weight": "conv.weight", "norm.weight": "norm.weight"}
    names["out_proj.weight"] = "out.weight"
    linear = (*unit, *(WeightMapping(f"{theirs}linear_attn.{name}", ours + own) for name, own in names.items()))
    layers = enumerate(block.attention.carries for block in config.transformer.blocks)
    own = [mapping.at(i) for i, carries in layers for mapping in (linear if carries else full)]
    return replace(table.replaced(*own, without=("self_attn",)), ignored=(*table.ignored, "mtp.{rest}"))

"""Qwen3-Next (Qwen team, 2025): three layers of the gated delta rule to one of gated attention, all with experts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from limelight.models import config as c
from limelight.models import llama, moe, qwen2moe, units
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, kinds, rotary
from limelight.models.mapping import Permute, Split, Table, WeightMapping

LINEAR, FULL = "linear_attention", "full_attention"


def read(family: str, keys: ConfigReader, *, kv_heads: int, hidden: int) -> c.ModelConfig:
    """Layers of both kinds, with the same dense feed-forward in all. The rest: see `llama.read`."""
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
    config = llama.read(
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
    unit = next((part for part in parts if isinstance(part, units.GatedDelta)), NONE)
    turned = hears.rotary
    alone = (
        {"use_cache": False} if all(part.carries for part in parts) else {}
    )  # of which the reference asks its length
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


def hearing(config: c.ModelConfig) -> tuple[c.Attention, c.ModelConfig]:
    """The attention of the first layer that has any, and the same model with it in all."""
    parts = [block.attention for block in config.transformer.blocks if not block.attention.carries]
    hears = parts[0] if parts else c.Attention(1, 1, 8, 8**-0.5, c.Rotary(2, 10000.0), gated=True)
    return hears, config.with_blocks(lambda i, block: replace(block, attention=hears))


def hybrid(config: c.ModelConfig, unit: Sequence[WeightMapping]) -> Table:
    """The names in checkpoints. unit: those of the projections into the delta rule, for layer ``{i}``."""
    hears, plain = hearing(config)
    theirs, ours = "model.layers.{i}.", "decoder.blocks.{i}.attention."
    head = torch.arange(2 * hears.head_width).view(2, -1)
    rows = head[:, None] + torch.arange(hears.heads)[:, None] * head.numel()  # [2, H, D]
    wide = hears.heads * hears.head_width
    table = llama.table(plain)
    full = (
        WeightMapping(
            f"{theirs}self_attn.q_proj.{{p}}",
            (f"{ours}q.{{p}}", f"{ours}gate.{{p}}"),
            Permute(rows.flatten()),
            Split((wide, wide)),
        ),
        *(m for m in table.mappings if "self_attn" in m.theirs[0] and "q_proj" not in m.theirs[0]),
    )
    names = {"dt_bias": "step_bias", "A_log": "log_rate", "conv1d.weight": "conv.weight", "norm.weight": "norm.weight"}
    names["out_proj.weight"] = "out.weight"
    linear = (*unit, *(WeightMapping(f"{theirs}linear_attn.{name}", ours + own) for name, own in names.items()))
    layers = enumerate(block.attention.carries for block in config.transformer.blocks)
    own = [mapping.at(i) for i, carries in layers for mapping in (linear if carries else full)]
    return replace(table.replaced(*own, without=("self_attn",)), ignored=(*table.ignored, "mtp.{rest}"))


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader({"head_dim": 256, "norm_topk_prob": True, **values})
    count, chosen = keys.whole("num_experts", 512), keys.whole("num_experts_per_tok", 10)
    expert, shared = keys.whole("moe_intermediate_size", 512), keys.whole("shared_expert_intermediate_size", 512)
    qwen2moe.kept(keys)
    config = read("qwen3_next", keys, kv_heads=2, hidden=5632)
    return qwen2moe.read(keys, config, count, chosen, expert, shared)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    hears, plain = hearing(config)
    shared = moe.experts_of(config).shared
    keys = {**qwen2moe.write(plain), "shared_expert_intermediate_size": 1 if shared is None else shared.hidden}
    return write(config, keys, hears)


def table(config: c.ModelConfig) -> Table:
    unit = next((b.attention for b in config.transformer.blocks if isinstance(b.attention, units.GatedDelta)), NONE)
    share = unit.units // unit.keys
    sizes = (unit.asking_width, unit.asking_width, share * unit.unit_width, share * unit.unit_width)
    theirs, ours = "model.layers.{i}.linear_attn.", "decoder.blocks.{i}.attention."
    projections = (
        WeightMapping(
            f"{theirs}in_proj_qkvz.weight",
            (f"{ours}mixed.weight", f"{ours}gate.weight"),
            *_dealt(unit.keys, sizes, 3),
        ),
        WeightMapping(
            f"{theirs}in_proj_ba.weight",
            (f"{ours}write.weight", f"{ours}step.weight"),
            *_dealt(unit.keys, (share,) * 2, 1),
        ),
    )
    part = "shared_expert_gate.weight"
    return hybrid(config, projections).replaced(
        *moe.mappings(),
        *moe.shared_mappings("shared_expert"),
        WeightMapping(f"model.layers.{{i}}.mlp.{part}", "decoder.blocks.{i}.feedforward.share.weight"),
    )


def _dealt(keys: int, sizes: Sequence[int], first: int) -> tuple[Permute, Split]:
    """Rows of theirs in which the parts of each key stand together ↔ part by part, the `first` parts as one of ours."""
    rows = torch.split(torch.arange(keys * sum(sizes)).view(keys, -1), list(sizes), 1)
    index = [part.flatten() for part in rows]
    split = Split((keys * sum(sizes[:first]), keys * sum(sizes[first:])))
    return Permute(torch.cat(index)), split


FAMILY = Family("qwen3_next", {c.LMHead: "Qwen3NextForCausalLM"}, from_hf, to_hf, table)

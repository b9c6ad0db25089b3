"""Qwen3-Next (Qwen team, 2025): three layers of the gated delta rule to one of gated attention, all with experts."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from limelight.models import config as c
from limelight.models import hybrid, hybrid_gguf, moe, qwen2moe, units
from limelight.models.family import Family
from limelight.models.hf import ConfigReader
from limelight.models.mapping import Permute, Split, Table, WeightMapping


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader({"head_dim": 256, "norm_topk_prob": True, **values})
    count, chosen = keys.whole("num_experts", 512), keys.whole("num_experts_per_tok", 10)
    expert, shared = keys.whole("moe_intermediate_size", 512), keys.whole("shared_expert_intermediate_size", 512)
    qwen2moe.kept(keys)
    config = hybrid.read("qwen3_next", keys, kv_heads=2, hidden=5632)
    return qwen2moe.read(keys, config, count, chosen, expert, shared)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    hears, plain = hybrid.hearing(config)
    shared = moe.experts_of(config).shared
    keys = {**qwen2moe.write(plain), "shared_expert_intermediate_size": 1 if shared is None else shared.hidden}
    return hybrid.write(config, keys, hears)


def table(config: c.ModelConfig) -> Table:
    unit = hybrid.unit_of(config)
    share = unit.units // unit.keys
    sizes = (unit.asking_width, unit.asking_width, share * unit.unit_width, share * unit.unit_width)
    theirs, ours = "model.layers.{i}.linear_attn.", "decoder.blocks.{i}.attention."
    projections = (
        WeightMapping(
            f"{theirs}in_proj_qkvz.weight",
            (f"{ours}mixed.weight", f"{ours}gate.weight"),
            *_dealt(unit.keys, sizes, 3),
        ),
        _rates(f"{theirs}in_proj_ba.weight", unit),
    )
    part = "shared_expert_gate.weight"
    return hybrid.table_of(config, projections).replaced(
        *moe.mappings(),
        *moe.shared_mappings("shared_expert"),
        WeightMapping(f"model.layers.{{i}}.mlp.{part}", "decoder.blocks.{i}.feedforward.share.weight"),
    )


def _rates(theirs: str, unit: units.GatedDelta) -> WeightMapping:
    """How much of each value is written, and the steps by which states fall."""
    parts = tuple(f"decoder.blocks.{{i}}.attention.{part}.weight" for part in ("write", "step"))
    return WeightMapping(theirs, parts, *_dealt(unit.keys, (unit.units // unit.keys,) * 2, 1))


def _dealt(keys: int, sizes: Sequence[int], first: int) -> tuple[Permute, Split]:
    """Rows of theirs in which the parts of each key stand together ↔ part by part, the `first` parts as one of ours."""
    rows = torch.split(torch.arange(keys * sum(sizes)).view(keys, -1), list(sizes), 1)
    index = [part.flatten() for part in rows]
    split = Split((keys * sum(sizes[:first]), keys * sum(sizes[first:])))
    return Permute(torch.cat(index)), split


def _in_gguf(config: c.ModelConfig) -> list[WeightMapping]:
    ours = "decoder.blocks.{i}.attention."
    return [
        *hybrid_gguf.in_gguf(config),
        WeightMapping("blk.{i}.attn_gate.weight", f"{ours}gate.weight"),
        WeightMapping("blk.{i}.ssm_out.weight", f"{ours}out.weight"),
        _rates("blk.{i}.ssm_ba.weight", hybrid.unit_of(config)),
    ]


KEYS = {**qwen2moe.EXPERTS, "expert_shared_feed_forward_length": "shared_expert_intermediate_size"}

FAMILY = Family(
    "qwen3_next",
    {c.LMHead: "Qwen3NextForCausalLM"},
    from_hf,
    to_hf,
    table,
    hybrid_gguf.gguf("qwen3next", _in_gguf, whole=KEYS, experts=True),
)

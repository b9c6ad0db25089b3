"""Granite 3 with experts (IBM, 2024): Granite with some small feed-forwards in the place of each large one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, granite, moe
from limelight.models.family import Family
from limelight.models.hf import ConfigReader
from limelight.models.mapping import Split, Table, Unstack, WeightMapping


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    count, router = keys.whole("num_local_experts", 8), c.Router(keys.whole("num_experts_per_tok", 2))
    keys.keep("output_router_logits", "router_aux_loss_coef")
    config = granite.read("granitemoe", keys)
    expert = config.transformer.blocks[0].feedforward
    assert isinstance(expert, c.GatedFeedForward)
    return moe.sparse(config, c.Experts(expert, count, router))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    experts = moe.experts_of(config)
    chosen = {"num_local_experts": experts.count, "num_experts_per_tok": experts.router.chosen}
    return {**granite.write(config), **chosen}


def mappings(config: c.ModelConfig) -> list[WeightMapping]:
    """The names of experts in checkpoints: two tensors for all of a layer, gates above what they gate."""
    experts = moe.experts_of(config)
    theirs, ours = "model.layers.{i}.block_sparse_moe.", "decoder.blocks.{i}.feedforward."
    own = {
        parts: tuple(f"{ours}experts.{e}.{part}.weight" for e in range(experts.count) for part in parts)
        for parts in (("gate", "up"), ("down",))
    }
    stacked, halves = Unstack(experts.count), Split((experts.hidden,) * 2)
    return [
        WeightMapping(f"{theirs}router.layer.weight", f"{ours}router.weight"),
        WeightMapping(f"{theirs}input_linear.weight", own["gate", "up"], stacked, halves),
        WeightMapping(f"{theirs}output_linear.weight", own["down",], stacked),
    ]


def table(config: c.ModelConfig) -> Table:
    return decoders.table(config).replaced(*mappings(config))


FAMILY = Family(
    "granitemoe",
    {c.LMHead: "GraniteMoeForCausalLM"},
    from_hf,
    to_hf,
    table,
    replace(
        granite.GGUF,
        architecture="granitemoe",
        whole={"expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok"},
        tensors={"attention_bias": decoders.BIASES["attention_bias"]},
        experts=True,
    ),
)

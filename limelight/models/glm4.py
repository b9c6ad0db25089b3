"""GLM-4-0414 (Z.ai, 2025): GLM-4 that also normalises what each part adds."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import glm
from limelight.models.family import Family, Gguf
from limelight.models.mapping import Table, WeightMapping
from limelight.models.phi import part_turns


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    return glm.read("glm4", values, "sandwich")


def table(config: c.ModelConfig) -> Table:
    theirs, ours = "model.layers.{i}.", "decoder.blocks.{i}."
    return glm.table(config).replaced(
        WeightMapping(f"{theirs}post_self_attn_layernorm.weight", f"{ours}attention_after.weight"),
        WeightMapping(f"{theirs}post_mlp_layernorm.weight", f"{ours}feedforward_after.weight"),
    )


FAMILY = Family(
    "glm4",
    {c.LMHead: "Glm4ForCausalLM"},
    from_hf,
    glm.to_hf,
    table,
    Gguf(
        "glm4",
        whole={"rope.dimension_count": "rotary_dim"},
        tensors={"attention_bias": "blk.0.attn_q.bias"},
        complete=part_turns,
        halves=True,
        interleaved=True,
    ),
)

"""Mamba (Gu & Dao, 2023): layers of selective state spaces, and nothing else."""

import math
from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import ssm, units
from limelight.models.family import Family
from limelight.models.hf import ConfigReader
from limelight.models.mapping import Split, Table, WeightMapping


def language_model(*, vocab: int, context: int, layers: int, width: int, dropout: float) -> c.ModelConfig:
    """A new Mamba, in the paper's proportions; it reads texts of any length, whatever the `context`."""
    unit = units.Mamba(inner=2 * width, size=16, rank=math.ceil(width / 16), conv=4)
    return ssm.model("mamba", unit, vocab=vocab, width=width, layers=layers, eps=1e-5, tied=True, dropout=dropout)


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    rank = keys.take("time_step_rank", "auto")
    unit = units.Mamba(
        inner=ssm.inner(keys),
        size=keys.whole("state_size", 16),
        rank=math.ceil(keys.whole("hidden_size") / 16) if rank == "auto" else keys.whole("time_step_rank"),
        conv=keys.whole("conv_kernel", 4),
        conv_bias=keys.truth("use_conv_bias", True),
        bias=keys.truth("use_bias", False),
    )
    return ssm.read("mamba", keys, unit, tied=True)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    unit = config.transformer.blocks[0].attention
    assert isinstance(unit, units.Mamba)
    return {**ssm.write(config), "time_step_rank": unit.rank, "intermediate_size": unit.inner}


def table(config: c.ModelConfig) -> Table:
    unit = config.transformer.blocks[0].attention
    assert isinstance(unit, units.Mamba)
    theirs, ours = "backbone.layers.{i}.mixer.", "decoder.blocks.{i}.attention."
    return ssm.shared(
        config,
        WeightMapping(
            f"{theirs}in_proj.{{p}}", (f"{ours}x.{{p}}", f"{ours}gate.{{p}}"), Split((unit.inner, unit.inner))
        ),
        WeightMapping(f"{theirs}x_proj.weight", f"{ours}select.weight"),
        WeightMapping(f"{theirs}dt_proj.weight", f"{ours}step.weight"),
        WeightMapping(f"{theirs}dt_proj.bias", f"{ours}step_bias"),
    )


def _in_gguf(config: c.ModelConfig) -> list[WeightMapping]:
    unit = config.transformer.blocks[0].attention
    assert isinstance(unit, units.Mamba)
    theirs, ours = "blk.{i}.ssm_", "decoder.blocks.{i}.attention."
    return [
        *ssm.in_gguf(unit.inner, unit.conv),
        WeightMapping(f"{theirs}in.{{p}}", (f"{ours}x.{{p}}", f"{ours}gate.{{p}}"), Split((unit.inner, unit.inner))),
        WeightMapping(f"{theirs}x.weight", f"{ours}select.weight"),
        WeightMapping(f"{theirs}dt.weight", f"{ours}step.weight"),
    ]


FAMILY = Family(
    "mamba",
    {c.LMHead: "MambaForCausalLM"},
    from_hf,
    to_hf,
    table,
    ssm.gguf("mamba", _in_gguf, keys={"time_step_rank": "time_step_rank"}, complete=ssm.from_gguf),
)

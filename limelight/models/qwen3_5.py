"""Qwen3.5, its text model (Qwen team, 2026): Qwen3-Next without experts, and its projections one by one."""

from collections.abc import Mapping
from typing import Any

import torch

from limelight.models import config as c
from limelight.models import decoders, hybrid, hybrid_gguf, units
from limelight.models.family import Family
from limelight.models.hf import ConfigReader
from limelight.models.mapping import Permute, PermuteColumns, Table, WeightMapping


def language_model(
    *, vocab: int, context: int, layers: int, width: int, dropout: float, every: int | None = None
) -> c.ModelConfig:
    """A new one in Qwen3-Next's proportions, its heads 32 wide. every: each so many-th layer has attention (None: none
    has)."""
    norm, heads = c.ShiftedRMSNorm(1e-6), width // 32
    delta = units.GatedDelta(
        keys=heads, asking_width=32, units=2 * heads, unit_width=32, conv=4, norm=c.RMSNorm(norm.eps)
    )
    hears = c.Attention(heads, heads, 32, 32**-0.5, c.Rotary(8, 10000.0), norm=norm, gated=True)
    feedforward = c.GatedFeedForward(round(4 * width * 2 / 3 / 32) * 32, "silu")
    blocks = (
        c.Block(hears if every and (i + 1) % every == 0 else delta, feedforward, norm, dropout=dropout)
        for i in range(layers)
    )
    stack = c.TransformerStack(width, tuple(blocks), norm, c.Embeddings(dropout=dropout))
    return c.ModelConfig("qwen3_5_text", vocab, context, stack, c.LMHead(tied=True))


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    return hybrid.read("qwen3_5_text", ConfigReader({"head_dim": 256, **values}), kv_heads=4, hidden=12288)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    hears, plain = hybrid.hearing(config)
    return hybrid.write(config, decoders.write(plain), hears)


def table(config: c.ModelConfig) -> Table:
    theirs, ours = "model.layers.{i}.linear_attn.in_proj_", "decoder.blocks.{i}.attention."
    names = {"qkv": "mixed", "z": "gate", "b": "write", "a": "step"}
    return hybrid.table_of(
        config, [WeightMapping(f"{theirs}{name}.weight", f"{ours}{own}.weight") for name, own in names.items()]
    )


def _in_gguf(config: c.ModelConfig) -> list[WeightMapping]:
    """llama.cpp deals the heads of values out: the first of each key, then the second of each."""
    unit, ours = hybrid.unit_of(config), "decoder.blocks.{i}.attention."
    dealt = torch.arange(unit.units).view(-1, unit.keys).T.flatten()
    of_heads = Permute(dealt)
    values = (dealt[:, None] * unit.unit_width + torch.arange(unit.unit_width)).flatten()
    before = 2 * unit.keys * unit.asking_width
    of_channels = Permute(torch.cat((torch.arange(before), before + values)))
    return [
        *hybrid_gguf.in_gguf(config, [of_heads], [of_channels]),
        WeightMapping("blk.{i}.attn_gate.weight", f"{ours}gate.weight", Permute(values)),
        WeightMapping("blk.{i}.ssm_beta.weight", f"{ours}write.weight", of_heads),
        WeightMapping("blk.{i}.ssm_alpha.weight", f"{ours}step.weight", of_heads),
        WeightMapping("blk.{i}.ssm_out.weight", f"{ours}out.weight", PermuteColumns(values)),
    ]


FAMILY = Family(
    "qwen3_5_text",
    {c.LMHead: "Qwen3_5ForCausalLM"},
    from_hf,
    to_hf,
    table,
    hybrid_gguf.gguf("qwen35", _in_gguf),
)

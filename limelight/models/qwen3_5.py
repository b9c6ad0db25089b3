"""Qwen3.5, its text model (Qwen team, 2026): Qwen3-Next without experts, and its projections one by one."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import llama, qwen3next, units
from limelight.models.family import Family
from limelight.models.hf import ConfigReader
from limelight.models.mapping import Table, WeightMapping


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
    return qwen3next.read("qwen3_5_text", ConfigReader({"head_dim": 256, **values}), kv_heads=4, hidden=12288)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    hears, plain = qwen3next.hearing(config)
    return qwen3next.write(config, llama.write(plain), hears)


def table(config: c.ModelConfig) -> Table:
    theirs, ours = "model.layers.{i}.linear_attn.in_proj_", "decoder.blocks.{i}.attention."
    names = {"qkv": "mixed", "z": "gate", "b": "write", "a": "step"}
    return qwen3next.hybrid(
        config, [WeightMapping(f"{theirs}{name}.weight", f"{ours}{own}.weight") for name, own in names.items()]
    )


FAMILY = Family("qwen3_5_text", {c.LMHead: "Qwen3_5ForCausalLM"}, from_hf, to_hf, table)

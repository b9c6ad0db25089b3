"""Mamba-2 (Dao & Gu, 2024): state spaces of several heads, each with one rate."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import ssm, units
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, is_number
from limelight.models.mapping import Shaped, Split, Table, WeightMapping


def language_model(*, vocab: int, context: int, layers: int, width: int, dropout: float) -> c.ModelConfig:
    """A new Mamba-2; it reads texts of any length, whatever the `context`."""
    norm = c.RMSNorm(1e-5)
    unit = units.Mamba2(inner=2 * width, size=64, units=2 * width // 64, groups=1, conv=4, norm=norm)
    return ssm.model("mamba2", unit, vocab=vocab, width=width, layers=layers, eps=1e-5, tied=True, dropout=dropout)


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    width, count, wide = ssm.inner(keys), keys.whole("num_heads", 128), keys.whole("head_dim", 64)
    if count * wide != width:
        raise keys.refused("head_dim", wide, f"{width // count}: {count} heads share {width} features")
    keys.keep("time_step_rank")
    unit = units.Mamba2(
        inner=width,
        size=keys.whole("state_size", 128),
        units=count,
        groups=keys.whole("n_groups", 8),
        conv=keys.whole("conv_kernel", 4),
        norm=c.RMSNorm(keys.number("layer_norm_epsilon", 1e-5)),
        conv_bias=keys.truth("use_conv_bias", True),
        bias=keys.truth("use_bias", False),
        steps=steps(keys),
    )
    return ssm.read("mamba2", keys, unit, tied=False)


def steps(keys: ConfigReader) -> tuple[float, float]:
    """Between which bounds the steps are kept."""
    said = keys.take("time_step_limit", [0.0, float("inf")])
    bounds = [float("inf") if _endless(bound) else bound for bound in said] if isinstance(said, list) else []
    if len(bounds) != 2 or not all(is_number(bound) or bound == float("inf") for bound in bounds):
        raise keys.refused("time_step_limit", said, "a list of the shortest and the longest step")
    return float(bounds[0]), float(bounds[1])


ENDLESS = {"__float__": "Infinity"}
"""How transformers writes a bound that is none."""


def _endless(bound: Any) -> bool:
    return bound in (float("inf"), "Infinity", ENDLESS)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    unit = config.transformer.blocks[0].attention
    assert isinstance(unit, units.Mamba2)
    heads = {"num_heads": unit.units, "head_dim": unit.inner // unit.units, "n_groups": unit.groups}
    return {**ssm.write(config), **heads, **limits(unit)}


def limits(unit: units.Mamba2) -> dict[str, Any]:
    """The foreign key of the steps' bounds, if there are any."""
    if unit.steps == (0.0, float("inf")):
        return {}
    return {"time_step_limit": [ENDLESS if _endless(bound) else bound for bound in unit.steps]}


def _into(config: c.ModelConfig, theirs: str) -> tuple[units.Mamba2, int, WeightMapping]:
    """The unit, how many channels its convolution reads, and the name of what leads into it."""
    unit = config.transformer.blocks[0].attention
    assert isinstance(unit, units.Mamba2)
    channels = unit.inner + 2 * unit.groups * unit.size
    parts = tuple(f"decoder.blocks.{{i}}.attention.{part}.{{p}}" for part in ("gate", "x", "step"))
    return unit, channels, WeightMapping(theirs, parts, Split((unit.inner, channels, unit.units)))


def table(config: c.ModelConfig) -> Table:
    theirs, ours = "backbone.layers.{i}.mixer.", "decoder.blocks.{i}.attention."
    _, _, into = _into(config, f"{theirs}in_proj.{{p}}")
    return ssm.shared(
        config,
        into,
        WeightMapping(f"{theirs}dt_bias", f"{ours}step_bias"),
        WeightMapping(f"{theirs}norm.weight", f"{ours}norm.weight"),
    )


def _from_gguf(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**ssm.from_gguf(values), "head_dim": values["intermediate_size"] // values["num_heads"]}


def _in_gguf(config: c.ModelConfig) -> list[WeightMapping]:
    unit, channels, into = _into(config, "blk.{i}.ssm_in.{p}")
    norm = Shaped((unit.groups, unit.inner // unit.groups), (unit.inner,))
    return [
        *ssm.in_gguf(channels, unit.conv, Shaped((unit.units, 1), (unit.units,))),
        into,
        WeightMapping("blk.{i}.ssm_norm.weight", "decoder.blocks.{i}.attention.norm.weight", norm),
    ]


FAMILY = Family(
    "mamba2",
    {c.LMHead: "Mamba2ForCausalLM"},
    from_hf,
    to_hf,
    table,
    ssm.gguf("mamba2", _in_gguf, keys={"time_step_rank": "num_heads", "group_count": "n_groups"}, complete=_from_gguf),
)

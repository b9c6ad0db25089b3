"""Mamba (Gu & Dao, 2023): layers of selective state spaces, and nothing else."""

import math
from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import units
from limelight.models.family import Family
from limelight.models.hf import LARGEST, ConfigReader
from limelight.models.mapping import Split, Table, WeightMapping

INERT = (
    *("initializer_range", "residual_in_fp32", "rescale_prenorm_residual", "use_mambapy", "use_associative_scan"),
    *("time_step_min", "time_step_max", "time_step_floor", "time_step_scale", "time_step_init_scheme", "chunk_size"),
)
"""Keys of how a new model is drawn, and of how the reference computes."""

CONTEXT = 1 << 20
"""A state is no longer for a longer text; so much is read of one at most."""

NOTHING: Mapping[str, Any] = {}


def model(
    family: str,
    unit: units.Recurrence,
    *,
    vocab: int,
    width: int,
    layers: int,
    eps: float,
    tied: bool,
    dropout: float = 0.0,
    extra: Mapping[str, Any] = NOTHING,
) -> c.ModelConfig:
    """Layers of one unit each."""
    norm = c.RMSNorm(eps)
    block = c.Block(unit, units.NoFeedForward(), norm, "lone", dropout=dropout)
    stack = c.TransformerStack(width, (block,) * layers, norm, c.Embeddings(dropout=dropout))
    return c.ModelConfig(family, vocab, CONTEXT, stack, c.LMHead(tied), extra)


def language_model(*, vocab: int, context: int, layers: int, width: int, dropout: float) -> c.ModelConfig:
    """A new Mamba, in the paper's proportions; it reads texts of any length, whatever the `context`."""
    unit = units.Mamba(inner=2 * width, size=16, rank=math.ceil(width / 16), conv=4)
    return model("mamba", unit, vocab=vocab, width=width, layers=layers, eps=1e-5, tied=True, dropout=dropout)


def read(family: str, keys: ConfigReader, unit: units.Recurrence, tied: bool) -> c.ModelConfig:
    """Either Mamba, from foreign keys. tied: what it means where the config says nothing."""
    if keys.activation("hidden_act", "silu") != "silu":
        raise keys.refused("hidden_act", keys.take("hidden_act"), "'silu'")
    keys.keep(*INERT)
    sizes = {"vocab": keys.whole("vocab_size"), "width": keys.whole("hidden_size"), "layers": keys.layers(LAYERS)}
    eps, tied = keys.number("layer_norm_epsilon", 1e-5), keys.truth("tie_word_embeddings", tied)
    return model(family, unit, **sizes, eps=eps, tied=tied, extra=keys.rest())


LAYERS = "num_hidden_layers"


def inner(keys: ConfigReader) -> int:
    """The channels of each unit."""
    width, expand = keys.whole("hidden_size"), keys.number("expand", 2.0)
    keys.take("intermediate_size")  # which follows from the two
    keys.keep("expand")
    if not 1 <= expand * width <= LARGEST:
        raise keys.refused("expand", expand, f"a number by which the width {width:,} becomes one from 1 to {LARGEST:,}")
    return int(expand * width)


def write(config: c.ModelConfig) -> dict[str, Any]:
    """The foreign keys that both Mambas share."""
    stack = config.transformer
    unit = stack.blocks[0].attention
    assert isinstance(unit, units.Mamba | units.Mamba2)
    return {
        "vocab_size": config.vocab,
        "hidden_size": stack.width,
        LAYERS: len(stack.blocks),
        "layer_norm_epsilon": stack.blocks[0].norm.eps,
        "tie_word_embeddings": config.tied,
        "state_size": unit.size,
        "conv_kernel": unit.conv,
        "use_conv_bias": unit.conv_bias,
        "use_bias": unit.bias,
        "expand": unit.inner / stack.width if unit.inner % stack.width else unit.inner // stack.width,
        "hidden_act": "silu",
    }


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    rank = keys.take("time_step_rank", "auto")
    unit = units.Mamba(
        inner=inner(keys),
        size=keys.whole("state_size", 16),
        rank=math.ceil(keys.whole("hidden_size") / 16) if rank == "auto" else keys.whole("time_step_rank"),
        conv=keys.whole("conv_kernel", 4),
        conv_bias=keys.truth("use_conv_bias", True),
        bias=keys.truth("use_bias", False),
    )
    return read("mamba", keys, unit, tied=True)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    unit = config.transformer.blocks[0].attention
    assert isinstance(unit, units.Mamba)
    return {**write(config), "time_step_rank": unit.rank, "intermediate_size": unit.inner}


def shared(config: c.ModelConfig, *own: WeightMapping) -> Table:
    """The names of either Mamba's checkpoints. own: those of what the other has not."""
    theirs, ours = "backbone.layers.{i}.mixer.", "decoder.blocks.{i}.attention."
    mappings = (
        WeightMapping("backbone.embeddings.weight", "embed.weight"),
        WeightMapping("backbone.layers.{i}.norm.weight", "decoder.blocks.{i}.attention_norm.weight"),
        WeightMapping(f"{theirs}conv1d.{{p}}", f"{ours}conv.{{p}}"),
        WeightMapping(f"{theirs}A_log", f"{ours}log_rate"),
        WeightMapping(f"{theirs}D", f"{ours}skip"),
        WeightMapping(f"{theirs}out_proj.{{p}}", f"{ours}out.{{p}}"),
        WeightMapping("backbone.norm_f.weight", "decoder.norm.weight"),
        WeightMapping("lm_head.weight", "head.proj.weight"),
    )
    tied = {"lm_head.weight": "embed.weight"} if config.tied else {}
    return Table((*mappings, *own), prefix="backbone.", tied=tied)


def table(config: c.ModelConfig) -> Table:
    unit = config.transformer.blocks[0].attention
    assert isinstance(unit, units.Mamba)
    theirs, ours = "backbone.layers.{i}.mixer.", "decoder.blocks.{i}.attention."
    return shared(
        config,
        WeightMapping(
            f"{theirs}in_proj.{{p}}", (f"{ours}x.{{p}}", f"{ours}gate.{{p}}"), Split((unit.inner, unit.inner))
        ),
        WeightMapping(f"{theirs}x_proj.weight", f"{ours}select.weight"),
        WeightMapping(f"{theirs}dt_proj.weight", f"{ours}step.weight"),
        WeightMapping(f"{theirs}dt_proj.bias", f"{ours}step_bias"),
    )


FAMILY = Family("mamba", {c.LMHead: "MambaForCausalLM"}, from_hf, to_hf, table)

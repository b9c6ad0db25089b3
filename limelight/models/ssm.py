"""What both Mambas share: layers of one state space each, and their names in files."""

from collections.abc import Callable, Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import units
from limelight.models.family import Gguf
from limelight.models.hf import LARGEST, ConfigReader
from limelight.models.mapping import NegativeExp, Operation, Shaped, Table, WeightMapping

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


SSM = {"conv_kernel": "conv_kernel", "inner_size": "intermediate_size", "state_size": "state_size"}
"""Keys of either Mamba's GGUF files behind "ssm." ↔ those of its config."""


def from_gguf(values: Mapping[str, Any]) -> dict[str, Any]:
    """The config of either Mamba from the keys of a GGUF file."""
    said = {name: value for name, value in values.items() if name != "max_position_embeddings"}
    return {**said, "expand": values["intermediate_size"] / values["hidden_size"]}


def in_gguf(channels: int, size: int, *of_rates: Operation) -> list[WeightMapping]:
    """The names of either Mamba's GGUF tensors. channels: that the convolution of `size` reads. of_rates: what becomes
    of rates and skips before all else."""
    theirs, ours = "blk.{i}.ssm_", "decoder.blocks.{i}.attention."
    return [
        WeightMapping(f"{theirs}conv1d.weight", f"{ours}conv.weight", Shaped((channels, size), (channels, 1, size))),
        WeightMapping(f"{theirs}conv1d.bias", f"{ours}conv.bias"),
        WeightMapping(f"{theirs}dt.bias", f"{ours}step_bias"),
        WeightMapping(f"{theirs}a", f"{ours}log_rate", *of_rates, NegativeExp()),
        WeightMapping(f"{theirs}d", f"{ours}skip", *of_rates),
        WeightMapping(f"{theirs}out.{{p}}", f"{ours}out.{{p}}"),
    ]


def gguf(architecture: str, own: Callable[[c.ModelConfig], list[WeightMapping]], **more: Any) -> Gguf:
    """How llama.cpp has either Mamba. more: what else it says by `ssm.` keys, and what the other does otherwise."""
    keys = {f"ssm.{name}": ours for name, ours in {**SSM, **more.pop("keys")}.items()}
    return Gguf(
        architecture,
        eps=("attention.layer_norm_rms_epsilon", "layer_norm_epsilon"),
        whole=keys,
        tensors={"use_conv_bias": "blk.0.ssm_conv1d.bias", "use_bias": "blk.0.ssm_in.bias"},
        needed=("embedding_length", *keys),
        own=own,
        **more,
    )

"""Granite 4 (IBM, 2025): Granite some of whose layers are Mamba-2's, and with experts or without."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, granite, granitemoe, hybrid, mamba2, units
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, kinds, rotary
from limelight.models.mapping import Split, Table, WeightMapping

FULL, LINEAR = "full_attention", "linear_attention"
OLDER = {"attention": FULL, "mamba": LINEAR}
"""What published configs call the kinds of layers."""

MAMBA = (
    *("mamba_expand", "mamba_n_heads", "mamba_d_head", "mamba_d_state", "mamba_n_groups", "mamba_d_conv"),
    *("mamba_conv_bias", "mamba_proj_bias"),
)
"""Keys of the layers that are Mamba's."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    named = values.get("layer_types", values.get("layers_block_type"))
    if isinstance(named, list):
        named = [OLDER.get(kind, kind) if isinstance(kind, str) else kind for kind in named]
    keys = ConfigReader({**values, "layer_types": named})
    keys.take("layers_block_type")
    keys.keep("output_router_logits", "router_aux_loss_coef", "mamba_chunk_size", "intermediate_size")
    layers = keys.layers("num_hidden_layers")
    types = kinds(keys, layers, (FULL, LINEAR)) or [LINEAR] * layers
    turned = keys.take("position_embedding_type")
    if turned != "rope":
        keys.keep("position_embedding_type", "rope_parameters", "rope_scaling", "rope_theta")
    if LINEAR not in types:
        keys.keep(*MAMBA)
    if turned not in (None, "nope", "rope"):
        raise keys.refused("position_embedding_type", turned, "'rope', 'nope' or null")
    unit, count = _unit(keys), keys.whole("num_local_experts", 8, least=0)
    router, shared = c.Router(keys.whole("num_experts_per_tok", 2)), keys.whole("shared_intermediate_size", 1024)
    config = granite.read("granitemoehybrid", keys, turning=rotary if turned == "rope" else decoders.unturned)
    expert = config.transformer.blocks[0].feedforward
    assert isinstance(expert, c.GatedFeedForward)
    if expert.activation != "silu" and LINEAR in types:
        raise keys.refused("hidden_act", keys.take("hidden_act"), "'silu' where layers are Mamba's")
    dense = replace(expert, hidden=shared)
    feedforward = c.Experts(expert, count, router, dense) if count else dense
    return config.with_blocks(
        lambda i, block: replace(
            block, feedforward=feedforward, attention=unit if types[i] == LINEAR else block.attention
        )
    )


def _unit(keys: ConfigReader) -> units.Mamba2:
    """The unit of the layers that are Mamba's."""
    inner, count = int(keys.whole("mamba_expand", 2) * keys.whole("hidden_size")), keys.whole("mamba_n_heads", 128)
    wide = keys.take("mamba_d_head", "auto")
    if wide not in ("auto", inner / count):
        raise keys.refused("mamba_d_head", wide, f"'auto', or such that {count} heads share {inner:,} features")
    return units.Mamba2(
        inner=inner,
        size=keys.whole("mamba_d_state", 256),
        units=count,
        groups=keys.whole("mamba_n_groups", 1),
        conv=keys.whole("mamba_d_conv", 4),
        norm=c.RMSNorm(keys.number("rms_norm_eps", 1e-6)),
        conv_bias=keys.truth("mamba_conv_bias", True),
        bias=keys.truth("mamba_proj_bias", False),
        steps=mamba2.steps(keys),
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    parts = [block.attention for block in config.transformer.blocks]
    feedforward, (hears, plain) = config.transformer.blocks[0].feedforward, hybrid.hearing(config)
    experts = feedforward if isinstance(feedforward, c.Experts) else None
    shared = feedforward if experts is None else experts.shared
    assert shared is not None
    # The reference asks a cache for its length, and only layers of attention have one.
    alone = {"use_cache": False} if all(part.carries for part in parts) else {}
    said = {
        **granite.write(plain),
        **alone,
        "layer_types": [LINEAR if part.carries else FULL for part in parts],
        "position_embedding_type": None if hears.rotary is None else "rope",
        "shared_intermediate_size": shared.hidden,
        "num_local_experts": 0 if experts is None else experts.count,
        "num_experts_per_tok": 2 if experts is None else experts.router.chosen,
    }
    unit = next((part for part in parts if isinstance(part, units.Mamba2)), None)
    if unit is None:
        return said
    sizes = (unit.inner // config.width, unit.units, unit.inner // unit.units, unit.size, unit.groups, unit.conv)
    return {**said, **dict(zip(MAMBA, (*sizes, unit.conv_bias, unit.bias), strict=False)), **mamba2.limits(unit)}


def table(config: c.ModelConfig) -> Table:
    layer, ours = "model.layers.{i}.", "decoder.blocks.{i}."
    feedforward = config.transformer.blocks[0].feedforward
    made, place = decoders.table(config), f"{ours}feedforward."
    if isinstance(feedforward, c.Experts):
        made, place = made.replaced(*granitemoe.mappings(config)), f"{place}shared."
        assert feedforward.shared is not None
        feedforward = feedforward.shared
    names = {"A_log": "log_rate", "D": "skip", "dt_bias": "step_bias", "norm.weight": "norm.weight"}
    names["conv1d.{p}"] = "conv.{p}"
    own = [WeightMapping(f"{layer}mamba.{name}", f"{ours}attention.{part}") for name, part in names.items()]
    parts = tuple(f"{ours}attention.{part}.{{p}}" for part in ("gate", "x", "step"))
    for unit in {block.attention for block in config.transformer.blocks if isinstance(block.attention, units.Mamba2)}:
        sizes = (unit.inner, unit.inner + 2 * unit.groups * unit.size, unit.units)
        own.append(WeightMapping(f"{layer}mamba.in_proj.{{p}}", parts, Split(sizes)))
    halves = Split((feedforward.hidden,) * 2)
    return made.replaced(
        *own,
        *hybrid.out(config, f"{layer}self_attn.o_proj", f"{layer}mamba.out_proj"),
        WeightMapping(f"{layer}shared_mlp.input_linear.weight", (f"{place}gate.weight", f"{place}up.weight"), halves),
        WeightMapping(f"{layer}shared_mlp.output_linear.weight", f"{place}down.weight"),
        without=("o_proj", ".mlp."),
    )


FAMILY = Family("granitemoehybrid", {c.LMHead: "GraniteMoeHybridForCausalLM"}, from_hf, to_hf, table)

"""OLMo 3 (OLMo team, 2025): OLMo 2 three in four of whose layers see a window; only in the others positions may be
stretched."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, gemma3, olmo2
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, head_width, kinds

BASE = ("rope_theta", 500_000.0)


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    layers, window = keys.layers("num_hidden_layers"), keys.whole("sliding_window", 4096)
    head = head_width(keys, keys.whole("hidden_size"), keys.whole("num_attention_heads"))
    context, bias = keys.whole("max_position_embeddings", 2048), keys.truth("attention_bias", False)
    types = kinds(keys, layers) or ["sliding_attention" if (i + 1) % 4 else "full_attention" for i in range(layers)]
    turned = {kind: gemma3.turning(keys, kind, BASE, head, context) for kind in gemma3.KINDS}
    config = decoders.read(
        "olmo3",
        keys,
        context=context,
        turning=lambda *_: turned["full_attention"],
        eps=1e-5,
        bias=bias,
        out_bias=bias,
        head_norm=True,
        order="output",
        windows=[window if kind == "sliding_attention" else None for kind in types],
    )

    def turn(i: int, block: c.Block) -> c.Block:
        return replace(block, attention=replace(block.attention, rotary=turned[types[i]]))

    return olmo2.as_one(config.with_blocks(turn))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    windows = [block.attention.window for block in config.transformer.blocks]
    return {
        **olmo2.to_hf(config),
        "layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows],
        "sliding_window": next((window for window in windows if window is not None), 4096),
        "rope_parameters": gemma3.turned(config),
    }


FAMILY = Family("olmo3", {c.LMHead: "Olmo3ForCausalLM"}, from_hf, to_hf, olmo2.table)

"""DeepSeek-V3 (DeepSeek-AI, 2024): DeepSeek-V2 whose experts are chosen by sigmoids and a correction that keeps them
evenly busy."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import deepseek, mla, moe
from limelight.models.family import Family
from limelight.models.hf import ConfigReader
from limelight.models.mapping import Table


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    keys.truth("rope_interleave", True)
    keys.whole("num_nextn_predict_layers", 1, least=0)
    keys.keep("rope_interleave", "num_nextn_predict_layers")
    router = c.Router(
        keys.whole("num_experts_per_tok", 8),
        keys.truth("norm_topk_prob", True),
        keys.number("routed_scaling_factor", 2.5),
        sigmoid=True,
        corrected=True,
        groups=keys.whole("n_group", 8),
        open=keys.whole("topk_group", 4),
        best=2,
    )
    return deepseek.read(
        "deepseek_v3",
        keys,
        router,
        context=4096,
        fixed={"scoring_func": "sigmoid", "topk_method": "noaux_tc"},
        hidden=18432,
        expert=2048,
        routed=256,
        shared=1,
        dense=3,
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    return {**deepseek.write(config), "norm_topk_prob": moe.experts_of(config).router.normalised}


def table(config: c.ModelConfig) -> Table:
    """Layers behind the last, which guess further tokens, are left out, as the reference does."""
    made = deepseek.table(config, interleaved=config.extra.get("rope_interleave", True))
    layers = len(config.transformer.blocks)
    ahead = min(int(config.extra.get("num_nextn_predict_layers") or 0), 8)
    return replace(made, ignored=(*made.ignored, *(f"model.layers.{layers + i}.{{rest}}" for i in range(ahead))))


FAMILY = Family("deepseek_v3", {c.LMHead: "DeepseekV3ForCausalLM"}, from_hf, to_hf, table, mla.GGUF)

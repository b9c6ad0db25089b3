"""DeepSeek-V2 (DeepSeek-AI, 2024): latent attention, and experts chosen from some groups, beside shared ones."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import deepseek, mla, moe
from limelight.models.family import Family
from limelight.models.hf import ConfigReader


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    way = keys.take("topk_method", "greedy")
    if way not in ("greedy", "group_limited_greedy"):
        raise keys.refused("topk_method", way, "'greedy' or 'group_limited_greedy'")
    groups, opened = keys.whole("n_group", 1), keys.whole("topk_group", 1)
    if way == "greedy":
        groups = opened = 1
    chosen, scale = keys.whole("num_experts_per_tok"), keys.number("routed_scaling_factor", 1.0)
    keys.keep("n_group", "topk_group", "topk_method", "norm_topk_prob")  # the last is not obeyed by the reference
    return deepseek.read(
        "deepseek_v2",
        keys,
        c.Router(chosen, False, scale, groups=groups, open=opened),
        context=2048,
        fixed={"scoring_func": "softmax"},
        hidden=11008,
        expert=1407,
        routed=64,
        shared=2,
        dense=0,
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    grouped = moe.experts_of(config).router.groups > 1
    return {**deepseek.write(config), "topk_method": "group_limited_greedy" if grouped else "greedy"}


FAMILY = Family("deepseek_v2", {c.LMHead: "DeepseekV2ForCausalLM"}, from_hf, to_hf, deepseek.table, mla.GGUF)

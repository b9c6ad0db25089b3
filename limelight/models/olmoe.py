"""OLMoE (Muennighoff et al., 2024): many small experts; queries and keys are normalised across all heads."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, moe, olmo, olmo2
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader
from limelight.models.mapping import Table


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    count = keys.whole("num_experts", 64)
    router = c.Router(keys.whole("num_experts_per_tok", 8), keys.truth("norm_topk_prob", False))
    bias, limit = keys.truth("attention_bias", False), keys.number("clip_qkv", None)
    keys.keep("output_router_logits", "router_aux_loss_coef")
    config = decoders.read("olmoe", keys, context=4096, eps=1e-5, hidden=2048, bias=bias, out_bias=bias, head_norm=True)
    expert = config.transformer.blocks[0].feedforward
    assert isinstance(expert, c.GatedFeedForward)
    return moe.sparse(olmo.clipped(olmo2.as_one(config), limit), c.Experts(expert, count, router))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    experts, attention = moe.experts_of(config), config.transformer.blocks[0].attention
    return {
        **decoders.write(config),
        "attention_bias": attention.bias,
        "clip_qkv": attention.clip,
        "num_experts": experts.count,
        "num_experts_per_tok": experts.router.chosen,
        "norm_topk_prob": experts.router.normalised,
    }


def table(config: c.ModelConfig) -> Table:
    return decoders.table(config).replaced(*moe.mappings(), *olmo2.NORMS, without=("q_norm", "k_norm"))


FAMILY = Family(
    "olmoe",
    {c.LMHead: "OlmoeForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "olmoe",
        whole={"expert_count": "num_experts", "expert_used_count": "num_experts_per_tok"},
        numbers={"attention.clamp_kqv": "clip_qkv"},
        names=olmo2.ACROSS,
        without=("attention.q_norm", "attention.k_norm"),
        experts=True,
    ),
)

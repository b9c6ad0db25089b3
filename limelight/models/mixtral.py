"""Mixtral (Jiang et al., 2024): Mistral with experts in the place of each feed-forward."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, moe
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, rotary
from limelight.models.mapping import Table


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    count, router = keys.whole("num_local_experts", 8), c.Router(keys.whole("num_experts_per_tok", 2))
    window = keys.whole("sliding_window", None)
    keys.keep("output_router_logits", "router_aux_loss_coef", "router_jitter_noise")
    config = decoders.read(
        "mixtral",
        keys,
        context=131072,
        turning=partial(rotary, base=1e6),
        kv_heads=8,
        eps=1e-5,
        windows=[window] * keys.layers("num_hidden_layers"),
    )
    expert = config.transformer.blocks[0].feedforward
    assert isinstance(expert, c.GatedFeedForward)
    return moe.sparse(config, c.Experts(expert, count, router))


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    experts = moe.experts_of(config)
    return {
        **decoders.write(config),
        "sliding_window": config.transformer.blocks[0].attention.window,
        "num_local_experts": experts.count,
        "num_experts_per_tok": experts.router.chosen,
    }


def table(config: c.ModelConfig) -> Table:
    names = {"w1": "gate", "w3": "up", "w2": "down"}
    return decoders.table(config).replaced(*moe.mappings("block_sparse_moe", names))


FAMILY = Family(
    "mixtral",
    {c.LMHead: "MixtralForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "llama",
        whole={"expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok"},
        interleaved=True,
        experts=True,
    ),
)

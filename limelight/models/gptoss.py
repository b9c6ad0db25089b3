"""gpt-oss (OpenAI, 2025): experts behind a softmax of the chosen, sinks, biases, and a window in every other layer."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, moe
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, kinds, rotary
from limelight.models.mapping import Deal, Operation, Table, Transpose, Unstack, WeightMapping

YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
"""How positions turn where a config does not say."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    silent = all(values.get(name) is None for name in ("rope_parameters", "rope_scaling"))
    keys = ConfigReader({"head_dim": 64, **values, **({"rope_parameters": YARN} if silent else {})})
    layers, window = keys.layers("num_hidden_layers"), keys.whole("sliding_window", 128)
    types = kinds(keys, layers) or ["full_attention" if i % 2 else "sliding_attention" for i in range(layers)]
    count, chosen = keys.whole("num_local_experts", 128), keys.whole("num_experts_per_tok", 4)
    alpha, limit = keys.number("swiglu_alpha", 1.702), keys.number("swiglu_limit", 7.0)
    bias = keys.truth("attention_bias", True)
    keys.keep("output_router_logits", "router_aux_loss_coef", "initial_context_length", "experts_per_token")
    config = decoders.read(
        "gpt_oss",
        keys,
        context=131072,
        turning=partial(rotary, base=150000.0),
        kv_heads=8,
        eps=1e-5,
        hidden=2880,
        bias=bias,
        out_bias=bias,
        windows=[window if kind == "sliding_attention" else None for kind in types],
    )
    hidden = config.transformer.blocks[0].feedforward.hidden
    experts = c.Experts(c.ClampedFeedForward(hidden, alpha, limit), count, c.Router(chosen, bias=True))
    return moe.sparse(config, experts).with_blocks(
        lambda i, block: replace(block, attention=replace(block.attention, sinks=True))
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    experts, blocks = moe.experts_of(config), config.transformer.blocks
    expert = experts.expert
    assert isinstance(expert, c.ClampedFeedForward)
    windows = [block.attention.window for block in blocks]
    return {
        **decoders.write(config),
        "attention_bias": blocks[0].attention.bias,
        "num_local_experts": experts.count,
        "num_experts_per_tok": experts.router.chosen,
        "swiglu_alpha": expert.alpha,
        "swiglu_limit": expert.limit,
        "layer_types": ["full_attention" if window is None else "sliding_attention" for window in windows],
        "sliding_window": next((window for window in windows if window is not None), 128),
    }


def table(config: c.ModelConfig) -> Table:
    count = moe.experts_of(config).count
    theirs, ours = "model.layers.{i}.mlp.", "decoder.blocks.{i}.feedforward."
    new = [
        WeightMapping(f"{theirs}router.{{p}}", f"{ours}router.{{p}}"),
        WeightMapping("model.layers.{i}.self_attn.sinks", "decoder.blocks.{i}.attention.sinks"),
    ]
    packed = []
    for name, parts in (("gate_up_proj", ("gate", "up")), ("down_proj", ("down",))):
        dealt: tuple[Operation, ...] = (Deal(),) if len(parts) == 2 else ()
        for end, leaf in (("", "weight"), ("_bias", "bias")):
            own = tuple(f"{ours}experts.{e}.{part}.{leaf}" for e in range(count) for part in parts)
            new.append(WeightMapping(f"{theirs}experts.{name}{end}", own, Unstack(count), Transpose(), *dealt))
            if leaf == "weight":  # as published, in MXFP4, with output rows first
                packed.append(WeightMapping(f"{theirs}experts.{name}_blocks", own, Unstack(count), *dealt))
    return replace(decoders.table(config).replaced(*new), only_read=tuple(packed))


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    scaling = {"truncate": False, **(values.get("rope_scaling") or {})}
    return {**values, "rope_scaling": scaling if len(scaling) > 1 else None}


FAMILY = Family(
    "gpt_oss",
    {c.LMHead: "GptOssForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "gpt-oss",
        whole={
            "expert_count": "num_local_experts",
            "expert_used_count": "num_experts_per_tok",
            "expert_feed_forward_length": "intermediate_size",
            "attention.sliding_window": "sliding_window",
        },
        complete=_said,
        names={"feedforward_norm": "post_attention_norm"},
        without=("attention_after",),
        experts=True,
    ),
)

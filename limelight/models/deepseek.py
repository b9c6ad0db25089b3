"""What DeepSeek-V2 and V3 share: latent attention, and experts beside shared ones."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, mla, moe
from limelight.models.hf import ConfigReader, rotary
from limelight.models.mapping import Table, WeightMapping
from limelight.nn.positions import YarnScaling

INERT = ("ep_size", "aux_loss_alpha", "seq_aux", "output_router_logits", "intermediate_size", "first_k_dense_replace")
"""Keys that say nothing of what is computed, or nothing more once the layers are made."""

NORM = c.RMSNorm(1e-6)
"""Of latents, whatever the config says of the others."""


def read(
    family: str, keys: ConfigReader, router: c.Router, *, context: int, fixed: Mapping[str, Any], **sizes: int
) -> c.ModelConfig:
    """Either DeepSeek. fixed: keys that have one value in all its models. sizes: what keys mean that are not there."""
    rank, query_rank = keys.whole("kv_lora_rank", 512), 1536
    if keys.says("q_lora_rank"):
        query_rank = keys.whole("q_lora_rank", None)
    turned, unturned = keys.whole("qk_rope_head_dim", 64), keys.whole("qk_nope_head_dim", 128)
    values, heads = keys.whole("v_head_dim", 128), keys.whole("num_attention_heads")
    one = {"num_key_value_heads": heads, "qk_head_dim": turned + unturned, "moe_layer_freq": 1, **fixed}
    for name, value in one.items():
        if keys.take(name, value) != value:
            raise keys.refused(name, keys.take(name), repr(value))
    keys.take("head_dim")
    keys.keep(*one, *INERT)
    bias, activation = keys.truth("attention_bias", False), keys.activation("hidden_act", "silu")
    hidden = keys.whole("moe_intermediate_size", sizes["expert"])
    experts = c.Experts(
        c.GatedFeedForward(hidden, activation),
        keys.whole("n_routed_experts", sizes["routed"]),
        router,
        c.GatedFeedForward(hidden * keys.whole("n_shared_experts", sizes["shared"]), activation),
    )
    dense = keys.whole("first_k_dense_replace", sizes["dense"], least=0)
    config = decoders.read(
        family,
        keys,
        context=context,
        turning=lambda keys, width, context: rotary(keys, turned, context),
        groups=heads,
        hidden=sizes["hidden"],
        bias=bias,
        out_bias=bias,
        scale=(turned + unturned) ** -0.5 * _sharpness(keys) ** 2,
    )
    latent = c.Latent(rank, query_rank, unturned, NORM)
    return moe.sparse(config, experts, lambda i: i >= dense).with_blocks(
        lambda i, block: replace(block, attention=replace(block.attention, head_width=values, latent=latent))
    )


def _sharpness(keys: ConfigReader) -> float:
    """What queries and keys are both multiplied by: the temperature of YaRN where `mscale_all_dim` asks for it."""
    said = keys.part("rope_scaling") or keys.part("rope_parameters") or ConfigReader({})
    everywhere = said.number("mscale_all_dim", None)
    if not everywhere or said.take("rope_type", said.take("type", "default")) == "default":
        return 1.0
    return max(1.0, 0.1 * float(everywhere) * math.log(said.number("factor")) + 1.0)


def write(config: c.ModelConfig) -> dict[str, Any]:
    """The foreign keys of either DeepSeek."""
    experts, attention = moe.experts_of(config), config.transformer.blocks[0].attention
    latent, turned = attention.latent, attention.rotary
    assert latent is not None
    assert turned is not None
    keys = decoders.write(config)
    if isinstance(turned.scaling, YarnScaling):
        sharpness = (attention.scale * attention.key_width**0.5) ** 0.5
        keys["rope_scaling"]["mscale_all_dim"] = round((sharpness - 1) / (0.1 * math.log(turned.scaling.factor)), 9)
    dense = [i for i, block in enumerate(config.transformer.blocks) if not isinstance(block.feedforward, c.Experts)]
    return {
        **{name: value for name, value in keys.items() if name not in ("head_dim", "partial_rotary_factor")},
        "attention_bias": attention.bias,
        "kv_lora_rank": latent.rank,
        "q_lora_rank": latent.query_rank,
        "qk_rope_head_dim": turned.width,
        "qk_nope_head_dim": latent.unturned,
        "v_head_dim": attention.head_width,
        "moe_intermediate_size": experts.hidden,
        "n_routed_experts": experts.count,
        "n_shared_experts": 1 if experts.shared is None else experts.shared.hidden // experts.hidden,
        "num_experts_per_tok": experts.router.chosen,
        "n_group": experts.router.groups,
        "topk_group": experts.router.open,
        "routed_scaling_factor": experts.router.scale,
        "first_k_dense_replace": len(dense),
    }


def table(config: c.ModelConfig, interleaved: bool = True) -> Table:
    """interleaved: whether neighbouring features turn together in checkpoints."""
    theirs, ours = "model.layers.{i}.self_attn.", "decoder.blocks.{i}.attention."
    queries, narrow, wide = mla.orders(config, interleaved)
    return decoders.table(config).replaced(
        *moe.mappings(),
        *moe.shared_mappings("shared_experts"),
        WeightMapping(
            "model.layers.{i}.mlp.gate.e_score_correction_bias", "decoder.blocks.{i}.feedforward.router.correction"
        ),
        WeightMapping(f"{theirs}q_proj.weight", f"{ours}q.weight", queries),
        WeightMapping(f"{theirs}q_a_proj.{{p}}", f"{ours}q.down.{{p}}"),
        WeightMapping(f"{theirs}q_a_layernorm.weight", f"{ours}q.norm.weight"),
        WeightMapping(f"{theirs}q_b_proj.weight", f"{ours}q.up.weight", queries),
        WeightMapping(
            f"{theirs}kv_a_proj_with_mqa.{{p}}", (f"{ours}latent.down.{{p}}", f"{ours}turned.{{p}}"), *narrow
        ),
        WeightMapping(f"{theirs}kv_a_layernorm.weight", f"{ours}latent.norm.weight"),
        WeightMapping(f"{theirs}kv_b_proj.weight", (f"{ours}k.weight", f"{ours}v.weight"), *wide),
        without=("q_proj", "k_proj", "v_proj", "q_norm", "k_norm"),
    )

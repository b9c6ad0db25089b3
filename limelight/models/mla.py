"""Multi-head latent attention in checkpoints, and how llama.cpp has the models that have it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from limelight.models import config as c
from limelight.models.family import NEEDED, Gguf
from limelight.models.mapping import Merge, Permute, Split, WeightMapping

Cut = tuple[Permute, Split]


def orders(config: c.ModelConfig, interleaved: bool = True) -> tuple[Permute, Cut, Cut]:
    """The rows of queries; of a latent and what is turned; and of keys and values. interleaved: whether neighbouring
    features turn together in theirs."""
    attention = config.transformer.blocks[0].attention
    latent, heads, values = attention.latent, attention.heads, attention.head_width
    assert latent is not None
    unturned, rank, width = latent.unturned, latent.rank, attention.key_width
    turned = torch.arange(width - unturned)
    if interleaved:
        turned = torch.cat((turned[::2], turned[1::2]))
    queries = Permute(_rows(heads, width, torch.cat((unturned + turned, torch.arange(unturned)))))
    both = torch.arange(unturned + values)
    parts = [_rows(heads, len(both), part) for part in (both[:unturned], both[unturned:])]
    narrow = Permute(torch.cat((torch.arange(rank), rank + turned))), Split((rank, width - unturned))
    return queries, narrow, (Permute(torch.cat(parts)), Split((heads * unturned, heads * values)))


def _rows(heads: int, width: int, within: Tensor) -> Tensor:
    """The rows `within` each of so many heads of a width."""
    return (torch.arange(heads)[:, None] * width + within).flatten()


def _in_gguf(config: c.ModelConfig) -> list[WeightMapping]:
    """Older files have keys and values in one tensor, newer ones head by head, the keys turned."""
    heads = config.transformer.blocks[0].attention.heads
    theirs, ours = "blk.{i}.attn_", "decoder.blocks.{i}.attention."
    queries, narrow, wide = orders(config)
    k, v = f"{ours}k.weight", f"{ours}v.weight"
    return [
        WeightMapping(f"{theirs}q.weight", f"{ours}q.weight", queries),
        WeightMapping(f"{theirs}q_a.weight", f"{ours}q.down.weight"),
        WeightMapping(f"{theirs}q_a_norm.weight", f"{ours}q.norm.weight"),
        WeightMapping(f"{theirs}q_b.weight", f"{ours}q.up.weight", queries),
        WeightMapping(f"{theirs}kv_a_mqa.weight", (f"{ours}latent.down.weight", f"{ours}turned.weight"), *narrow),
        WeightMapping(f"{theirs}kv_a_norm.weight", f"{ours}latent.norm.weight"),
        WeightMapping(f"{theirs}kv_b.weight", (k, v), *wide),
        WeightMapping(f"{theirs}k_b.weight", k, Merge(heads, turned=True)),
        WeightMapping(f"{theirs}v_b.weight", v, Merge(heads)),
        WeightMapping("blk.{i}.exp_probs_b.bias", "decoder.blocks.{i}.feedforward.router.correction"),
    ]


SOFTMAX, SIGMOID = 1, 2
"""How experts are scored, as `expert_gating_func` says it."""


def _from_gguf(values: Mapping[str, Any]) -> dict[str, Any]:
    """DeepSeek-V3's config where experts are scored by sigmoids, else V2's."""
    said = {"q_lora_rank": None, "first_k_dense_replace": 0, "n_group": 1, "topk_group": 1, **values}
    for name in ("head_dim", "key", "value", "key_mla", "gating", "temperature"):
        said.pop(name, None)
    latent = "key_mla" in values  # then `key` and `value` speak of latents
    said["qk_nope_head_dim"] = values["key_mla" if latent else "key"] - values["qk_rope_head_dim"]
    said["v_head_dim"] = values["v_head_dim" if latent else "value"]
    said["num_key_value_heads"] = values["num_attention_heads"]
    if values.get("gating", SOFTMAX) == SIGMOID:
        said |= {"model_type": "deepseek_v3", "num_nextn_predict_layers": 0}
    else:
        said |= {"model_type": "deepseek_v2", "norm_topk_prob": False}
        said |= {"topk_method": "group_limited_greedy" if said["n_group"] > 1 else "greedy"}
    if (temperature := values.get("temperature")) and "rope_scaling" in said:
        scale = 10 * temperature
        said["rope_scaling"] = {**said["rope_scaling"], "mscale": scale, "mscale_all_dim": scale}
        del said["rope_scaling"]["attention_factor"]
    return said


GGUF = Gguf(
    "deepseek2",
    whole={
        "attention.q_lora_rank": "q_lora_rank",
        "attention.kv_lora_rank": "kv_lora_rank",
        "attention.key_length": "key",
        "attention.value_length": "value",
        "attention.key_length_mla": "key_mla",
        "attention.value_length_mla": "v_head_dim",
        "rope.dimension_count": "qk_rope_head_dim",
        "leading_dense_block_count": "first_k_dense_replace",
        "expert_count": "n_routed_experts",
        "expert_used_count": "num_experts_per_tok",
        "expert_feed_forward_length": "moe_intermediate_size",
        "expert_shared_count": "n_shared_experts",
        "expert_group_count": "n_group",
        "expert_group_used_count": "topk_group",
        "expert_gating_func": "gating",
    },
    numbers={"expert_weights_scale": "routed_scaling_factor", "rope.scaling.yarn_log_multiplier": "temperature"},
    truths={"expert_weights_norm": "norm_topk_prob"},
    complete=_from_gguf,
    experts=True,
    needed=(
        *NEEDED,
        "attention.kv_lora_rank",
        "attention.key_length",
        "attention.value_length",
        "rope.dimension_count",
    ),
    own=_in_gguf,
)

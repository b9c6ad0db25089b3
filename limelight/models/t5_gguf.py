"""How llama.cpp has T5 and its descendants."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models.family import Gguf
from limelight.models.mapping import WeightMapping

NAMES = {
    "attention_norm": "attn_norm",
    "attention.score_bias": "attn_rel_b",
    "cross.norm": "cross_attn_norm",
    "feedforward_norm": "ffn_norm",
    "feedforward.gate": "ffn_gate",
    "feedforward.up": "ffn_up",
    "feedforward.down": "ffn_down",
}
PROJECTIONS = {"q": "q", "k": "k", "v": "v", "out": "o"}
CALLED = {
    "hidden_size": "d_model",
    "intermediate_size": "d_ff",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "head_dim": "d_kv",
    "max_position_embeddings": "n_positions",
}
"""What T5's config calls what others call otherwise."""


def _complete(values: Mapping[str, Any]) -> dict[str, Any]:
    said = {CALLED.get(name, name): value for name, value in values.items() if name != "num_key_value_heads"}
    said["feed_forward_proj"] = "gated-gelu" if said.pop("gated") else "relu"
    return said | ({"model_type": "umt5"} if said.pop("own_biases") else {})


def _in_gguf(config: c.ModelConfig) -> list[WeightMapping]:
    made = []
    for side, stack in (("enc", "encoder"), ("dec", "decoder")):
        theirs, ours = f"{side}.blk.{{i}}.", f"{stack}.blocks.{{i}}."
        made += [WeightMapping(f"{theirs}{name}.weight", f"{ours}{own}.weight") for own, name in NAMES.items()]
        for own, p in PROJECTIONS.items():
            made.append(WeightMapping(f"{theirs}attn_{p}.weight", f"{ours}attention.{own}.weight"))
            made.append(WeightMapping(f"{theirs}cross_attn_{p}.weight", f"{ours}cross.attention.{own}.weight"))
        made.append(WeightMapping(f"{side}.output_norm.weight", f"{stack}.norm.weight"))
    return made


GGUF = Gguf(
    "t5",
    eps=("attention.layer_norm_rms_epsilon", "layer_norm_epsilon"),
    whole={
        "decoder_block_count": "num_decoder_layers",
        "decoder_start_token_id": "decoder_start_token_id",
        "attention.relative_buckets_count": "relative_attention_num_buckets",
    },
    numbers={"attention.layer_norm_epsilon": "layer_norm_epsilon"},  # which is said twice
    tensors={"gated": "dec.blk.0.ffn_gate.weight", "own_biases": "enc.blk.1.attn_rel_b.weight"},
    complete=_complete,
    own=_in_gguf,
    ignored=("dec.blk.{i}.cross_attn_rel_b.weight",),
)

"""MPT (MosaicML, 2023): linear biases for positions, layer norms without bias, no biases anywhere."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.bloom import sloped
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, merged, renamed
from limelight.models.mapping import Split, Table, WeightMapping
from limelight.models.olmo import clipped

OTHER_NAMES = {"hidden_size": "d_model", "num_attention_heads": "n_heads", "num_hidden_layers": "n_layers"}
NAMES = {**OTHER_NAMES, "max_position_embeddings": "max_seq_len"}
"""What this family calls keys of others; the reference reads the first three by both names."""

ONLY: dict[str, Any] = {
    "attn_type": "multihead_attention",
    "prefix_lm": False,
    "qk_ln": False,
    "attn_uses_sequence_id": False,
    "alibi": True,
}
"""Keys of ``attn_config``, and the one value at which each can be read."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(merged(values, OTHER_NAMES), names=NAMES)
    inner = keys.part("attn_config") or ConfigReader({})
    for name, only in ONLY.items():
        if (value := inner.take(name, only)) != only:
            raise inner.refused(name, value, f"{only!r}; others cannot be read")
    if keys.take("logit_scale") is not None or not keys.truth("no_bias", True) or keys.whole("expansion_ratio", 4) != 4:
        wrong = next(
            name for name in ("logit_scale", "no_bias", "expansion_ratio") if keys.take(name) not in (None, True, 4)
        )
        raise keys.refused(wrong, keys.take(wrong), "left out; the reference knows no other models")
    keys.keep("emb_pdrop", "learned_pos_emb", "init_device", "embedding_fraction", "norm_type", "attn_config")
    # The reference leaves the steepness at 8 whatever the config says; the models themselves obey it.
    clip, steepest = inner.number("clip_qkv", None), inner.number("alibi_bias_max", 8.0)
    config = decoders.read(
        "mpt",
        keys,
        context=2048,
        turning=decoders.unturned,
        norm=c.UnbiasedLayerNorm(keys.number("layer_norm_epsilon", 1e-5)),
        activation="gelu",
        gated=False,
        hidden=4 * keys.whole("hidden_size"),
        groups=keys.whole("num_attention_heads"),
        scale=inner.number("softmax_scale", None),
        tied=True,
    )
    return clipped(sloped(config, steepest), clip)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    attention = config.transformer.blocks[0].attention
    assert isinstance(attention.score_bias, c.LinearBias)
    without = ("head_dim", "num_key_value_heads", "intermediate_size", "hidden_act")
    inner = {
        "clip_qkv": attention.clip,
        "softmax_scale": None if attention.scale == attention.head_width**-0.5 else attention.scale,
        "alibi_bias_max": round(attention.score_bias.steepest),
    }
    return {**renamed(decoders.write(config, "layer_norm_epsilon"), NAMES, without), "attn_config": inner}


def table(config: c.ModelConfig) -> Table:
    width = config.transformer.width
    theirs, ours = "transformer.blocks.{i}.", "decoder.blocks.{i}."
    mappings = (
        WeightMapping("transformer.wte.weight", "embed.weight"),
        WeightMapping(f"{theirs}norm_1.weight", f"{ours}attention_norm.weight"),
        WeightMapping(
            f"{theirs}attn.Wqkv.weight",
            tuple(f"{ours}attention.{part}.weight" for part in "qkv"),
            Split((width, width, width)),
        ),
        WeightMapping(f"{theirs}attn.out_proj.weight", f"{ours}attention.out.weight"),
        WeightMapping(f"{theirs}norm_2.weight", f"{ours}feedforward_norm.weight"),
        WeightMapping(f"{theirs}ffn.up_proj.weight", f"{ours}feedforward.up.weight"),
        WeightMapping(f"{theirs}ffn.down_proj.weight", f"{ours}feedforward.down.weight"),
        WeightMapping("transformer.norm_f.weight", "decoder.norm.weight"),
        WeightMapping("lm_head.{p}", "head.proj.{p}"),
    )
    return Table(mappings, prefix="transformer.", tied={"lm_head.weight": "embed.weight"} if config.tied else {})


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    without = ("head_dim", "num_key_value_heads", "intermediate_size", "clip_qkv", "alibi_bias_max", "rope_scaling")
    inner = {name: values[name] for name in ("clip_qkv", "alibi_bias_max") if name in values}
    return {**renamed(values, NAMES, without), "attn_config": inner}


FAMILY = Family(
    "mpt",
    {c.LMHead: "MptForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "mpt",
        ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        numbers={"attention.clamp_kqv": "clip_qkv", "attention.max_alibi_bias": "alibi_bias_max"},
        complete=_said,
        joint=True,
    ),
)

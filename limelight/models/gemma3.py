"""Gemma 3 without its eyes (Gemma team, 2025): Gemma 2 with a norm on each head in place of caps, one layer in six
without a window, and another rotary base in the layers that have one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import gemma2
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, rope_keys, rotary

KINDS = {"full_attention": ("rope_theta", 1e6), "sliding_attention": ("rope_local_base_freq", 1e4)}
"""Where the rotary base of each kind of layer stands outside of ``rope_parameters``, and what it is by itself."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader({"head_dim": 256, **values})
    pattern = keys.whole("sliding_window_pattern", 6)
    keys.keep("sliding_window_pattern", "rope_local_base_freq", "_sliding_window_pattern")
    keys.keep("attn_logit_softcapping")  # which the reference leaves unused
    head = keys.whole("head_dim")
    longest = keys.whole("max_position_embeddings", 131072)
    turned = {kind: turning(keys, kind, outside, head, longest) for kind, outside in KINDS.items()}
    config = gemma2.read(
        "gemma3_text",
        keys,
        pattern,
        context=131072,
        turning=lambda *_: turned["full_attention"],
        head_norm=True,
    )
    local = turned["sliding_attention"]

    def turn(i: int, block: c.Block) -> c.Block:
        attention = block.attention
        return block if attention.window is None else replace(block, attention=replace(attention, rotary=local))

    return config.with_blocks(turn)


def turning(keys: ConfigReader, kind: str, outside: tuple[str, float], head: int, context: int) -> c.Rotary:
    """The rotary positions of a kind of layers, for heads of this width. outside: the key of their base outside of
    ``rope_parameters``, and what it is by itself."""
    nested, older = keys.take("rope_parameters"), keys.take("rope_scaling")
    if nested is not None and not isinstance(nested, dict):
        raise keys.refused("rope_parameters", nested, "an object")
    name, base = outside
    said = (nested or {}).get(kind) or {}
    if kind == "full_attention" and older:
        if not isinstance(older, dict):
            raise keys.refused("rope_scaling", older, "an object")
        said = {**said, **older}
    own = {"rope_theta": keys.number(name, base, above=1.0), "rope_parameters": said}
    return rotary(ConfigReader(own, place=f"{kind}: "), head, context)


def turned(config: c.ModelConfig) -> dict[str, Any]:
    """``rope_parameters``, by kind of layer."""
    made: dict[str, Any] = {}
    for block in config.transformer.blocks:
        attention, kind = block.attention, "full_attention" if block.attention.window is None else "sliding_attention"
        if attention.rotary is not None:
            scaling = rope_keys(attention.rotary, attention.head_width).get("rope_scaling", {})
            made[kind] = {"rope_type": "default", "rope_theta": attention.rotary.base, **scaling}
    return made


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    # Versions of transformers before 5 read the base of each kind, newer ones an object for each.
    keys, said = gemma2.to_hf(config), turned(config)
    keys |= {KINDS[kind][0]: own["rope_theta"] for kind, own in said.items()}
    scaling = {key: value for key, value in said.get("full_attention", {}).items() if key != "rope_theta"}
    if scaling.get("rope_type", "default") != "default":
        keys["rope_scaling"] = scaling
    return {**keys, "rope_parameters": said}


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    # As for Gemma 2 the scale of the scores is not in the file; here, too, only the 27B model's differs.
    wide = values["num_hidden_layers"] == 62
    scale = values["hidden_size"] // values["num_attention_heads"] if wide else values["head_dim"]
    return {"rope_theta": 1e6, **values, "query_pre_attn_scalar": scale}


FAMILY = Family(
    "gemma3_text",
    {c.LMHead: "Gemma3ForCausalLM"},
    from_hf,
    to_hf,
    gemma2.table,
    replace(
        gemma2.GGUF,
        architecture="gemma3",
        whole={**gemma2.GGUF.whole, "attention.sliding_window_pattern": "sliding_window_pattern"},
        numbers={"final_logit_softcapping": "final_logit_softcapping", "rope.freq_base_swa": "rope_local_base_freq"},
        complete=_said,
    ),
)

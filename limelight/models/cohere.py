"""Command R (Cohere, 2024): attention and feed-forward side by side behind one layer norm without bias, rotary on
neighbouring features, scaled logits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, rotary
from limelight.models.mapping import Table, Unstack, WeightMapping, interleaved_rotary


def read(
    family: str, keys: ConfigReader, *, base: float, windows: Sequence[int | None] | None = None, own: bool = False
) -> c.ModelConfig:
    """Either Command R. own: whether each head's queries and keys have a norm of their own."""
    norm = c.UnbiasedLayerNorm(keys.number("layer_norm_eps", 1e-5))
    bias, scale = keys.truth("attention_bias", False), keys.number("logit_scale", 0.0625)
    config = decoders.read(
        family,
        keys,
        context=8192,
        turning=partial(rotary, base=base),
        norm=norm,
        bias=bias,
        out_bias=bias,
        head_norm=own,
        windows=windows,
        order="shared",
        tied=True,
    )
    assert isinstance(config.head, c.LMHead)
    config = replace(config, head=replace(config.head, scale=scale))
    return config.with_blocks(lambda i, block: replace(block, attention=replace(block.attention, normed="own")))


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    return read("cohere", keys, base=500000.0, own=keys.truth("use_qk_norm", False))


def write(config: c.ModelConfig) -> dict[str, Any]:
    """The foreign keys of either Command R."""
    assert isinstance(config.head, c.LMHead)
    keys = decoders.write(config, "layer_norm_eps")
    del keys["head_dim"]
    bias = config.transformer.blocks[0].attention.bias
    return {**keys, "attention_bias": bias, "logit_scale": config.head.scale}


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    return {**write(config), "use_qk_norm": config.transformer.blocks[0].attention.norm is not None}


def table(config: c.ModelConfig) -> Table:
    attention = config.transformer.blocks[0].attention
    theirs, ours = "model.layers.{i}.self_attn.", "decoder.blocks.{i}.attention."
    new = list(decoders.interleaved(config))
    for part, heads in (("q", attention.heads), ("k", attention.kv_heads)):
        norms = tuple(f"{ours}{part}_norm.heads.{h}.weight" for h in range(heads))
        turned = interleaved_rotary(1, attention.head_width)
        new.append(WeightMapping(f"{theirs}{part}_norm.weight", norms, Unstack(heads), turned))
    return decoders.table(config).replaced(*new)


FAMILY = Family(
    "cohere",
    {c.LMHead: "CohereForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "command-r",
        ("attention.layer_norm_epsilon", "layer_norm_eps"),
        numbers={"logit_scale": "logit_scale"},
        tensors={"attention_bias": "blk.0.attn_q.bias", "use_qk_norm": "blk.0.attn_q_norm.weight"},
        interleaved=True,
    ),
)

"""StableLM (Bellagente et al., 2024): Llama with layer norms, of which a quarter of each head turns."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, renamed, rotary
from limelight.models.mapping import Table, WeightMapping
from limelight.models.phi import part_turns


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    eps, bias = keys.number("layer_norm_eps", 1e-5), keys.truth("use_qkv_bias", False)
    parallel, own = keys.truth("use_parallel_residual", False), keys.truth("qk_layernorm", False)
    config = decoders.read(
        "stablelm",
        keys,
        context=4096,
        turning=partial(rotary, share=0.25),
        groups=keys.whole("num_key_value_heads", 32),
        norm=c.LayerNorm(eps),
        bias=bias,
        order="shared" if parallel else "pre",
    )
    if own:
        norm = c.UnbiasedLayerNorm(eps)
        return config.with_blocks(
            lambda i, block: replace(block, attention=replace(block.attention, norm=norm, normed="own"))
        )
    return config


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    block = config.transformer.blocks[0]
    turned = block.attention.rotary
    assert turned is not None
    keys = decoders.write(config, "layer_norm_eps")
    del keys["head_dim"]
    return {
        **keys,
        "partial_rotary_factor": turned.width / block.attention.head_width,
        "use_qkv_bias": block.attention.bias,
        "use_parallel_residual": block.order == "shared",
        "qk_layernorm": block.attention.norm is not None,
    }


def table(config: c.ModelConfig) -> Table:
    theirs, ours = "model.layers.{i}.self_attn.", "decoder.blocks.{i}.attention."
    return decoders.table(config).replaced(
        WeightMapping(f"{theirs}q_layernorm.norms.{{h}}.weight", f"{ours}q_norm.heads.{{h}}.weight"),
        WeightMapping(f"{theirs}k_layernorm.norms.{{h}}.weight", f"{ours}k_norm.heads.{{h}}.weight"),
        without=("q_norm", "k_norm"),
    )


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    return renamed(part_turns(values), {}, ("head_dim",))


FAMILY = Family(
    "stablelm",
    {c.LMHead: "StableLmForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "stablelm",
        ("attention.layer_norm_epsilon", "layer_norm_eps"),
        whole={"rope.dimension_count": "rotary_dim"},
        truths={"use_parallel_residual": "use_parallel_residual"},
        tensors={"use_qkv_bias": "blk.0.attn_q.bias", "qk_layernorm": "blk.0.attn_q_norm.weight"},
        complete=_said,
    ),
)

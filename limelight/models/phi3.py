"""Phi-3 (Abdin et al., 2024): Llama whose checkpoints hold q, k, v as one tensor, and gate and up as one."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, rotary
from limelight.models.mapping import Split, Table, WeightMapping


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    windows = [keys.whole("sliding_window", None)] * keys.layers("num_hidden_layers")
    return decoders.read("phi3", keys, context=4096, turning=_turning, eps=1e-5, windows=windows)


def _turning(keys: ConfigReader, width: int, context: int) -> c.Rotary:
    # As in the reference: what early configs call yarn is LongRoPE, and without the key its length is 4096.
    aliases = {"su": "longrope", "yarn": "longrope"}
    return rotary(keys, width, context, share=1.0, original=4096, aliases=aliases)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    return {**decoders.write(config), "sliding_window": config.transformer.blocks[0].attention.window}


def table(config: c.ModelConfig) -> Table:
    base, block = decoders.table(config), config.transformer.blocks[0]
    theirs, ours = "model.layers.{i}.", "decoder.blocks.{i}."
    heads = Split(tuple(n * block.attention.head_width for n in _q_k_v(block.attention)))
    halves = Split((block.feedforward.hidden, block.feedforward.hidden))
    names = tuple(f"{ours}attention.{part}.weight" for part in "qkv")
    fused = (
        WeightMapping(f"{theirs}self_attn.qkv_proj.weight", names, heads),
        WeightMapping(
            f"{theirs}mlp.gate_up_proj.weight",
            (f"{ours}feedforward.gate.weight", f"{ours}feedforward.up.weight"),
            halves,
        ),
    )
    return base.replaced(*fused, without=("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"))


def _q_k_v(attention: c.Attention) -> tuple[int, int, int]:
    return attention.heads, attention.kv_heads, attention.kv_heads


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in values.items() if name != "turned"}
    return {**said, "partial_rotary_factor": values.get("turned", values["head_dim"]) / values["head_dim"]}


FAMILY = Family(
    "phi3",
    {c.LMHead: "Phi3ForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf(
        "phi3",
        whole={"attention.sliding_window": "sliding_window", "rope.dimension_count": "turned"},
        complete=_said,
        joint=True,
        halves=True,
    ),
)

"""ERNIE 4.5 (Baidu, 2025), its dense models: Llama whose heads turn by neighbouring features."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, llama
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, rotary
from limelight.models.mapping import Table


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader({"head_dim": 128, **values})
    bias = keys.truth("use_bias", False)
    return decoders.read(
        "ernie4_5",
        keys,
        context=131072,
        turning=partial(rotary, base=500000.0),
        kv_heads=2,
        eps=1e-5,
        tied=True,
        bias=bias,
        out_bias=bias,
        feedforward_bias=bias,
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    said = llama.to_hf(config)
    bias = said.pop("attention_bias")
    del said["mlp_bias"]
    return {**said, "use_bias": bias}


def table(config: c.ModelConfig) -> Table:
    return decoders.table(config).replaced(*decoders.interleaved(config))


FAMILY = Family(
    "ernie4_5",
    {c.LMHead: "Ernie4_5ForCausalLM"},
    from_hf,
    to_hf,
    table,
    Gguf("ernie4_5", tensors={"use_bias": "blk.0.attn_q.bias"}, interleaved=True),
)

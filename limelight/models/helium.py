"""Helium (Kyutai, 2025): Llama whose heads turn by neighbouring features."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, llama
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, rotary
from limelight.models.mapping import Table


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader({"head_dim": 128, **values})
    bias, feedforward_bias = keys.truth("attention_bias", False), keys.truth("mlp_bias", False)
    return decoders.read(
        "helium",
        keys,
        context=4096,
        turning=partial(rotary, base=100000.0),
        kv_heads=20,
        eps=1e-8,
        bias=bias,
        feedforward_bias=feedforward_bias,
    )


def table(config: c.ModelConfig) -> Table:
    return decoders.table(config).replaced(*decoders.interleaved(config))


FAMILY = Family("helium", {c.LMHead: "HeliumForCausalLM"}, from_hf, llama.to_hf, table)

"""Gemma (Gemma team, 2024): Llama with scaled embeddings, norms that store their gain less one, and a gated GELU."""

from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader


def norm(keys: ConfigReader) -> c.Norm:
    """The norm of all Gemmas."""
    return c.ShiftedRMSNorm(keys.number("rms_norm_eps", 1e-6))


def embeddings(keys: ConfigReader) -> c.Embeddings:
    """The tokens' vectors times the root of their width."""
    return c.Embeddings(float(keys.whole("hidden_size") ** 0.5))


def one_way(keys: ConfigReader) -> None:
    """Raises ConfigError for a Gemma that reads in both directions."""
    if keys.truth("use_bidirectional_attention", False):
        raise ConfigError("this Gemma reads in both directions ('use_bidirectional_attention'); limelight cannot")


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    # What the first configs call gelu is its tanh approximation.
    renamed = {"hidden_act": "gelu_pytorch_tanh"} if values.get("hidden_act") == "gelu" else {}
    keys = ConfigReader({"head_dim": 256, **values, **renamed})
    keys.keep("hidden_activation")  # another name, which the reference does not read
    one_way(keys)
    bias = keys.truth("attention_bias", False)
    return decoders.read(
        "gemma",
        keys,
        context=8192,
        kv_heads=16,
        norm=norm(keys),
        activation=("hidden_act", "gelu_pytorch_tanh"),
        bias=bias,
        out_bias=bias,
        embeddings=embeddings(keys),
        tied=True,
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    return {**decoders.write(config), "attention_bias": config.transformer.blocks[0].attention.bias}


FAMILY = Family("gemma", {c.LMHead: "GemmaForCausalLM"}, from_hf, to_hf, decoders.table, Gguf("gemma", shifted=True))

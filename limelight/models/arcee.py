"""AFM (Arcee, 2025): Llama with a plain feed-forward of squared ReLU."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, llama
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    bias = keys.truth("attention_bias", False)
    return decoders.read(
        "arcee",
        keys,
        context=4096,
        eps=1e-5,
        activation=("hidden_act", "relu2"),
        gated=False,
        bias=bias,
        out_bias=bias,
        feedforward_bias=keys.truth("mlp_bias", False),
    )


FAMILY = Family(
    "arcee",
    {c.LMHead: "ArceeForCausalLM"},
    from_hf,
    llama.to_hf,
    decoders.table,
    Gguf("arcee", tensors=decoders.BIASES, interleaved=True),
)

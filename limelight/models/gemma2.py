"""Gemma 2 (Gemma team, 2024): four norms a block, capped scores, every other layer with a window."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from limelight.models import config as c
from limelight.models import decoders, gemma
from limelight.models.decoders import Turning
from limelight.models.family import Family, Gguf
from limelight.models.hf import ConfigReader, activation_name, head_width, kinds, rotary
from limelight.models.mapping import Table, WeightMapping


def read(
    family: str,
    keys: ConfigReader,
    pattern: int,
    *,
    context: int,
    cap: float | None = None,
    head_cap: float | None = None,
    turning: Turning = rotary,
    head_norm: bool = False,
) -> c.ModelConfig:
    """A Gemma 2 or 3. pattern: every layer of this number has no window, unless the config says which. cap: of the
    scores. head_cap: of the logits, unless the config says it."""
    layers = keys.layers("num_hidden_layers")
    gemma.one_way(keys)
    # The reference insists on it, though nothing is shared out.
    head_width(keys, keys.whole("hidden_size"), keys.whole("num_attention_heads"))
    bias = keys.truth("attention_bias", False)
    head_cap = _cap(keys, "final_logit_softcapping", head_cap)
    window = keys.whole("sliding_window", 4096)
    types = kinds(keys, layers) or [
        "sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(layers)
    ]
    keys.keep("sliding_window", "hidden_act")  # the second is an older name, which the reference does not read
    config = decoders.read(
        family,
        keys,
        context=context,
        turning=turning,
        kv_heads=4,
        norm=gemma.norm(keys),
        activation=("hidden_activation", "gelu_pytorch_tanh"),
        bias=bias,
        out_bias=bias,
        head_norm=head_norm,
        scale=keys.number("query_pre_attn_scalar", 256) ** -0.5,
        cap=cap,
        windows=[window if kind == "sliding_attention" else None for kind in types],
        order="sandwich",
        embeddings=gemma.embeddings(keys),
        tied=True,
    )
    assert isinstance(config.head, c.LMHead)
    return replace(config, head=replace(config.head, cap=head_cap))


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader({"head_dim": 256, **values})
    return read("gemma2", keys, 2, context=8192, cap=_cap(keys, "attn_logit_softcapping", 50.0), head_cap=30.0)


def _cap(keys: ConfigReader, name: str, default: float | None) -> Any:
    return keys.number(name, None if keys.says(name) else default)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    block, head = config.transformer.blocks[0], config.head
    assert isinstance(head, c.LMHead)
    windows = [b.attention.window for b in config.transformer.blocks]
    keys = decoders.write(config)
    del keys["hidden_act"]
    return {
        **keys,
        "hidden_activation": activation_name(block.feedforward.activation),
        "attention_bias": block.attention.bias,
        "query_pre_attn_scalar": round(block.attention.scale**-2),
        "attn_logit_softcapping": block.attention.cap,
        "final_logit_softcapping": head.cap,
        "layer_types": ["full_attention" if w is None else "sliding_attention" for w in windows],
        "sliding_window": next((w for w in windows if w is not None), 4096),  # the reference cannot run without one
    }


def table(config: c.ModelConfig) -> Table:
    base = decoders.table(config)
    theirs, ours = "model.layers.{i}.", "decoder.blocks.{i}."
    return base.replaced(
        WeightMapping(f"{theirs}post_attention_layernorm.{{p}}", f"{ours}attention_after.{{p}}"),
        WeightMapping(f"{theirs}pre_feedforward_layernorm.{{p}}", f"{ours}feedforward_norm.{{p}}"),
        WeightMapping(f"{theirs}post_feedforward_layernorm.{{p}}", f"{ours}feedforward_after.{{p}}"),
    )


def _said(values: Mapping[str, Any]) -> dict[str, Any]:
    # The scale of the scores is not in the file; only the 27B model's differs from its head width.
    wide = values["num_hidden_layers"] == 46
    scale = values["hidden_size"] // values["num_attention_heads"] if wide else values["head_dim"]
    return {**values, "query_pre_attn_scalar": scale}


GGUF = Gguf(
    "gemma2",
    shifted=True,
    whole={"attention.sliding_window": "sliding_window"},
    numbers={name: name for name in ("attn_logit_softcapping", "final_logit_softcapping")},
    complete=_said,
)

FAMILY = Family("gemma2", {c.LMHead: "Gemma2ForCausalLM"}, from_hf, to_hf, table, GGUF)

"""GPT-Neo (Black et al., 2021): GPT-2 whose scores are not scaled and whose layers see a window by turns."""

from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models import decoders
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, merged, renamed
from limelight.models.mapping import Table, WeightMapping, in_layers

OTHER_NAMES = {"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"}
NAMES = {**OTHER_NAMES, "hidden_act": "activation_function"}
"""What this family calls keys of others; the reference reads the first two by both names."""


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(merged(values, OTHER_NAMES), names=NAMES)
    context, window = keys.whole("max_position_embeddings", 2048), keys.whole("window_size", 256)
    keys.keep("window_size", "attention_layers", "resid_dropout", "embed_dropout")
    return decoders.read(
        "gpt_neo",
        keys,
        context=2048,
        turning=decoders.unturned,
        norm=c.LayerNorm(keys.number("layer_norm_epsilon", 1e-5)),
        activation=("hidden_act", "gelu_new"),
        gated=False,
        hidden=4 * keys.whole("hidden_size"),
        groups=keys.whole("num_attention_heads"),
        out_bias=True,
        feedforward_bias=True,
        scale=1.0,
        windows=[window if kind == "local" else None for kind in _kinds(keys)],
        embeddings=c.Embeddings(positions=c.Learned(context)),
        tied=True,
    )


def _kinds(keys: ConfigReader) -> list[str]:
    """What each layer is, global or local."""
    layers, said = keys.layers("num_hidden_layers"), keys.take("attention_types", [[["global", "local"], 12]])
    keys.keep("attention_types")
    kinds: list[str] = []
    try:
        for names, times in said:
            kinds += list(names) * min(int(times), layers + 1)
    except (TypeError, ValueError):
        raise keys.refused("attention_types", said, "a list of pairs, of kinds of layers and how often") from None
    if not all(kind in ("global", "local") for kind in kinds):
        raise keys.refused("attention_types", said, "of the kinds global and local")
    if len(kinds) != layers:
        raise ConfigError(f"{keys.called('attention_types')} names {len(kinds)} layers, but there are {layers}")
    return kinds


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    windows = [block.attention.window for block in config.transformer.blocks]
    kinds = ["global" if window is None else "local" for window in windows]
    return {
        **renamed(decoders.write(config, "layer_norm_epsilon"), NAMES, ("head_dim", "num_key_value_heads")),
        "attention_types": [[[kind], 1] for kind in kinds],
        "attention_layers": kinds,
        "window_size": next((window for window in windows if window is not None), 256),
    }


PARTS = {
    "ln_1": "attention_norm",
    **{f"attn.attention.{part}_proj": f"attention.{part}" for part in ("q", "k", "v", "out")},
    "ln_2": "feedforward_norm",
    "mlp.c_fc": "feedforward.up",
    "mlp.c_proj": "feedforward.down",
}


def table(config: c.ModelConfig) -> Table:
    layer = "transformer.h.{i}."
    mappings = (
        WeightMapping("transformer.wte.weight", "embed.weight"),
        WeightMapping("transformer.wpe.weight", "decoder.embeddings.positions.weight"),
        *in_layers(layer, PARTS),
        WeightMapping("transformer.ln_f.{p}", "decoder.norm.{p}"),
        WeightMapping("lm_head.{p}", "head.proj.{p}"),
    )
    ignored = (f"{layer}attn.attention.bias", f"{layer}attn.attention.masked_bias")
    tied = {"lm_head.weight": "embed.weight"} if config.tied else {}
    return Table(mappings, prefix="transformer.", ignored=ignored, tied=tied)


FAMILY = Family("gpt_neo", {c.LMHead: "GPTNeoForCausalLM"}, from_hf, to_hf, table)

"""RWKV-7 "Goose" (Peng et al., 2025), in the form of the library flash-linear-attention."""

from collections.abc import Mapping
from typing import Any

from limelight.models import config as c
from limelight.models import rwkv7_gguf, units
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, head_width
from limelight.models.mapping import Row, Table, Unstack, WeightMapping
from limelight.models.ssm import CONTEXT, NOTHING

INERT = (
    *("attn_mode", "fuse_norm", "fuse_cross_entropy", "fuse_linear_cross_entropy", "use_l2warp", "initializer_range"),
    *("hidden_ratio", "max_position_embeddings"),
)
"""Keys of how the reference computes and begins; a state is no longer for a longer text."""

RANKS = {"decay_low_rank_dim": 64, "a_low_rank_dim": 64, "v_low_rank_dim": 16, "gate_low_rank_dim": 128}
"""The keys of `units.TimeMix.ranks`, and what they are where the config says nothing."""


def model(
    vocab: int,
    width: int,
    layers: int,
    wide: int,
    ranks: tuple[int, int, int, int],
    *,
    hidden: int,
    norm: c.Norm,
    first: bool = True,
    tied: bool = False,
    dropout: float = 0.0,
    extra: Mapping[str, Any] = NOTHING,
) -> c.ModelConfig:
    """Layers of both mixers. first: whether embeddings end in a norm. The rest: see `units.TimeMix`."""
    blocks = (
        c.Block(
            units.TimeMix(wide=wide, ranks=ranks, eps=wide * norm.eps, leads=not i),
            units.ChannelMix(hidden),
            norm,
            "carried",
            dropout=dropout,
        )
        for i in range(layers)
    )
    embeddings = c.Embeddings(dropout=dropout, norm=norm if first else None)
    stack = c.TransformerStack(width, tuple(blocks), norm, embeddings)
    return c.ModelConfig("rwkv7", vocab, CONTEXT, stack, c.LMHead(tied), extra)


def language_model(
    *, vocab: int, context: int, layers: int, width: int, dropout: float, wide: int = 32
) -> c.ModelConfig:
    """A new one; it reads texts of any length, whatever the `context`."""
    ranks = (max(8, width // 8),) * 3 + (max(8, width // 4),)
    norm = c.LayerNorm(1e-5)
    return model(vocab, width, layers, wide, ranks, hidden=4 * width, norm=norm, tied=True, dropout=dropout)


def from_hf(values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    for name, wanted in (("hidden_act", "sqrelu"), ("attn", None)):
        if (said := keys.take(name, wanted)) != wanted:
            raise keys.refused(
                name, said, "null: layers of attention among them cannot be read" if name == "attn" else "'sqrelu'"
            )
    width, layers = keys.whole("hidden_size"), keys.layers("num_hidden_layers")
    if keys.take("head_dim", 64 if not keys.says("head_dim") else None) is None:
        wide = head_width(keys, width, keys.whole("num_heads"), "num_heads")
    else:
        wide = keys.whole("head_dim", 64)
        head_width(keys, width, wide, "head_dim")
    values_wide = keys.take("value_dim", width)
    if values_wide not in (width, [width] * layers):
        raise keys.refused("value_dim", values_wide, f"the width of the model, {width}; others cannot be read")
    hidden = keys.whole("intermediate_size", None) or -(-int(width * keys.number("hidden_ratio", 4.0)) // 32) * 32
    eps = keys.number("norm_eps", 1e-5)
    keys.take("num_heads")
    keys.keep(*INERT)
    w, a, v, g = (keys.whole(name, usual) for name, usual in RANKS.items())
    return model(
        keys.whole("vocab_size"),
        width,
        layers,
        wide,
        (w, a, v, g),
        hidden=hidden,
        norm=c.LayerNorm(eps) if keys.truth("norm_bias", True) else c.UnbiasedLayerNorm(eps),
        first=keys.truth("norm_first", True),
        tied=keys.truth("tie_word_embeddings", False),
        extra=keys.rest(),
    )


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    stack, block = config.transformer, config.transformer.blocks[0]
    unit = block.attention
    assert isinstance(unit, units.TimeMix)
    return {
        "vocab_size": config.vocab,
        "hidden_size": stack.width,
        "num_hidden_layers": len(stack.blocks),
        "head_dim": unit.wide,
        "num_heads": stack.width // unit.wide,
        "value_dim": [stack.width] * len(stack.blocks),
        "intermediate_size": block.feedforward.hidden,
        "hidden_act": "sqrelu",
        "norm_eps": block.norm.eps,
        "norm_bias": isinstance(block.norm, c.LayerNorm),
        "norm_first": stack.embeddings.norm is not None,
        "tie_word_embeddings": config.tied,
        **dict(zip(RANKS, unit.ranks, strict=True)),
    }


PROJECTIONS = {"r_proj": "r", "k_proj": "k", "v_proj": "v", "o_proj": "out"}
VECTORS = {"k_k": "key_removed", "k_a": "key_rate", "r_k": "bonus"}


def table(config: c.ModelConfig) -> Table:
    theirs, ours = "model.layers.{i}.", "decoder.blocks.{i}."
    heard, own = f"{theirs}attn.", f"{ours}attention."
    names = {
        "model.embeddings.weight": "embed.weight",
        "model.layers.0.pre_norm.{p}": "decoder.embeddings.norm.{p}",
        f"{theirs}attn_norm.{{p}}": f"{ours}attention_norm.{{p}}",
        f"{theirs}ffn_norm.{{p}}": f"{ours}feedforward_norm.{{p}}",
        f"{heard}g_norm.{{p}}": f"{own}norm.{{p}}",
        f"{theirs}ffn.x_k": f"{ours}feedforward.mix",
        f"{theirs}ffn.key.weight": f"{ours}feedforward.up.weight",
        f"{theirs}ffn.value.weight": f"{ours}feedforward.down.weight",
        "model.norm.{p}": "decoder.norm.{p}",
        "lm_head.weight": "head.proj.weight",
    }
    names |= {f"{heard}{name}.weight": f"{own}{part}.weight" for name, part in PROJECTIONS.items()}
    names |= {heard + name: own + part for name, part in VECTORS.items()}
    for name, part in rwkv7_gguf.LOW_RANK.items():
        names[f"{heard}{name}_lora.lora.0.weight"] = f"{own}{part}.narrow.weight"
        names[f"{heard}{name}_lora.lora.2.weight"] = f"{own}{part}.wide.weight"
        if name != "g":
            names[f"{heard}{name}_lora.lora.2.bias"] = f"{own}{part}_bias"
    mappings = [WeightMapping(name, part) for name, part in names.items()]
    mappings += [WeightMapping(f"{heard}x_{part}", f"{own}mix.{part}", Row(), Row()) for part in "rwkvag"]
    joint = WeightMapping(f"{heard}x_x", tuple(f"{own}mix.{part}" for part in "rwkvag"), Unstack(6))
    tied = {"lm_head.weight": "embed.weight"} if config.tied else {}
    return Table(tuple(mappings), prefix="model.", tied=tied, only_read=(joint,))


FAMILY = Family("rwkv7", {c.LMHead: "RWKV7ForCausalLM"}, from_hf, to_hf, table, rwkv7_gguf.GGUF)

"""T5 (Raffel et al., 2020), T5 v1.1 and Flan-T5: an encoder–decoder whose scores are not scaled and have a bias.

Its multilingual descendants, mT5 and UMT5, are read here as well.
"""

from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models import t5_gguf
from limelight.models.family import Family
from limelight.models.hf import ACTIVATIONS, ConfigReader, activation_name
from limelight.models.mapping import Table, WeightMapping


def from_hf(
    values: Mapping[str, Any], name: str = "t5", *, own_biases: bool = False, scales: bool = True
) -> c.ModelConfig:
    """The config of a family called `name`. own_biases: each layer has a bias, not one for all. scales: a head that is
    tied to the embeddings reads states that are scaled down."""
    keys = ConfigReader(values)
    width, heads, head_width = keys.whole("d_model", 512), keys.whole("num_heads", 8), keys.whole("d_kv", 64)
    layers = keys.layers("num_layers")
    buckets = keys.whole("relative_attention_num_buckets", 32, least=4)
    farthest = keys.whole("relative_attention_max_distance", 128, least=buckets)
    norm = c.RMSNorm(keys.number("layer_norm_epsilon", 1e-6))
    feedforward = _feedforward(keys)
    tied = keys.truth("tie_word_embeddings", True)
    # Older configs say both at once: version 1.1 has neither.
    scaled = scales and keys.truth("scale_decoder_outputs", tied)

    def stack(layers: int, *, decodes: bool) -> c.TransformerStack:
        bias = c.RelativeBias(buckets, farthest, both_ways=not decodes, own=own_biases)
        own = c.Attention(heads, heads, head_width, 1.0, score_bias=bias)
        cross = c.Attention(heads, heads, head_width, 1.0) if decodes else None
        return c.TransformerStack(width, (c.Block(own, feedforward, norm, cross=cross),) * layers, norm)

    decoder = stack(keys.whole("num_decoder_layers", layers), decodes=True)
    head = c.LMHead(tied, scale=width**-0.5 if scaled else 1.0)
    vocab, context = keys.whole("vocab_size", 32128), keys.whole("n_positions", 512)
    return c.ModelConfig(name, vocab, context, decoder, head, keys.rest(), stack(layers, decodes=False))


def _feedforward(keys: ConfigReader) -> c.FeedForward | c.GatedFeedForward:
    kind, hidden = keys.take("feed_forward_proj", "relu"), keys.whole("d_ff", 2048)
    keys.take("dense_act_fn")
    keys.take("is_gated_act")  # both are derived from the first by who wrote them
    gate, _, name = kind.rpartition("-") if isinstance(kind, str) else ("", "", "")
    if gate not in ("", "gated") or name not in ACTIVATIONS:
        raise keys.refused("feed_forward_proj", kind, "an activation, or one behind 'gated-'")
    if not gate:
        return c.FeedForward(hidden, ACTIVATIONS[name], bias=False)
    return c.GatedFeedForward(hidden, "gelu_tanh" if name == "gelu" else ACTIVATIONS[name])


def to_hf(config: c.ModelConfig, *, scales: bool = True) -> dict[str, Any]:
    encoder, decoder = config.encoder, config.transformer
    if not isinstance(encoder, c.TransformerStack) or not isinstance(config.head, c.LMHead):
        raise ConfigError("a T5 has an encoder of blocks and a language model's head")
    attention, feedforward = encoder.blocks[0].attention, encoder.blocks[0].feedforward
    bias = attention.score_bias
    assert isinstance(bias, c.RelativeBias)
    name = activation_name(feedforward.activation)
    if isinstance(feedforward, c.GatedFeedForward):
        name = f"gated-{'gelu' if feedforward.activation == 'gelu_tanh' else name}"
    values = {
        "vocab_size": config.vocab,
        "d_model": encoder.width,
        "d_kv": attention.head_width,
        "d_ff": feedforward.hidden,
        "num_layers": len(encoder.blocks),
        "num_decoder_layers": len(decoder.blocks),
        "num_heads": attention.heads,
        "relative_attention_num_buckets": bias.buckets,
        "relative_attention_max_distance": bias.farthest,
        "layer_norm_epsilon": encoder.blocks[0].norm.eps,
        "feed_forward_proj": name,
        "n_positions": config.context,
        "tie_word_embeddings": config.tied,
        "is_encoder_decoder": True,
    }
    return values | {"scale_decoder_outputs": config.head.scale != 1.0} if scales else values


def table(config: c.ModelConfig) -> Table:
    bias = config.transformer.blocks[0].attention.score_bias
    first = "{i}" if isinstance(bias, c.RelativeBias) and bias.own else "0"
    mappings = [WeightMapping("shared.weight", "embed.weight"), WeightMapping("lm_head.weight", "head.proj.weight")]
    for stack, parts in (("encoder", ("SelfAttention",)), ("decoder", ("SelfAttention", "EncDecAttention"))):
        theirs, ours = f"{stack}.block.{{i}}.layer.", f"{stack}.blocks.{{i}}."
        for number, part in enumerate(parts):
            place = "cross.attention" if number else "attention"
            mappings += [
                WeightMapping(f"{theirs}{number}.{part}.{p}.weight", f"{ours}{place}.{'out' if p == 'o' else p}.weight")
                for p in "qkvo"
            ]
            norm = "cross.norm" if number else "attention_norm"
            mappings.append(WeightMapping(f"{theirs}{number}.layer_norm.weight", f"{ours}{norm}.weight"))
        last = f"{theirs}{len(parts)}."
        mappings += [
            WeightMapping(f"{last}layer_norm.weight", f"{ours}feedforward_norm.weight"),
            WeightMapping(f"{last}DenseReluDense.wi.weight", f"{ours}feedforward.up.weight"),
            WeightMapping(f"{last}DenseReluDense.wi_0.weight", f"{ours}feedforward.gate.weight"),
            WeightMapping(f"{last}DenseReluDense.wi_1.weight", f"{ours}feedforward.up.weight"),
            WeightMapping(f"{last}DenseReluDense.wo.weight", f"{ours}feedforward.down.weight"),
            WeightMapping(
                f"{stack}.block.{first}.layer.0.SelfAttention.relative_attention_bias.weight",
                f"{stack}.blocks.{first}.attention.score_bias.weight",
            ),
            WeightMapping(f"{stack}.final_layer_norm.weight", f"{stack}.norm.weight"),
        ]
    gated = isinstance(config.transformer.blocks[0].feedforward, c.GatedFeedForward)
    mappings = [
        mapping for mapping in mappings if not mapping.theirs[0].endswith("wi.weight" if gated else "wi_1.weight")
    ]
    ignored = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)
    return Table(
        tuple(mappings),
        ignored=ignored,
        tied={"lm_head.weight": "embed.weight"} if config.tied else {},
        repeated=dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"), "embed.weight"),
    )


FAMILY = Family("t5", {c.LMHead: "T5ForConditionalGeneration"}, from_hf, to_hf, table, t5_gguf.GGUF)

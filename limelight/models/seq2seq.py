"""What BART (Lewis et al., 2020) and its descendants share: mBART, Pegasus, Marian and M2M-100.

All are encoder–decoders of the 2017 kind. They differ in where the norms stand, in what tells positions apart, and in
whether the embeddings are normalised.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models.family import Family
from limelight.models.hf import ConfigReader, architecture, head_width
from limelight.models.mapping import Row, Sinusoids, Table, WeightMapping

INERT = """
    activation_dropout add_bias_logits add_final_layer_norm classif_dropout decoder_layerdrop
    do_blenderbot_90_layernorm dropout encoder_layerdrop extra_pos_embeddings force_bos_token_to_be_generated init_std
    max_source_positions max_target_positions normalize_before normalize_embedding num_hidden_layers num_labels
    output_past save_step scale_attn static_position_embeddings student_decoder_layers student_encoder_layers
""".split()
"""Keys that the class decides upon, or that only training asks."""


@dataclass(frozen=True)
class Kind:
    """What sets one of the families apart.

    order: where a block's norms stand; behind pre-norm blocks stands one more. normalised: whether the embeddings are.
    positions: what is added to them, for a context and the number of the padding token. bias: of the head. stored:
    whether files hold positions that need no weights.
    """

    name: str
    architecture: str
    order: Literal["pre", "post"]
    normalised: bool
    positions: Callable[[int, int], c.Learned | c.Sinusoidal]
    bias: bool = True
    stored: bool = False

    @property
    def family(self) -> Family:
        """The family as data."""
        from_hf, table = partial(_from_hf, self), partial(_table, self)
        return Family(self.name, {c.LMHead: self.architecture}, from_hf, to_hf, table)


def _from_hf(kind: Kind, values: Mapping[str, Any]) -> c.ModelConfig:
    keys = ConfigReader(values)
    if architecture(values).endswith("ForCausalLM") or not keys.truth("is_encoder_decoder", True):
        raise ConfigError(f"this is the decoder of a {kind.name} alone; limelight opens it with its encoder")
    width, norm = keys.whole("d_model", 1024), c.LayerNorm(1e-5)
    context, pad = keys.whole("max_position_embeddings", 1024), keys.whole("pad_token_id", 1, least=0)
    activation, keep = keys.activation("activation_function", "gelu"), keys.keep
    keep("pad_token_id", *(key for key in INERT if keys.says(key) and keys.take(key) is not None))
    embeddings = c.Embeddings(
        scale=math.sqrt(width) if keys.truth("scale_embedding", False) else 1.0,
        positions=kind.positions(context, pad),
        norm=norm if kind.normalised else None,
    )

    def stack(side: str) -> c.TransformerStack:
        heads = keys.whole(f"{side}_attention_heads", 16)
        head = head_width(keys, width, heads, f"{side}_attention_heads")
        attention = c.Attention(heads, heads, head, head**-0.5, bias=True, out_bias=True)
        feedforward = c.FeedForward(keys.whole(f"{side}_ffn_dim", 4096), activation)
        block = c.Block(attention, feedforward, norm, kind.order, attention if side == "decoder" else None)
        layers, last = keys.layers(f"{side}_layers"), norm if kind.order == "pre" else None
        return c.TransformerStack(width, (block,) * layers, last, embeddings)

    vocab = keys.whole("vocab_size", 50265)
    shared, target = keys.truth("share_encoder_decoder_embeddings", True), keys.whole("decoder_vocab_size", vocab)
    head = c.LMHead(keys.truth("tie_word_embeddings", True), kind.bias)
    if shared and target != vocab:
        raise ConfigError(f"{keys.called('decoder_vocab_size')} is {target:,}, but source and target share {vocab:,}")
    encoder, decoder = stack("encoder"), stack("decoder")
    return c.ModelConfig(kind.name, target, context, decoder, head, keys.rest(), encoder, None if shared else vocab)


def to_hf(config: c.ModelConfig) -> dict[str, Any]:
    encoder, decoder = config.encoder, config.transformer
    assert isinstance(encoder, c.TransformerStack)
    sides = {}
    for side, stack in (("encoder", encoder), ("decoder", decoder)):
        block = stack.blocks[0]
        sides[f"{side}_layers"] = len(stack.blocks)
        sides[f"{side}_attention_heads"] = block.attention.heads
        sides[f"{side}_ffn_dim"] = block.feedforward.hidden
    vocabularies = {"vocab_size": config.source_vocab or config.vocab}
    if config.source_vocab is not None:
        vocabularies |= {"decoder_vocab_size": config.vocab, "share_encoder_decoder_embeddings": False}
    return {
        **vocabularies,
        **sides,
        "d_model": decoder.width,
        "max_position_embeddings": config.context,
        "scale_embedding": decoder.embeddings.scale != 1.0,
        "tie_word_embeddings": config.tied,
        "is_encoder_decoder": True,
    }


def _table(kind: Kind, config: c.ModelConfig) -> Table:
    own = config.source_vocab is not None
    names = {"encoder": "model.encoder.embed_tokens.weight", "decoder": "model.decoder.embed_tokens.weight"}
    embed = names["decoder"] if own else "model.shared.weight"
    mappings = [WeightMapping(embed, "embed.weight"), WeightMapping("lm_head.weight", "head.proj.weight")]
    if own:
        mappings.append(WeightMapping(names["encoder"], "source_embed.weight"))
    if kind.bias:
        mappings.append(WeightMapping("final_logits_bias", "head.proj.bias", Row()))
    ignored, sinusoids = ["model.encoder.version", "model.decoder.version"], {}
    for side in ("encoder", "decoder"):
        theirs, ours = f"model.{side}.layers.{{i}}.", f"{side}.blocks.{{i}}."
        positions = f"model.{side}.embed_positions."
        match kind.positions(config.context, 0):
            case c.Learned():
                mappings.append(WeightMapping(f"{positions}weight", f"{side}.embeddings.positions.weight"))
            case c.Sinusoidal(layout) if kind.stored:
                sinusoids[f"{positions}weight"] = Sinusoids(config.context, config.width, layout)
            case _:
                ignored += [f"{positions}weight", f"{positions}weights", f"{positions}_float_tensor"]
        for part, place in (("self_attn", "attention"), ("encoder_attn", "cross.attention")):
            norm = "attention_norm" if part == "self_attn" else "cross.norm"
            mappings += [
                WeightMapping(f"{theirs}{part}.{p}_proj.{{p}}", f"{ours}{place}.{p.removesuffix('_proj')}.{{p}}")
                for p in ("q", "k", "v", "out")
            ]
            mappings.append(WeightMapping(f"{theirs}{part}_layer_norm.{{p}}", f"{ours}{norm}.{{p}}"))
        mappings += [
            WeightMapping(f"{theirs}fc1.{{p}}", f"{ours}feedforward.up.{{p}}"),
            WeightMapping(f"{theirs}fc2.{{p}}", f"{ours}feedforward.down.{{p}}"),
            WeightMapping(f"{theirs}final_layer_norm.{{p}}", f"{ours}feedforward_norm.{{p}}"),
            WeightMapping(f"model.{side}.layernorm_embedding.{{p}}", f"{side}.embeddings.norm.{{p}}"),
            WeightMapping(f"model.{side}.layer_norm.{{p}}", f"{side}.norm.{{p}}"),
        ]
    return Table(
        tuple(mappings),
        "model.",
        tuple(ignored),
        tied={"lm_head.weight": "embed.weight"} if config.tied else {},
        repeated={} if own else dict.fromkeys(names.values(), "embed.weight"),
        zero={"head.proj.bias": (config.vocab,)} if kind.bias else {},
        sinusoids=sinusoids,
    )

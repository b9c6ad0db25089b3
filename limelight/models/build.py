"""From a config to modules: the only place where one becomes the other."""

from collections.abc import Callable

import torch
from torch import nn

from limelight.errors import ConfigError
from limelight.models import config as c
from limelight.models.api import Decoder, Network, Seq2Seq
from limelight.nn.attention import AdditiveWeights, Attention, Weigh, attention_weights
from limelight.nn.block import ORDERS, Block
from limelight.nn.feedforward import ACTIVATIONS, FeedForward, GatedFeedForward
from limelight.nn.norm import LayerNorm, Norm, RMSNorm, ShiftedRMSNorm
from limelight.nn.positions import LearnedPositions, NoPositions, NoRotary, Rotary, SinusoidalPositions
from limelight.nn.recurrent import (
    BahdanauDecoder,
    FeedingDecoder,
    LuongDecoder,
    PlainDecoder,
    RecurrentDecoder,
    RecurrentEncoder,
    RecurrentLayer,
)
from limelight.nn.stack import Stack

NORMS: dict[type, Callable[[int, float], Norm]] = {
    c.RMSNorm: RMSNorm,
    c.ShiftedRMSNorm: ShiftedRMSNorm,
    c.LayerNorm: LayerNorm,
}
"""The module for each kind of norm that a config may name."""


def build(config: c.ModelConfig, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Network:
    """The modules that `config` describes, with torch's initial weights.

    device "meta" makes the shapes alone; weights are assigned afterwards. Raises ConfigError if the config's parts do
    not fit each other.
    """
    _check(config)
    with torch.device(device):
        model = _decoder(config) if config.encoder is None else _seq2seq(config, config.encoder)
    return model if dtype is None else model.to(dtype)


def _check(config: c.ModelConfig) -> None:
    encoder, decoder = config.encoder, config.decoder
    if isinstance(decoder, c.RecurrentStack):
        if decoder.direction != "forward":
            raise ConfigError(f"a recurrent decoder reads forward; its direction cannot be {decoder.direction!r}")
        if decoder.attention is not None and encoder is None:
            raise ConfigError("a recurrent decoder with attention needs an encoder to attend to")
    else:
        crosses = [block.cross is not None for block in decoder.blocks]
        if not all(crosses) if encoder is not None else any(crosses):
            raise ConfigError(
                "behind an encoder every block of a decoder has attention to it ('cross'), otherwise none"
            )
    if encoder is None:
        return
    if encoder.width != decoder.width:
        raise ConfigError(f"the encoder is {encoder.width} wide and the decoder {decoder.width}; they must be equal")
    if isinstance(encoder, c.TransformerStack):
        if any(block.cross is not None or block.attention.window is not None for block in encoder.blocks):
            raise ConfigError("the blocks of an encoder have neither 'cross' nor 'window'")
        return
    if encoder.attention is not None:
        raise ConfigError("a recurrent encoder has no attention; it belongs to the decoder")
    if encoder.direction == "both" and encoder.width % 2:
        raise ConfigError(f"an encoder in both directions needs an even width, and {encoder.width} is not")
    if isinstance(decoder, c.RecurrentStack) and (encoder.cell, encoder.layers) != (decoder.cell, decoder.layers):
        raise ConfigError(
            "a recurrent decoder begins where its encoder ended, layer by layer: give both the same cell and layers"
        )


def _decoder(config: c.ModelConfig) -> Decoder:
    embed, head = _words(config)
    return Decoder(config, embed, _stack_decoder(config.decoder), head)


def _seq2seq(config: c.ModelConfig, encoder: c.Stack) -> Seq2Seq:
    embed, head = _words(config)
    source = None if config.source_vocab is None else _embedding(config.source_vocab, encoder.width)
    first = _stack(encoder) if isinstance(encoder, c.TransformerStack) else _recurrent_encoder(encoder)
    return Seq2Seq(config, source, first, embed, _stack_decoder(config.decoder), head)


def _words(config: c.ModelConfig) -> tuple[nn.Embedding, nn.Linear]:
    """The target's embeddings, and the head that scores its words."""
    embed = _embedding(config.vocab, config.decoder.width)
    head = nn.Linear(config.decoder.width, config.vocab, bias=config.head.bias)
    if config.head.tied:
        head.weight = embed.weight
    return embed, head


def _embedding(count: int, width: int) -> nn.Embedding:
    """Without weights on "meta": to draw them there torch loads its compiler, which takes longer than a file."""
    weight = torch.empty(count, width)
    return nn.Embedding(count, width, _weight=weight if weight.is_meta else nn.init.normal_(weight))


def _stack_decoder(stack: c.Stack) -> Stack | RecurrentDecoder:
    return _stack(stack) if isinstance(stack, c.TransformerStack) else _recurrent_decoder(stack)


def _stack(stack: c.TransformerStack) -> Stack:
    rotaries: dict[c.Rotary, Rotary] = {}  # layers with equal rotary embeddings share one, and so its cosines
    return Stack(
        _positions(stack),
        [_block(block, stack.width, rotaries) for block in stack.blocks],
        _norm(stack.norm, stack.width),
        scale=stack.scale,
        dropout=_dropout(stack.dropout),
    )


def _positions(stack: c.TransformerStack) -> nn.Module:
    match stack.positions:
        case None:
            return NoPositions()
        case c.Learned(context):
            return LearnedPositions(context, stack.width)
        case c.Sinusoidal(layout):
            if stack.width % 2:
                raise ConfigError(f"sinusoidal positions need an even width, and {stack.width} is not")
            return SinusoidalPositions(stack.width, layout)


def _block(block: c.Block, width: int, rotaries: dict[c.Rotary, Rotary]) -> Block:
    return ORDERS[block.order](
        _attention(block.attention, width, rotaries),
        None if block.cross is None else _attention(block.cross, width, rotaries),
        _feedforward(block.feedforward, width),
        lambda: _norm(block.norm, width),
        _dropout(block.dropout),
    )


def _attention(attention: c.Attention, width: int, rotaries: dict[c.Rotary, Rotary]) -> Attention:
    a = attention
    rotary = a.rotary
    if rotary is not None and rotary not in rotaries:
        rotaries[rotary] = Rotary(rotary.width, rotary.base, rotary.scaling)
    return Attention(
        nn.Linear(width, a.heads * a.head_width, bias=a.bias),
        nn.Linear(width, a.kv_heads * a.head_width, bias=a.bias),
        nn.Linear(width, a.kv_heads * a.head_width, bias=a.bias),
        nn.Linear(a.heads * a.head_width, width, bias=a.out_bias),
        kv_heads=a.kv_heads,
        head_width=a.head_width,
        rotary=NoRotary() if rotary is None else rotaries[rotary],
        q_norm=_norm(a.norm, a.head_width),
        k_norm=_norm(a.norm, a.head_width),
        scale=a.scale,
        cap=a.cap,
        window=a.window,
        dropout=a.dropout,
    )


def _feedforward(part: c.FeedForward | c.GatedFeedForward, width: int) -> nn.Module:
    activation = ACTIVATIONS[part.activation]
    up = nn.Linear(width, part.hidden, bias=part.bias)
    down = nn.Linear(part.hidden, width, bias=part.bias)
    dropout = _dropout(part.dropout)
    if isinstance(part, c.GatedFeedForward):
        return GatedFeedForward(nn.Linear(width, part.hidden, bias=part.bias), up, down, activation, dropout)
    return FeedForward(up, down, activation, dropout)


def _norm(norm: c.Norm | None, width: int) -> nn.Module:
    return nn.Identity() if norm is None else NORMS[type(norm)](width, norm.eps)


def _dropout(rate: float) -> nn.Module:
    if not 0 <= rate < 1:
        raise ConfigError(f"a dropout rate of {rate} is not from 0 to below 1")
    return nn.Dropout(rate) if rate else nn.Identity()


def _recurrent_encoder(stack: c.RecurrentStack) -> RecurrentEncoder:
    both = stack.direction == "both"
    layers = [RecurrentLayer(stack.cell, stack.width, stack.width, both) for _ in range(stack.layers)]
    return RecurrentEncoder(layers, stack.direction == "backward", stack.scale, _dropout(stack.dropout))


def _recurrent_decoder(stack: c.RecurrentStack) -> RecurrentDecoder:
    width, scale, dropout = stack.width, stack.scale, _dropout(stack.dropout)

    def layers(inputs: int) -> list[RecurrentLayer]:
        return [RecurrentLayer(stack.cell, width if i else inputs, width) for i in range(stack.layers)]

    match stack.attention:
        case None:
            return PlainDecoder(layers(width), width, scale, dropout)
        case c.AdditiveAttention():
            ask, offer = nn.Linear(width, width, bias=False), nn.Linear(width, width)
            attention = _listening(width, ask, offer, AdditiveWeights(width))
            return BahdanauDecoder(layers(2 * width), width, scale, dropout, attention, nn.Linear(3 * width, width))
        case c.DotAttention(feeding):
            attention = _listening(width, nn.Identity(), nn.Identity(), attention_weights)
        case c.GeneralAttention(feeding):
            attention = _listening(width, nn.Identity(), nn.Linear(width, width, bias=False), attention_weights)
    join = nn.Linear(2 * width, width, bias=False)
    if feeding:
        return FeedingDecoder(layers(2 * width), width, scale, dropout, attention, join)
    return LuongDecoder(layers(width), width, scale, dropout, attention, join)


def _listening(width: int, ask: nn.Module, offer: nn.Module, weigh: Weigh) -> Attention:
    """The attention of a recurrent decoder: one head as wide as the model, which hears the memory as it is."""
    return Attention(
        ask,
        offer,
        nn.Identity(),
        nn.Identity(),
        kv_heads=1,
        head_width=width,
        rotary=NoRotary(),
        q_norm=nn.Identity(),
        k_norm=nn.Identity(),
        scale=1.0,
        weigh=weigh,
    )

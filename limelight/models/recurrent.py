"""Recurrent language models, and the translators that came before the Transformer.

Sutskever et al. (2014): an encoder that reads backward hands its last states to the decoder, and nothing else.
Bahdanau et al. (2015): an encoder in both directions, and additive attention. Luong et al. (2015): dot or general
attention with input feeding.

Embeddings are the head's weights as well, small enough for that, and scaled up to size one where cells read them, as
the Transformer's are (Vaswani et al., 2017, section 3.4): from inputs near zero a cell hardly learns at first.
"""

from typing import Literal

from limelight.models import config as c
from limelight.models import units
from limelight.models.native import native_family

Cell = Literal["rnn", "gru", "lstm"]
Direction = Literal["backward", "both"]
Attention = c.AdditiveAttention | c.DotAttention | c.GeneralAttention


def language_model(*, cell: Cell, vocab: int, context: int, layers: int, width: int, dropout: float) -> c.ModelConfig:
    """Layers of cells between tied embeddings."""
    decoder = c.RecurrentStack(cell, width, layers, dropout=dropout, scale=width**0.5)
    return c.ModelConfig(FAMILY.name, vocab, context, decoder, c.LMHead(tied=True))


def minimal(*, vocab: int, context: int, layers: int, width: int, hidden: int, dropout: float) -> c.ModelConfig:
    """Minimal GRUs (Feng et al., 2024), one and a half times as wide as the stream, each with a feed-forward."""
    norm, unit = c.RMSNorm(1e-6), units.MinGRU(inner=width + width // 2)
    block = c.Block(unit, c.GatedFeedForward(hidden, "silu"), norm, dropout=dropout)
    stack = c.TransformerStack(width, (block,) * layers, norm, c.Embeddings(dropout=dropout))
    return c.ModelConfig(FAMILY.name, vocab, context, stack, c.LMHead(tied=True))


def listening(
    *, cell: Cell, vocab: int, context: int, layers: int, width: int, inner: int, dropout: float
) -> c.ModelConfig:
    """Layers of cells, and behind them attention to all that they said before, by one head; no positions, since the
    cells know the order (Cheng et al., 2016, attend to their own past as well)."""
    norm, unit = c.RMSNorm(1e-6), units.Cells(inner=inner, cell=cell)
    parts = (*(unit,) * layers, c.Attention(1, 1, width, width**-0.5))
    blocks = tuple(c.Block(part, units.NoFeedForward(), norm, "lone", dropout=dropout) for part in parts)
    stack = c.TransformerStack(width, blocks, norm, c.Embeddings(dropout=dropout))
    return c.ModelConfig(FAMILY.name, vocab, context, stack, c.LMHead(tied=True))


def translator(
    *,
    cell: Cell,
    attention: Attention | None,
    vocab: int,
    source_vocab: int | None,
    context: int,
    layers: int,
    width: int,
    dropout: float,
) -> c.ModelConfig:
    """An encoder and a decoder of as many layers. Without attention the source is read backward, with it both ways."""
    direction: Direction = "backward" if attention is None else "both"
    scale = width**0.5
    encoder = c.RecurrentStack(cell, width, layers, direction, dropout=dropout, scale=scale)
    decoder = c.RecurrentStack(cell, width, layers, attention=attention, dropout=dropout, scale=scale)
    head = c.LMHead(tied=True)
    return c.ModelConfig(FAMILY.name, vocab, context, decoder, head, encoder=encoder, source_vocab=source_vocab)


FAMILY = native_family("limelight-recurrent")

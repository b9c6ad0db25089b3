"""Recurrent language models, and the translators that came before the Transformer.

Sutskever et al. (2014): an encoder that reads backward hands its last states to the decoder, and nothing else.
Bahdanau et al. (2015): an encoder in both directions, and additive attention. Luong et al. (2015): dot or general
attention with input feeding.
"""

from typing import Literal

from limelight.models import config as c
from limelight.models.own import own_family

Cell = Literal["rnn", "gru", "lstm"]
Attention = c.AdditiveAttention | c.DotAttention | c.GeneralAttention


def language_model(*, cell: Cell, vocab: int, context: int, layers: int, width: int, dropout: float) -> c.ModelConfig:
    """Layers of cells between tied embeddings."""
    decoder = c.RecurrentStack(cell, width, layers, dropout=dropout)
    return c.ModelConfig(FAMILY.name, vocab, context, decoder, c.LMHead(tied=True))


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
    encoder = c.RecurrentStack(cell, width, layers, "backward" if attention is None else "both", dropout=dropout)
    decoder = c.RecurrentStack(cell, width, layers, attention=attention, dropout=dropout)
    head = c.LMHead(tied=True)
    return c.ModelConfig(FAMILY.name, vocab, context, decoder, head, encoder=encoder, source_vocab=source_vocab)


FAMILY = own_family("limelight-recurrent")

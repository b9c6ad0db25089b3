"""The Transformer of "Attention is all you need" (Vaswani et al., 2017), and what has become of it since.

An encoder–decoder with sinusoidal positions, norms behind each part, ReLU feed-forward and one matrix for the
embeddings of both languages and the head, scaled by √width on the way in (section 3.4). The modern variant is the
same model with other options: RMS norms in front of each part and at the end, rotary positions in self-attention,
a gated feed-forward of as many parameters (its hidden layer two thirds as wide), no biases.
"""

from limelight.models import config as c
from limelight.models.native import native_family


def transformer2017(
    *,
    vocab: int,
    source_vocab: int | None,
    context: int,
    layers: int,
    width: int,
    heads: int,
    hidden: int,
    dropout: float,
) -> c.ModelConfig:
    """The paper's model with `layers` in the encoder and as many in the decoder."""
    norm = c.LayerNorm(1e-5)
    attention = c.Attention(heads, heads, width // heads, (width // heads) ** -0.5, bias=True, out_bias=True)

    def stack(cross: c.Attention | None) -> c.TransformerStack:
        block = c.Block(attention, c.FeedForward(hidden, "relu"), norm, "post", cross, dropout)
        return c.TransformerStack(width, (block,) * layers, None, c.Embeddings(width**0.5, c.Sinusoidal(), dropout))

    return _model(vocab, source_vocab, context, stack(None), stack(attention))


def modern(
    *,
    vocab: int,
    source_vocab: int | None,
    context: int,
    layers: int,
    width: int,
    heads: int,
    hidden: int,
    dropout: float,
) -> c.ModelConfig:
    """The modern variant of `transformer2017`, with the paper's `hidden`, of which two thirds are taken."""
    norm = c.RMSNorm(1e-6)
    scale = (width // heads) ** -0.5
    own = c.Attention(heads, heads, width // heads, scale, c.Rotary(width // heads, 10000.0))
    other = c.Attention(heads, heads, width // heads, scale)
    feedforward = c.GatedFeedForward(round(hidden * 2 / 3 / 32) * 32, "silu")

    def stack(cross: c.Attention | None) -> c.TransformerStack:
        block = c.Block(own, feedforward, norm, "pre", cross, dropout)
        return c.TransformerStack(width, (block,) * layers, norm, c.Embeddings(width**0.5, None, dropout))

    return _model(vocab, source_vocab, context, stack(None), stack(other))


def _model(
    vocab: int, source_vocab: int | None, context: int, encoder: c.TransformerStack, decoder: c.TransformerStack
) -> c.ModelConfig:
    head = c.LMHead(tied=True)
    return c.ModelConfig(FAMILY.name, vocab, context, decoder, head, encoder=encoder, source_vocab=source_vocab)


FAMILY = native_family("limelight-transformer2017")

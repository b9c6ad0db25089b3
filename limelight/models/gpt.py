"""Language models to train from nothing, in the shapes of GPT-2 and of Llama, which transformers opens as such."""

from limelight.models import config as c


def gpt(*, vocab: int, context: int, layers: int, width: int, heads: int, dropout: float) -> c.ModelConfig:
    """GPT-2's shape: learned positions, layer norms, GELU, tied embeddings."""
    norm = c.LayerNorm(1e-5)
    attention = c.Attention(heads, heads, width // heads, (width // heads) ** -0.5, bias=True, out_bias=True)
    block = c.Block(attention, c.FeedForward(4 * width, "gelu_tanh"), norm, dropout=dropout)
    stack = c.TransformerStack(width, (block,) * layers, norm, c.Embeddings(1.0, c.Learned(context), dropout))
    return c.ModelConfig("gpt2", vocab, context, stack, c.LMHead(tied=True))


def modern(*, vocab: int, context: int, layers: int, width: int, heads: int, dropout: float) -> c.ModelConfig:
    """Llama's shape, with as many parameters: rotary positions, RMS norms, a gated feed-forward, no biases."""
    norm = c.RMSNorm(1e-6)
    scale = (width // heads) ** -0.5
    attention = c.Attention(heads, heads, width // heads, scale, c.Rotary(width // heads, 10000.0))
    feedforward = c.GatedFeedForward(round(4 * width * 2 / 3 / 32) * 32, "silu")
    block = c.Block(attention, feedforward, norm, dropout=dropout)
    stack = c.TransformerStack(width, (block,) * layers, norm, c.Embeddings(dropout=dropout))
    return c.ModelConfig("llama", vocab, context, stack, c.LMHead(tied=True))

"""Small models and data that the tests of training share."""

import random
from pathlib import Path

import torch

from limelight.models import config as c
from limelight.models.api import Decoder, Seq2Seq
from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.presets import preset


def gpt(
    vocab: int, *, width: int = 16, layers: int = 2, heads: int = 2, context: int = 64, cap: bool = False
) -> Decoder:
    """A GPT-2 with small random weights that depend on nothing but its sizes."""
    attention = c.Attention(heads, heads, width // heads, (width // heads) ** -0.5, bias=True, out_bias=True)
    block = c.Block(attention, c.FeedForward(4 * width, "gelu_tanh"), c.LayerNorm(1e-5))
    stack = c.TransformerStack(width, (block,) * layers, c.LayerNorm(1e-5), c.Embeddings(positions=c.Learned(context)))
    torch.manual_seed(0)
    network = build(c.ModelConfig("gpt2", vocab, context, stack, c.LMHead(True, cap=5.0 if cap else None)))
    assert isinstance(network, Decoder)
    for p in network.parameters():
        if p.dim() > 1:
            torch.nn.init.normal_(p, std=0.05)
    return network


def letters(path: Path, pairs: int, *, turned: bool, longest: int = 6, seed: int = 0) -> Path:
    """A TSV of random letters beside the same letters, copied or reversed."""
    draw = random.Random(seed)
    lines = []
    for _ in range(pairs):
        words = [draw.choice("abcdefgh") for _ in range(draw.randint(2, longest))]
        lines.append(" ".join(words) + "\t" + " ".join(words[::-1] if turned else words) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def translator(name: str, vocab: int, dropout: float = 0.0, width: int = 16) -> Seq2Seq:
    """A preset's encoder–decoder, narrow."""
    network = build(preset(name, vocab, width=width, dropout=dropout, context=64))
    assert isinstance(network, Seq2Seq)
    initialise(network)
    return network

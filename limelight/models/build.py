"""From a config to modules: the only place where one becomes the other."""

import torch
from torch import nn

from limelight.models import config as c
from limelight.models.api import Decoder
from limelight.nn.attention import Attention
from limelight.nn.block import ParallelBlock, PreNormBlock
from limelight.nn.feedforward import ACTIVATIONS, FeedForward, GatedFeedForward
from limelight.nn.norm import RMSNorm, ShiftedRMSNorm
from limelight.nn.positions import LearnedPositions, NoPositions, NoRotary, Rotary
from limelight.nn.stack import Block, Stack


def build(config: c.ModelConfig, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Decoder:
    """The modules that `config` describes, with torch's initial weights.

    device "meta" makes the shapes alone; weights are assigned afterwards.
    """
    with torch.device(device):
        model = _decoder(config)
    return model if dtype is None else model.to(dtype)


def _decoder(config: c.ModelConfig) -> Decoder:
    stack = config.decoder
    embed = nn.Embedding(config.vocab, stack.width)
    head = nn.Linear(stack.width, config.vocab, bias=config.head.bias)
    if config.head.tied:
        head.weight = embed.weight
    return Decoder(config, embed, _stack(stack), head)


def _stack(stack: c.TransformerStack) -> Stack:
    rotaries: dict[c.Rotary, Rotary] = {}  # layers with equal rotary embeddings share one, and so its cosines
    positions = NoPositions() if stack.positions is None else LearnedPositions(stack.positions.context, stack.width)
    return Stack(
        positions, [_block(block, stack.width, rotaries) for block in stack.blocks], _norm(stack.norm, stack.width)
    )


def _block(block: c.Block, width: int, rotaries: dict[c.Rotary, Rotary]) -> Block:
    attention = _attention(block.attention, width, rotaries)
    feedforward = _feedforward(block.feedforward, width)
    if block.order == "parallel":
        return ParallelBlock(
            attention,
            feedforward,
            attention_norm=_norm(block.norm, width),
            feedforward_norm=_norm(block.norm, width),
        )
    after = block.norm if block.order == "sandwich" else None
    return PreNormBlock(
        attention,
        feedforward,
        attention_norm=_norm(block.norm, width),
        feedforward_norm=_norm(block.norm, width),
        attention_after=_norm(after, width),
        feedforward_after=_norm(after, width),
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
        head_width=a.head_width,
        rotary=NoRotary() if rotary is None else rotaries[rotary],
        q_norm=_norm(a.norm, a.head_width),
        k_norm=_norm(a.norm, a.head_width),
        scale=a.scale,
        cap=a.cap,
        window=a.window,
    )


def _feedforward(part: c.FeedForward | c.GatedFeedForward, width: int) -> nn.Module:
    activation = ACTIVATIONS[part.activation]
    up = nn.Linear(width, part.hidden, bias=part.bias)
    down = nn.Linear(part.hidden, width, bias=part.bias)
    if isinstance(part, c.GatedFeedForward):
        return GatedFeedForward(nn.Linear(width, part.hidden, bias=part.bias), up, down, activation)
    return FeedForward(up, down, activation)


def _norm(norm: c.Norm | None, width: int) -> nn.Module:
    match norm:
        case None:
            return nn.Identity()
        case c.RMSNorm(eps):
            return RMSNorm(width, eps)
        case c.ShiftedRMSNorm(eps):
            return ShiftedRMSNorm(width, eps)
        case c.LayerNorm(eps):
            return nn.LayerNorm(width, eps)

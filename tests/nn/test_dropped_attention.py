"""Attention's own dropout, and copies of attention layers."""

import copy

import torch
from torch import nn

from limelight.nn.attention import AdditiveWeights, Attention, attention_weights
from limelight.nn.mask import CAUSAL
from limelight.nn.positions import NoRotary, Positions
from limelight.nn.scores import Scores

NOWHERE = Positions(torch.arange(5), 5)


def attention(weigh: object = attention_weights, dropout: float = 0.0) -> Attention:
    def same() -> nn.Module:
        return nn.Identity()

    return Attention(
        same(), same(), same(), same(), kv_heads=2, head_width=4, rotary=NoRotary(), q_norm=same(), k_norm=same(),
        scale=0.5, weigh=weigh, dropout=dropout,
    )  # fmt: skip


def test_weights_are_dropped_in_training_only() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 8)
    layer = attention(dropout=0.5)
    plain = attention()(x, NOWHERE, CAUSAL, None, 0)
    torch.testing.assert_close(layer.eval()(x, NOWHERE, CAUSAL, None, 0), plain)
    layer.train()
    runs = torch.stack([layer(x, NOWHERE, CAUSAL, None, 0) for _ in range(4000)])
    assert not torch.allclose(runs[0], runs[1])
    torch.testing.assert_close(runs.mean(0), plain, atol=0.1, rtol=0)


@torch.no_grad()
def test_additive_weights_are_the_papers() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 3, 6), torch.randn(2, 1, 5, 6)
    weigh = AdditiveWeights(6)
    score = weigh.score.weight[0]
    scores = torch.tensor(
        [[[float(score @ (ask + offer).tanh()) for offer in k[b, 0]] for ask in q[b, 0]] for b in range(2)]
    )
    allowed = torch.arange(5) <= torch.arange(3)[:, None] + 2
    expected = scores.masked_fill(~allowed, float("-inf")).softmax(-1)
    torch.testing.assert_close(weigh(q, k, Scores(CAUSAL, 1.0))[:, 0], expected)


def test_a_copy_shares_no_weights_with_the_original() -> None:
    layer = attention(AdditiveWeights(4))
    x = torch.randn(3, 5, 8)
    before = layer(x, NOWHERE, CAUSAL, None, 0)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weigh.score.weight.mul_(-3)
    torch.testing.assert_close(layer(x, NOWHERE, CAUSAL, None, 0), before, rtol=0, atol=0)
    assert not torch.allclose(twin(x, NOWHERE, CAUSAL, None, 0), before)

"""Cores agree on every kind of score, and biases equal the reference's."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import T5Config
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention

from limelight.nn.attention import attention_weights, explicit, fused, mix
from limelight.nn.bias import LinearBias, RelativeBias
from limelight.nn.mask import CAUSAL, OPEN, CausalMasks, FullMasks, Mask
from limelight.nn.positions import Positions
from limelight.nn.scores import Scores

B, H, K, T, D = 2, 4, 2, 5, 8
PADDED = Mask(allowed=(torch.arange(T) < torch.tensor([T, 3])[:, None])[:, None, None])


def heads() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(B, H, T, D), torch.randn(B, K, T, D), torch.randn(B, K, T, D)


@pytest.mark.parametrize("mask", [OPEN, CAUSAL, PADDED], ids=["open", "causal", "padded"])
@pytest.mark.parametrize("rows", [1, B])
def test_the_fused_core_adds_a_bias_as_the_explicit_one_does(mask: Mask, rows: int) -> None:
    q, k, v = heads()
    scores = Scores(mask, 0.3, bias=torch.randn(rows, H, T, T))
    assert torch.allclose(fused(q, k, v, scores), explicit(q, k, v, scores), atol=1e-5)
    assert not torch.allclose(fused(q, k, v, scores), fused(q, k, v, Scores(mask, 0.3)), atol=1e-2)


def test_one_query_with_a_bias() -> None:
    q, k, v = heads()
    scores = Scores(OPEN, 0.3, bias=torch.randn(1, H, 1, T))
    assert torch.allclose(fused(q[:, :, :1], k, v, scores), explicit(q[:, :, :1], k, v, scores), atol=1e-5)


def test_sinks_take_their_share_and_give_nothing() -> None:
    q, k, _ = heads()
    sinks = torch.tensor([0.0, 1.0, -2.0, 30.0])
    plain = Scores(CAUSAL, 0.3)
    weights, without = attention_weights(q, k, Scores(CAUSAL, 0.3, sinks=sinks)), attention_weights(q, k, plain)
    raw = (q.view(B, K, H // K, T, D) @ k[:, :, None].mT).view(B, H, T, T) * 0.3
    summed = raw.masked_fill(~torch.ones(T, T).tril().bool(), float("-inf")).exp().sum(-1)
    share = summed / (summed + sinks.exp()[:, None])
    assert torch.allclose(weights, without * share[..., None], atol=1e-6)
    assert weights[:, 3].max() < 1e-6 < weights[:, 2].max()


@pytest.mark.parametrize("causal", [True, False])
def test_rows_of_scores_are_rows_of_weights(causal: bool) -> None:
    q, k, _ = heads()
    masks = CausalMasks(torch.zeros(B, dtype=torch.int64), T, None, q.device)
    mask = masks.for_window(2) if causal else PADDED
    scores = Scores(mask, 0.3, 2.0, torch.randn(1, H, T, T), torch.randn(H))
    whole = attention_weights(q, k, scores)
    keys = 4 if causal else T
    part = attention_weights(q[:, :, 2:4], k[:, :, :keys], scores.rows(2, 4, keys))
    assert torch.allclose(part, whole[:, :, 2:4, :keys], atol=1e-6)


def test_gradients_reach_bias_and_sinks() -> None:
    q, k, v = heads()
    bias, sinks = torch.randn(1, H, T, T, requires_grad=True), torch.randn(H, requires_grad=True)
    mix(attention_weights(q, k, Scores(CAUSAL, 0.3, None, bias, sinks)), v).square().sum().backward()
    assert bias.grad is not None
    assert sinks.grad is not None
    assert (sinks.grad != 0).all()


@pytest.mark.parametrize("both_ways", [True, False])
def test_relative_bias_is_t5s(both_ways: bool) -> None:
    config = T5Config(
        d_model=16, d_kv=4, num_heads=4, relative_attention_num_buckets=12, relative_attention_max_distance=20
    )
    config.is_decoder = not both_ways
    theirs = T5Attention(config, has_relative_attention_bias=True)
    torch.nn.init.normal_(theirs.relative_attention_bias.weight)
    ours = RelativeBias(4, 12, 20, both_ways=both_ways)
    ours.load_state_dict({"weight": theirs.relative_attention_bias.weight})
    index = torch.arange(50)
    assert torch.equal(ours(Positions(index, 50)), theirs.compute_bias(50, 50))
    ragged = torch.tensor([[7, 8], [30, 31]])
    step = ours(Positions(ragged, 32))
    assert step.shape == (2, 4, 2, 32)
    for row in range(2):
        assert torch.equal(step[row], theirs.compute_bias(50, 50)[0, :, ragged[row], :32])


@pytest.mark.parametrize("heads", [4, 8, 6, 12])
def test_linear_bias_is_blooms_but_for_a_constant_of_each_row(heads: int) -> None:
    theirs = build_alibi_tensor(torch.ones(1, 9), heads, torch.float32).view(heads, 1, 9)
    ours = LinearBias(heads)(Positions(torch.arange(9), 9))[0]
    causal = torch.ones(9, 9).tril().bool()
    shift = (ours - theirs).masked_fill(~causal, 0)
    expected = shift[..., :1].expand_as(shift).masked_fill(~causal, 0)
    assert torch.allclose(shift, expected, atol=1e-5)


def test_a_bias_is_made_once_for_a_step() -> None:
    module = RelativeBias(2, 8, 16, both_ways=True)
    positions = Positions(torch.arange(4), 4)
    assert positions.bias(module) is positions.bias(module)


def test_masks_select_rows() -> None:
    masks = FullMasks(torch.tensor([4, 2]), 4, None, torch.device("cpu"))
    picked = masks.mask.select(torch.tensor([1, 1, 0]))
    assert picked.allowed is not None
    assert picked.allowed.flatten(1).sum(-1).tolist() == [2, 2, 4]
    assert picked.lengths is not None
    assert picked.lengths.tolist() == [2, 2, 4]


@pytest.mark.parametrize("starts", [(2, 200), (200, 200), (199, 0)], ids=str)
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("biased", [0, 1, B])
def test_rows_that_are_read_one_by_one_give_what_they_give_together(
    starts: tuple[int, int], window: int | None, biased: int
) -> None:
    torch.manual_seed(1)
    mask = CausalMasks(torch.tensor(starts), 1, None, torch.device("cpu")).for_window(window)
    keys = max(starts) + 1
    assert (mask.spans is None) == (window is None and min(starts) > 100), "where there is little to spare all are read"
    q, k, v = torch.randn(B, H, 1, D), torch.randn(B, K, keys, D), torch.randn(B, K, keys, D)
    bias = torch.randn(biased, H, 1, keys) if biased else None
    whole = replace(mask, spans=None)
    expected = explicit(q, k, v, Scores(whole, 0.3, None, bias))
    assert torch.allclose(fused(q, k, v, Scores(mask, 0.3, None, bias)), expected, atol=1e-5)
    capped = Scores(whole, 0.3, 2.0, bias, torch.randn(H))
    found = explicit(q, k, v, replace(capped, mask=mask))
    assert torch.allclose(found, explicit(q, k, v, capped), atol=1e-5)
    if mask.spans is not None:  # what a row does not see is not read
        hidden = ~whole.tensor(1, keys, q.device).expand(B, K, 1, keys).transpose(-1, -2)
        k, v = k.masked_fill(hidden, torch.nan), v.masked_fill(hidden, torch.nan)
        assert torch.equal(found, explicit(q, k, v, replace(capped, mask=mask)))

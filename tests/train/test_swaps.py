"""What training puts in place of a network's parts, against the parts."""

from functools import partial

import pytest
import torch
from small_models import gpt
from torch import Tensor, nn

from limelight.models.build import build
from limelight.models.init import initialise
from limelight.models.presets import PRESETS, preset
from limelight.nn.attention import Attention, attention_weights, fused, mix
from limelight.nn.mask import CAUSAL, OPEN, Mask
from limelight.nn.norm import RMSNorm
from limelight.nn.scores import Scores
from limelight.train.swaps import Dropout, QuickRMSNorm, swap, written


def gradients(out: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    torch.manual_seed(3)
    return torch.autograd.grad((out.float() * torch.randn(out.shape)).sum(), inputs)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(0,), (7,), (300, 1001)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout(rate: float, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    dropout, x = Dropout(rate), torch.ones(shape, dtype=dtype, requires_grad=True)
    out = dropout(x)
    kept = out != 0
    assert out.dtype == dtype
    if out.numel() > 1000:
        assert float(kept.float().mean()) == pytest.approx(1 - rate, abs=0.004)
        assert float(out.detach().float().mean()) == pytest.approx(1.0, abs=0.01)  # what is kept makes up for the rest
        neighbours = (kept[:, 1:] & kept[:, :-1]).float().mean()
        assert float(neighbours) == pytest.approx((1 - rate) ** 2, abs=0.006)
    assert torch.equal(gradients(out, x)[0] != 0, kept)
    torch.manual_seed(0)
    assert torch.equal(dropout(x), out)
    assert dropout.eval()(x) is x


@pytest.mark.parametrize("turned", [False, True])  # as cells leave their gradients
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rms_norm(dtype: torch.dtype, turned: bool) -> None:
    torch.manual_seed(0)
    plain = RMSNorm(24, 1e-3)
    plain.weight.data.normal_()
    quick, x = QuickRMSNorm(plain.to(dtype)), torch.randn(2, 5, 24, dtype=dtype)
    x = (x.transpose(0, 1) if turned else x).requires_grad_()
    close = {"atol": 0.1, "rtol": 0.02} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    assert torch.allclose(quick(x), plain(x), **close)
    for ours, theirs in zip(gradients(quick(x), x, plain.weight), gradients(plain(x), x, plain.weight), strict=True):
        assert torch.allclose(ours, theirs, **close)


PADDED = Mask(allowed=(torch.arange(6) < torch.tensor([6, 1, 4])[:, None])[:, None, None])


@pytest.mark.parametrize("mask", [OPEN, CAUSAL, PADDED], ids=["open", "causal", "padded"])
@pytest.mark.parametrize("bias", [None, torch.randn(1, 2, 6, 6)], ids=["plain", "bias"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention(mask: Mask, bias: torch.Tensor | None, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    scores = Scores(mask, 0.3, bias=None if bias is None else bias.to(dtype))
    q, k, v = (torch.randn(3, 2, 6, 8, dtype=dtype, requires_grad=True) for _ in range(3))
    out, exact = written(q, k, v, scores), mix(attention_weights(q, k, scores), v)
    close = {"atol": 0.05} if dtype == torch.bfloat16 else {"atol": 1e-5}
    assert torch.allclose(out, exact, **close)
    for ours, theirs in zip(gradients(out, q, k, v), gradients(exact, q, k, v), strict=True):
        assert torch.allclose(ours, theirs, **close)


def test_attention_that_is_left_to_torch() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, 6, 8, requires_grad=True), torch.randn(1, 2, 6, 8), torch.randn(1, 2, 6, 8)
    scores = Scores(CAUSAL, 0.3)
    assert torch.equal(written(q, k, v, scores), fused(q, k, v, scores))
    with torch.no_grad():
        assert torch.equal(written(q, k, v, scores), fused(q, k, v, scores))


@pytest.mark.parametrize("name", sorted(name for name in PRESETS if name.endswith("-tiny") or "-" not in name))
def test_a_swapped_network_has_the_same_weights_and_answers(name: str) -> None:
    network = build(preset(name, 20, width=PRESETS[name].step * 2, context=16, dropout=0.2))
    initialise(network, torch.Generator().manual_seed(0))
    tokens = torch.randint(0, 20, (2, 5))
    inputs = (tokens, None, tokens) if PRESETS[name].translates else (tokens,)
    before, weights = network.eval()(*inputs), network.state_dict()
    swap(network)
    assert not [name for name, each in network.named_modules() if type(each) in {nn.Dropout, RMSNorm}]
    assert {name: p.data_ptr() for name, p in network.state_dict().items()} == {
        name: p.data_ptr() for name, p in weights.items()
    }
    assert torch.allclose(network(*inputs), before, atol=1e-5)
    assert not torch.allclose(network.train()(*inputs), before, atol=1e-3)


def test_only_the_fused_core_gives_way() -> None:
    network = gpt(20)
    first, second = (each for each in network.modules() if isinstance(each, Attention))
    second.core = kept = partial(fused)
    swap(network)
    assert first.core is written
    assert second.core is kept

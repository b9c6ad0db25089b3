"""The loss against torch's own, in value and in gradients, and how little it holds."""

import pytest
import torch
import torch.nn.functional as F
from small_models import gpt

from limelight.train import loss as module
from limelight.train.batches import IGNORE, Batch
from limelight.train.lora import add_lora
from limelight.train.loss import Objective


def batch(vocab: int, rows: int = 5, length: int = 9) -> Batch:
    torch.manual_seed(1)
    tokens = torch.randint(0, vocab, (rows, length))
    targets = torch.randint(0, vocab, (rows, length))
    targets[1, 3:] = IGNORE
    targets[3] = IGNORE
    return Batch(tokens, targets)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("cap", [False, True])
@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_equals_torch(monkeypatch: pytest.MonkeyPatch, smoothing: float, cap: bool, chunk: int) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    network, data = gpt(50, cap=cap).double(), batch(50)
    weights = list(network.parameters())
    logits = network.logits(network.read(data.tokens)).double().flatten(0, 1)
    options = {"ignore_index": IGNORE, "reduction": "sum"}
    expected = F.cross_entropy(logits, data.targets.flatten(), label_smoothing=smoothing, **options)
    plain = F.cross_entropy(logits, data.targets.flatten(), **options)
    reference = torch.autograd.grad(expected / 7, weights)
    sums = Objective(network, smoothing)(data)
    assert torch.allclose(sums.double(), torch.stack([expected, plain]), rtol=1e-6)
    for ours, theirs in zip(torch.autograd.grad(sums[0] / 7, weights), reference, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6, rtol=1e-5)


def test_nothing_to_predict_gives_nothing() -> None:
    network, data = gpt(50), batch(50)
    sums = Objective(network, 0.1)(Batch(data.tokens, torch.full_like(data.targets, IGNORE)))
    sums[0].backward()
    assert sums.tolist() == [0.0, 0.0]
    assert all(p.grad is not None and not p.grad.any() for p in network.parameters())


def test_frozen_heads_and_no_gradients() -> None:
    network, data = gpt(50), batch(50)
    with torch.no_grad():
        still = Objective(network, 0.0)(data)
    assert not still.requires_grad
    add_lora(network, 2)
    moving = Objective(network, 0.0)(data)
    moving[0].backward()
    assert torch.equal(moving.detach(), still)
    assert {name for name, p in network.named_parameters() if p.grad is not None} == {
        name for name, _ in network.named_parameters() if name.endswith((".up", ".down"))
    }


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ahead", [3.0, 8.0, 13.0])
def test_sums_over_bfloat16_scores_are_exact(ahead: float, smoothing: float) -> None:
    torch.manual_seed(0)
    scores = torch.randn(7, 5000).bfloat16()
    targets = torch.arange(7)[:, None]
    scores.scatter_(1, targets, scores.amax(1, keepdim=True) + ahead)
    wide = scores.double().requires_grad_()
    expected = F.cross_entropy(wide, targets[:, 0], label_smoothing=smoothing, reduction="sum")
    (grad,) = torch.autograd.grad(expected, wide)
    plain = F.cross_entropy(wide, targets[:, 0], reduction="sum").detach()
    for slope in (False, True):
        found = module._smoothed(scores, targets, smoothing, slope)
        torch.testing.assert_close(found[0], expected.detach(), rtol=1e-4, atol=5e-5)
        torch.testing.assert_close(found[1], plain, rtol=1e-4, atol=5e-5)
    assert found[2].dtype is torch.bfloat16
    torch.testing.assert_close(found[2].double(), grad, rtol=1e-2, atol=1e-7)
    assert float(found[2].gather(1, targets).abs().min()) > 0


def test_bfloat16_is_close() -> None:
    network, data = gpt(50), batch(50)
    exact = Objective(network, 0.1)(data)
    exact[0].backward()
    grads = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        near = Objective(network, 0.1)(data)
    near[0].backward()
    assert torch.allclose(near, exact, rtol=1e-3)
    largest = max(float(grad.abs().max()) for grad in grads)
    for p, grad in zip(network.parameters(), grads, strict=True):
        assert p.grad is not None
        assert torch.allclose(p.grad, grad, atol=0.02 * largest)

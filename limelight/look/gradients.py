"""Importance by gradients with respect to the embeddings: quick to compute, and for comparison."""

import torch
from torch import Tensor

from limelight.look.inquiry import Inquiry
from limelight.look.session import BATCH, Progress, stacked

STEPS = 20
"""Points on the way from the baseline to the text."""


def gradient_input(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """The gradient of the log-odds with respect to a word's embeddings, times the embeddings."""
    embedded = stacked(inquiry.session).embedded(inquiry.question)
    return _by_span(inquiry, _gradients(inquiry, embedded[None])[0] * embedded)


def integrated_gradients(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """Gradients averaged on the way from a text of nothing but the first token, times what each word adds to it.

    Before the steps are too coarse, the values of all tokens sum to what the log-odds gain on that way.
    """
    embedded = stacked(inquiry.session).embedded(inquiry.question)  # [T, E]
    baseline = embedded[:1].expand_as(embedded)
    middles = (torch.arange(STEPS, device=embedded.device, dtype=embedded.dtype) + 0.5) / STEPS
    path = baseline + middles[:, None, None] * (embedded - baseline)  # [steps, T, E]
    total = torch.zeros_like(embedded)
    for points in torch.split(path, max(1, BATCH // len(embedded))):
        total += _gradients(inquiry, points).sum(0)
    return _by_span(inquiry, total / STEPS * (embedded - baseline))


def _gradients(inquiry: Inquiry, embedded: Tensor) -> Tensor:
    """Gradients [B, T, E] of the question's value at embeddings [B, T, E]."""
    with torch.inference_mode(False), torch.enable_grad():
        embedded = embedded.clone().requires_grad_()
        values = stacked(inquiry.session).value_from(inquiry.question, embedded)
        (found,) = torch.autograd.grad(values.sum(), embedded)
    return found


def _by_span(inquiry: Inquiry, tokens: Tensor) -> list[float]:
    """Sums [T, E] over features and over each span's tokens."""
    return inquiry.by_span(tokens.float().sum(-1))

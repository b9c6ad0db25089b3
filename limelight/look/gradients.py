"""Importance by gradients with respect to the embeddings: quick to compute, and for comparison."""

import torch
from torch import Tensor

from limelight.look.target import Question
from limelight.look.text import Reading
from limelight.look.variants import BATCH, Progress
from limelight.models.api import Decoder

STEPS = 20
"""Points on the way from the baseline to the text."""


def gradient_input(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """The gradient of the log-odds with respect to a word's embeddings, times the embeddings."""
    embedded = _embedded(network, reading, question)
    return _by_word(reading, target, _gradients(network, question, embedded[None])[0] * embedded)


def integrated_gradients(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """Gradients averaged on the way from a text of nothing but the first token, times what each word adds to it.

    Before the steps are too coarse, the values of all tokens sum to what the log-odds gain on that way.
    """
    embedded = _embedded(network, reading, question)  # [T, W]
    baseline = embedded[:1].expand_as(embedded)
    middles = (torch.arange(STEPS, device=embedded.device, dtype=embedded.dtype) + 0.5) / STEPS
    path = baseline + middles[:, None, None] * (embedded - baseline)  # [steps, T, W]
    total = torch.zeros_like(embedded)
    for points in torch.split(path, max(1, BATCH // len(embedded))):
        total += _gradients(network, question, points).sum(0)
    return _by_word(reading, target, total / STEPS * (embedded - baseline))


def _embedded(network: Decoder, reading: Reading, question: Question) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        tokens = torch.tensor(reading.tokens[: question.at[-1] + 1], device=network.device)
        embedded: Tensor = network.embed(tokens)
    return embedded


def _gradients(network: Decoder, question: Question, embedded: Tensor) -> Tensor:
    """Gradients [B, T, W] of the log-odds at embeddings [B, T, W]."""
    with torch.inference_mode(False), torch.enable_grad():
        embedded = embedded.clone().requires_grad_()
        hidden = network.decoder.decode(embedded, network.start(len(embedded), 0), None, None)
        odds = question.odds(network.logits(hidden[:, list(question.at)]))
        (found,) = torch.autograd.grad(odds.sum(), embedded)
    return found


def _by_word(reading: Reading, target: int, tokens: Tensor) -> list[float]:
    """Sums [T, W] over features and over each word's tokens."""
    values = tokens.float().sum(-1)
    return [float(values[word.tokens.start : word.tokens.stop].sum()) for word in reading.words[:target]]

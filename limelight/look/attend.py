"""What the asking position attends to, in three readings; where the model looks is not what changes its answer."""

from collections.abc import Callable

import torch
from torch import Tensor

from limelight.look.record import record, twin
from limelight.look.target import Question
from limelight.look.text import Reading
from limelight.look.variants import Progress
from limelight.models.api import Decoder
from limelight.nn.attention import Attention, Core, mix
from limelight.nn.scores import Scores


def attention(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """The asking position's attention, averaged over all heads and layers."""
    rows: list[Tensor] = []
    _run(network, reading, question, lambda weights: rows.append(weights[0, :, -1].mean(0)))
    return _by_word(reading, target, torch.stack(rows).mean(0))


def rollout(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """Attention followed through the layers down to the words, the residual stream counted as half of each."""
    reached: list[Tensor] = []  # the product so far, [T, T]

    def follow(weights: Tensor) -> None:
        mean = weights[0].mean(0)
        step = (mean + torch.eye(len(mean), device=mean.device)) / 2
        reached[:] = [step @ reached[0] if reached else step]

    _run(network, reading, question, follow)
    return _by_word(reading, target, reached[0][-1])


def value_weighted(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """The length of what the asking position receives from each word, averaged over the layers."""
    watched = twin(network)
    rows: list[Tensor] = []
    for block in watched.decoder.blocks:
        part = block.attention
        assert isinstance(part, Attention)
        part.core = _measuring_core(part, rows)
    _read(watched, reading, question)
    return _by_word(reading, target, torch.stack(rows).mean(0))


def _measuring_core(attention: Attention, rows: list[Tensor]) -> Core:
    def core(q: Tensor, k: Tensor, v: Tensor, scores: Scores) -> Tensor:
        weights = attention.weigh(q, k, scores)
        heads = v[0].repeat_interleave(q.shape[1] // v.shape[1], 0)  # [H, T, D]
        parts = (weights[0, :, -1, :, None].to(v.dtype) * heads).transpose(0, 1).flatten(1)  # [T, H·D]
        received = attention.out(parts) - attention.out(torch.zeros_like(parts[:1]))
        rows.append(received.float().norm(dim=-1))
        return mix(weights, v)

    return core


def _run(network: Decoder, reading: Reading, question: Question, keep: Callable[[Tensor], None]) -> None:
    """Reads the text up to where it asks, handing each layer's weights [1, H, T, T] to `keep`, first layer first."""
    recording = record(network, attention=range(len(network.decoder.blocks)), keep=keep)
    _read(recording.network, reading, question)


def _read(network: Decoder, reading: Reading, question: Question) -> None:
    with torch.inference_mode():
        network.read(torch.tensor([reading.tokens[: question.at[0] + 1]], device=network.device))


def _by_word(reading: Reading, target: int, tokens: Tensor) -> list[float]:
    """Sums [T] over each word's tokens."""
    return [float(tokens[word.tokens.start : word.tokens.stop].sum()) for word in reading.words[:target]]

"""What the asking position attends to, in three readings; where the model looks is not what changes its answer."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from limelight.look.inquiry import Inquiry
from limelight.look.record import block_of, record, twin
from limelight.look.session import Progress, stacked
from limelight.nn.attention import Attention, Core, mix
from limelight.nn.scores import Scores


def attention(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """The asking position's attention, averaged over all heads and layers."""
    rows: list[Tensor] = []
    asks = stacked(inquiry.session).askers(inquiry.question)
    _run(inquiry, lambda weights: rows.append(weights[0][:, asks].mean((0, 1))))
    return inquiry.by_span(torch.stack(rows).mean(0))


def rollout(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """Attention followed through the layers down to the words, the residual stream counted as half of each."""
    reached: list[Tensor] = []  # the product so far, [T, T]

    def follow(weights: Tensor) -> None:
        mean = weights[0].mean(0)
        step = (mean + torch.eye(len(mean), device=mean.device)) / 2
        reached[:] = [step @ reached[0] if reached else step]

    _run(inquiry, follow)
    return inquiry.by_span(reached[0][stacked(inquiry.session).askers(inquiry.question)].mean(0))


def value_weighted(inquiry: Inquiry, progress: Progress | None) -> list[float]:
    """The length of what the asking position receives from each word, averaged over the layers."""
    session = stacked(inquiry.session)
    watched = twin(session.network)
    rows: list[Tensor] = []
    for layer in range(len(session.stack.blocks)):
        part = block_of(watched, layer).attention
        part.core = _measuring_core(part, session.askers(inquiry.question), rows)
    _read(inquiry, watched)
    return inquiry.by_span(torch.stack(rows).mean(0))


def _measuring_core(attention: Attention, asks: Sequence[int], rows: list[Tensor]) -> Core:
    def core(q: Tensor, k: Tensor, v: Tensor, scores: Scores) -> Tensor:
        weights = attention.weigh(q, k, scores)
        heads = v[0].repeat_interleave(q.shape[1] // v.shape[1], 0)  # [H, T, D]
        lengths = []
        for row in asks:
            parts = (weights[0, :, row, :, None].to(v.dtype) * heads).transpose(0, 1).flatten(1)  # [T, H·D]
            received = attention.out(parts) - attention.out(torch.zeros_like(parts[:1]))
            lengths.append(received.float().norm(dim=-1))
        rows.append(torch.stack(lengths).mean(0))
        return mix(weights, v)

    return core


def _run(inquiry: Inquiry, keep: Callable[[Tensor], None]) -> None:
    """Reads the text as far as is asked for, handing each layer's weights [1, H, T, T] to `keep`, first layer first."""
    session = stacked(inquiry.session)
    recording = record(session.network, attention=range(len(session.stack.blocks)), keep=keep)
    _read(inquiry, recording.network)


def _read(inquiry: Inquiry, network: Any) -> None:
    with torch.inference_mode():
        stacked(inquiry.session).read(network, inquiry.question)

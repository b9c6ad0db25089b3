"""Label-smoothed cross entropy that never holds the logits of a whole batch.

The scores over the vocabulary are most of the memory, and on a CPU most of the time, of training a small model: for
4,096 tokens and 10,000 words they take 160 MB, and each pass over them costs as much as a layer. Here only the places
that have a target reach the head, CHUNK of them at a time, so that a chunk's scores stay in the cache, and its
gradients are made in place at once.
"""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from limelight.models.api import Decoder, Network
from limelight.train.batches import IGNORE, Batch

CHUNK = 256  # rows of scores at a time; on two cores with 10,000 words, best of 128 to 1024


@final
class Objective(nn.Module):
    """A network with the loss that it learns from; the module that DDP and FSDP wrap.

    smoothing: the share of a target's probability that is spread over the whole vocabulary (Szegedy et al., 2016).
    """

    def __init__(self, network: Network, smoothing: float, *, compile: bool = False) -> None:
        super().__init__()
        self.network = network
        self.smoothing = smoothing
        self.hidden: Callable[[Batch], Tensor] = torch.compile(self._hidden, dynamic=True) if compile else self._hidden

    def forward(self, batch: Batch) -> Tensor:
        """Sums over the batch's targets: [2], the smoothed loss, which has a gradient, and the plain loss."""
        targets = batch.targets.flatten()
        wanted = (targets != IGNORE).nonzero()[:, 0]
        rows = self.hidden(batch).flatten(0, 1).index_select(0, wanted)  # [N, W]
        weights = [p for p in self.network.head.parameters() if p.requires_grad] if torch.is_grad_enabled() else []
        sums: Tensor = _Loss.apply(self.network.logits, targets[wanted], self.smoothing, rows, *weights)  # type: ignore[no-untyped-call]
        return sums

    def _hidden(self, batch: Batch) -> Tensor:
        """The states [B, T, W] that the head reads."""
        network = self.network
        if isinstance(network, Decoder):
            return network.read(batch.tokens)
        assert batch.source is not None
        return network.read(batch.tokens, network.start(network.encode(batch.source, batch.lengths), 0))


class _Loss(torch.autograd.Function):
    """The gradients are made with the loss, chunk by chunk, and only scaled when they are asked for."""

    @staticmethod
    def forward(
        ctx: Any, logits: Callable[[Tensor], Tensor], targets: Tensor, smoothing: float, rows: Tensor, *weights: Tensor
    ) -> Tensor:
        learns = any(ctx.needs_input_grad)
        sums = torch.zeros(2, dtype=_wide(rows.device), device=rows.device)
        grads = [torch.zeros_like(part) for part in (rows, *weights)] if learns else []
        for at in range(0, len(rows), CHUNK):
            part = rows[at : at + CHUNK].detach().requires_grad_(learns)
            with torch.set_grad_enabled(learns):
                scores = logits(part)  # [C, V]
            slope, loss, plain = _smoothed(scores.detach(), targets[at : at + CHUNK, None], smoothing, learns)
            sums += torch.stack((loss, plain))
            if learns:
                first, *rest = torch.autograd.grad(scores, (part, *weights), slope)
                grads[0][at : at + CHUNK] = first
                for total, grad in zip(grads[1:], rest, strict=True):
                    total += grad
        ctx.grads = grads
        return sums.float()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        grads: Sequence[Tensor] = ctx.grads
        ctx.grads = None
        return None, None, None, *(grad.mul_(slopes[0][0].to(grad.dtype)) for grad in grads)


def _smoothed(scores: Tensor, targets: Tensor, smoothing: float, slope: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of scores [C, V] and targets [C, 1], its plain part, and its gradient; in the scores' place."""
    V = scores.shape[-1]
    right = scores.gather(1, targets)
    mean = scores.mean(-1, keepdim=True) if smoothing else right
    highest = scores.amax(-1, keepdim=True)
    scores.sub_(highest).exp_()
    shares = scores.sum(-1, keepdim=True)
    total = highest + shares.log()  # log of the sum of exponentials
    plain = (total - right).sum(dtype=_wide(scores.device))
    loss = (1 - smoothing) * plain + smoothing * (total - mean).sum(dtype=_wide(scores.device))
    if slope:
        scores.mul_(1 / shares)
        if smoothing:
            scores.sub_(smoothing / V)
        scores.scatter_add_(1, targets, scores.new_full((1, 1), smoothing - 1).expand_as(targets))
    return scores, loss, plain


def _wide(device: torch.device) -> torch.dtype:
    """The type that sums are kept in; Apple's devices have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64

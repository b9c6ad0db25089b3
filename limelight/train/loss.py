"""What is learned from: label-smoothed cross entropy that never holds the logits of a whole batch.

The scores over the vocabulary are most of the memory, and on a CPU most of the time, of training a small model: for
4,096 tokens and 10,000 words they take 160 MB, and each pass over them costs as much as a layer. Here only the places
that have a target reach the head, CHUNK of them at a time, so that a chunk's scores stay in the cache, and its
gradients are made in place at once.
"""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.models.api import Decoder, Encoder, Network
from limelight.train.batches import IGNORE, Batch
from limelight.train.settings import Settings

CHUNK = 512  # rows of scores at a time; on two cores with 10,000 words, best of 128 to 1024


@final
class Objective(nn.Module):
    """A network that says words with the loss that it learns from; the module that DDP and FSDP wrap.

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
        wanted = batch.asked()
        rows = self.hidden(batch).flatten(0, 1).index_select(0, wanted)  # [N, W]
        network = self.network
        weights = [p for p in network.head.parameters() if p.requires_grad] if torch.is_grad_enabled() else []
        sums: Tensor = _Loss.apply(network.head, targets[wanted], self.smoothing, rows, *weights)  # type: ignore[no-untyped-call]
        return sums

    def _hidden(self, batch: Batch) -> Tensor:
        """The states [B, T, W] that the head reads."""
        network = self.network
        if isinstance(network, Decoder):
            return network.read(batch.tokens)
        if isinstance(network, Encoder):
            return network.read(batch.tokens, batch.lengths, types=batch.types)
        assert batch.source is not None
        return network.read(batch.tokens, network.start(network.encode(batch.source, batch.lengths), 0))


Learning = Callable[[Network, Settings], nn.Module]
"""Makes the module that DDP and FSDP wrap: called with a `Batch` it gives the sums [2] of the loss that is learned from
and of the plain one."""


def predicting(network: Network, settings: Settings) -> nn.Module:
    """What a model that says words learns from: the next token, or those that are masked."""
    return Objective(network, settings.smoothing, compile=settings.compile)


@final
class Answering(nn.Module):
    """What an encoder learns from: the right one of its labels, for a whole text or at each position that has a target;
    or of each label of a text whether it fits, where targets are [B, C].

    smoothing: as in `Objective`.
    """

    def __init__(self, network: Encoder, smoothing: float) -> None:
        super().__init__()
        self.network = network
        self.smoothing = smoothing

    def forward(self, batch: Batch) -> Tensor:
        """Sums over the batch's targets: [2], the smoothed loss and the plain one, which has no gradient."""
        scores = self.network(batch.tokens, batch.lengths, types=batch.types)
        if batch.targets.is_floating_point():
            asked = (batch.targets != IGNORE).float()
            each = F.binary_cross_entropy_with_logits(scores, batch.targets * asked, asked, reduction="sum")
            learned = each / scores.shape[-1]
            return torch.stack((learned, learned.detach()))
        scores, targets = scores.flatten(0, -2), batch.targets.flatten()  # [N, n]
        learned = F.cross_entropy(scores, targets, ignore_index=IGNORE, reduction="sum", label_smoothing=self.smoothing)
        with torch.no_grad():
            plain = F.cross_entropy(scores, targets, ignore_index=IGNORE, reduction="sum")
        return torch.stack((learned, plain))


def answering(network: Network, settings: Settings) -> nn.Module:
    """What an encoder with labels learns from; not compiled."""
    assert isinstance(network, Encoder)
    return Answering(network, settings.smoothing)


@final
class Marking(nn.Module):
    """What an encoder learns from that marks answers: of all tokens of a row the one where the answer begins, and the
    one where it ends (Devlin et al., 2019)."""

    def __init__(self, network: Encoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        """Sums over the rows of a batch, whose targets are [B, 2]: [2], with a gradient and without."""
        scores = self.network(batch.tokens, batch.lengths, types=batch.types)  # [B, T, 2]
        assert batch.lengths is not None
        there = torch.arange(scores.shape[1]) < batch.lengths[:, None]
        scores = scores.masked_fill(~there.to(scores.device)[..., None], float("-inf"))
        loss = F.cross_entropy(scores, batch.targets, ignore_index=IGNORE, reduction="sum") / 2
        return torch.stack((loss, loss.detach()))


def marking(network: Network, settings: Settings) -> nn.Module:
    """What an encoder learns from that marks answers."""
    assert isinstance(network, Encoder)
    return Marking(network)


class _Loss(torch.autograd.Function):
    """The gradients are made with the loss, chunk by chunk, and only scaled when they are asked for."""

    @staticmethod
    def forward(
        ctx: Any, head: Callable[[Tensor], Tensor], targets: Tensor, smoothing: float, rows: Tensor, *weights: Tensor
    ) -> Tensor:
        learns = any(ctx.needs_input_grad)
        sums = torch.zeros(2, dtype=_wide(rows.device), device=rows.device)
        grads = [torch.zeros_like(rows)] if learns else []
        grads += [torch.zeros_like(part, dtype=torch.float32) for part in weights]
        for at in range(0, len(rows), CHUNK):
            part = rows[at : at + CHUNK].detach().requires_grad_(learns)
            with torch.set_grad_enabled(learns):
                scores = head(part)  # [C, V]
            loss, plain, slope = _smoothed(scores.detach(), targets[at : at + CHUNK, None], smoothing, learns)
            sums += torch.stack((loss, plain))
            if learns:
                first, *rest = torch.autograd.grad(scores, (part, *weights), slope)
                grads[0][at : at + CHUNK] = first
                for total, grad in zip(grads[1:], rest, strict=True):
                    total += grad
        ctx.grads = grads
        ctx.types = [part.dtype for part in (rows, *weights)]
        return sums.float()

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        grads: Sequence[Tensor] = ctx.grads
        ctx.grads = None
        scaled = (grad.mul_(slopes[0][0].to(grad.dtype)) for grad in grads)
        return None, None, None, *(grad.to(dtype) for grad, dtype in zip(scaled, ctx.types, strict=True))


def _smoothed(scores: Tensor, targets: Tensor, smoothing: float, slope: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of scores [C, V] and targets [C, 1], its plain part, and its gradient [C, V] in the scores' type.

    All of it is worked out in float32 whatever their type: a bfloat16 share of 0.998 would be 1 and its gradient
    nothing. Without `slope` the third is no gradient.
    """
    wide = _wide(scores.device)
    dtype, scores = scores.dtype, scores if scores.dtype is torch.float64 else scores.float()
    shares = scores.log_softmax(-1)
    plain = -shares.gather(1, targets).sum(dtype=wide)
    loss = plain
    if smoothing:
        # The cross entropy with the uniform part, from the plain one: both share the sum of exponentials.
        right = scores.gather(1, targets).sum(dtype=wide)
        loss = plain + smoothing * (right - scores.mean(-1).sum(dtype=wide))
    if slope:
        shares.exp_()
        if smoothing:
            shares.sub_(smoothing / scores.shape[-1])
        shares.scatter_add_(1, targets, shares.new_full((1, 1), smoothing - 1).expand_as(targets))
    return loss, plain, shares.to(dtype)


def _wide(device: torch.device) -> torch.dtype:
    """The type that sums are kept in; Apple's devices have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64

"""Learning which of two answers is liked better: direct preference optimisation (Rafailov et al., 2023)."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from limelight.models.api import Decoder, Network
from limelight.train.batches import IGNORE, Batch, Chats
from limelight.train.loss import CHUNK
from limelight.train.settings import Settings
from limelight.train.tokenfile import Ints, TokenFile


@final
class Preferred:
    """Pairs of answers: those that are liked in the first half of a batch's rows, the others in the second.

    file: two conversations a pair, each as `Chats` has them. reference: [2 N], the log-probability of each answer by
    the model that learning begins with.
    """

    def __init__(self, file: TokenFile, pad: int, reference: NDArray[np.float32]) -> None:
        self.rows = Chats(file, pad)
        self.reference = torch.from_numpy(reference)

    def __len__(self) -> int:
        return len(self.rows) // 2

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        one, other = (self.rows.lengths(side)[0] for side in (2 * indices, 2 * indices + 1))
        return 2 * np.maximum(one, other), np.ones_like(indices)

    def batch(self, indices: Ints, epoch: int) -> Batch:
        both = np.concatenate((2 * indices, 2 * indices + 1))
        batch = self.rows.batch(both, epoch)
        return Batch(batch.tokens, batch.targets, reference=self.reference[both])


@dataclass(frozen=True)
class Judged:
    """Pairs as a model judges them. margins: [N], how much more the chosen answer gained than the rejected one since
    the reference, in nats. gained: the chosen answers' own gain, summed, over so many `tokens`."""

    margins: Tensor
    gained: float
    tokens: int


@final
class Preferring(nn.Module):
    """A network with the loss −log σ(β · margin) of pairs; the module that DDP and FSDP wrap."""

    def __init__(self, network: Decoder, beta: float) -> None:
        super().__init__()
        self.network = network
        self.beta = beta

    def forward(self, batch: Batch) -> Tensor:
        """Sums over the batch's pairs: [2], the loss, which has a gradient, and the same without."""
        assert batch.reference is not None
        real = (batch.targets != IGNORE).any(1).chunk(2)[0]
        gained = likely(self.network, batch) - batch.reference
        chosen, rejected = gained.chunk(2)
        loss = (-F.logsigmoid(self.beta * (chosen - rejected)) * real).sum()
        return torch.stack((loss, loss.detach()))


def preferring(network: Network, settings: Settings) -> nn.Module:
    """What a model learns from that is to prefer some answers; not compiled."""
    assert isinstance(network, Decoder)
    return Preferring(network, settings.beta)


def likely(network: Decoder, batch: Batch) -> Tensor:
    """The log-probability of each row's targets: [B]. The scores of a row's whole vocabulary are never kept, but
    computed again for their gradient."""
    wanted = batch.asked()
    hidden = network.read(batch.tokens).flatten(0, 1).index_select(0, wanted)  # [N, W]
    targets = batch.targets.flatten()[wanted]

    def said(rows: Tensor, ids: Tensor) -> Tensor:
        return -F.cross_entropy(network.head(rows).float(), ids, reduction="none")

    parts = [
        checkpoint(said, hidden[at : at + CHUNK], targets[at : at + CHUNK], use_reentrant=False)
        for at in range(0, len(wanted), CHUNK)
    ]
    rows = wanted // batch.targets.shape[1]
    total = torch.zeros(len(batch.tokens), device=hidden.device)
    return total.index_add(0, rows, torch.cat(parts)) if parts else total


@torch.no_grad()
def judged(network: Decoder, batch: Batch) -> Judged:
    """What a network thinks of a batch of `Preferred`."""
    assert batch.reference is not None
    chosen, rejected = (likely(network, batch.to(network.device)).cpu() - batch.reference).chunk(2)
    tokens = int((batch.targets.chunk(2)[0] != IGNORE).sum())
    return Judged(chosen - rejected, float(chosen.sum()), tokens)

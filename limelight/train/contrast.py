"""What vectors of texts are learned from: texts that belong together are near each other, others are not."""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.models.api import Encoder, Network
from limelight.nn.heads import Pooling, SequenceClassifier, pool
from limelight.train.batches import IGNORE, Batch
from limelight.train.settings import Settings

ALIKE = 8  # texts that are read together


@final
class Contrasting(nn.Module):
    """What a classifier learns from few texts: of all pairs in a batch the cosine of their vectors, 1 for two texts of
    one label and 0 for two of different ones (Tunstall et al., 2022, "Efficient few-shot learning without prompts").
    Both kinds weigh the same, however many there are. The head does not learn."""

    def __init__(self, network: Encoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        """The mean squared error over the pairs, times the batch's texts: [2], with a gradient and without."""
        found, _ = vectors(self.network, batch)
        with torch.autocast(found.device.type, enabled=False):
            cosines = found @ found.T  # [B, B]
        asked = batch.targets != IGNORE
        pairs = (asked[:, None] & asked).triu(1)
        alike = batch.targets[:, None] == batch.targets
        errors = (cosines - alike.float()).square()
        kinds = [errors[kind] for kind in (pairs & alike, pairs & ~alike)]
        there = [kind.mean() for kind in kinds if len(kind)]
        loss = asked.sum() * (torch.stack(there).mean() if there else cosines.sum() * 0)
        return torch.stack((loss, loss.detach()))


SCALE = 20.0  # of cosines, as sentence-transformers has it


@final
class Pairing(nn.Module):
    """What vectors are learned from: of all second texts of a batch, and third ones, which belongs to a first one
    (Henderson et al., 2017, "Efficient natural language response suggestion"); where a batch has scores, which of two
    pairs is nearer (CoSENT, Su, 2022). A text that is twice among the second ones is no wrong answer."""

    def __init__(self, network: Encoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Tensor:
        """The mean over the examples, times their number: [2], with a gradient and without. See `Batch`: its rows are
        all first texts, then all second ones, then the third."""
        count, asked = len(batch.targets), batch.targets != IGNORE
        found = F.normalize(self.network(batch.tokens, batch.lengths), dim=-1)  # [k B, W]
        first, others = found[:count], found[count:]
        if batch.reference is not None:
            near = SCALE * (first * others).sum(-1)
            wrong = near[None] - near[:, None]  # [i, j]: by how much j is nearer than i
            nearer = (batch.reference[:, None] > batch.reference) & asked & asked[:, None]
            terms = torch.cat((near.new_zeros(1), wrong[nearer]))
            loss = asked.sum() * terms.logsumexp(0)
        else:
            scores = SCALE * first @ others.T  # [B, (k - 1) B]
            texts = batch.tokens[count:]
            twice = (texts[:count, None] == texts).all(-1)
            twice.fill_diagonal_(False)
            own = torch.arange(count, device=scores.device).where(asked, IGNORE)
            loss = F.cross_entropy(scores.masked_fill(twice, float("-inf")), own, ignore_index=IGNORE, reduction="sum")
        return torch.stack((loss, loss.detach()))


def pairing(network: Network, settings: Settings) -> nn.Module:
    """What vectors are learned from."""
    assert isinstance(network, Encoder)
    return Pairing(network)


def contrasting(network: Network, settings: Settings) -> nn.Module:
    """What a classifier learns from few texts."""
    assert isinstance(network, Encoder)
    return Contrasting(network)


def vectors(network: Encoder, batch: Batch) -> tuple[Tensor, Tensor]:
    """The texts of a batch, their positions pooled as the head does, before it: vectors [B, W] of length one, and the
    lengths [B, 1] that they had. Texts of about one length are read together, so that little of it is padding."""
    head, lengths = network.head, batch.lengths
    assert lengths is not None
    assert isinstance(head, Pooling | SequenceClassifier)
    order, found = lengths.argsort(), []
    for at in range(0, len(order), ALIKE):
        rows = order[at : at + ALIKE]
        longest, size, here = int(lengths[rows].max()), lengths[rows], rows.to(batch.tokens.device)
        types = None if batch.types is None else batch.types[here, :longest]
        states = network.read(batch.tokens[here, :longest], size, types=types)
        found.append(pool(states, size, head.pooled).float())
    pooled = torch.cat(found)[order.argsort().to(batch.tokens.device)]
    sizes = pooled.norm(dim=-1, keepdim=True)
    return pooled / sizes, sizes


def fit(rows: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The weights [C, W] and biases [C] of a logistic regression from vectors [N, W] to labels [N] of `count`, with a
    penalty of half the squared weights, which is what scikit-learn takes."""
    rows = rows.double()
    weights = torch.zeros(count, rows.shape[1], dtype=torch.float64, requires_grad=True)
    biases = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weights, biases], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        found = F.cross_entropy(rows @ weights.T + biases, labels, reduction="sum") + weights.square().sum() / 2
        found.backward()  # type: ignore[no-untyped-call]
        return found

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach().float(), biases.detach().float()

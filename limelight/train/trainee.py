"""A network with what it learns by: loss, optimiser, average, and its place among the processes."""

import copy
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import final

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from limelight.models.api import Network
from limelight.train.batches import Batch
from limelight.train.loss import Learning, predicting
from limelight.train.optim import Average, optimizers, put
from limelight.train.parallel import World, exchanging, like, spread, whole
from limelight.train.settings import Settings
from limelight.train.swaps import swap

OPTIMIZER = ("step", "exp_avg", "exp_avg_sq", "momentum")  # what AdamW and Muon keep of each weight


@final
class Trainee:
    """Takes steps, measures losses, and gives and takes its whole state as named tensors.

    With several processes every method is called in all of them.
    """

    def __init__(self, network: Network, settings: Settings, world: World, objective: Learning = predicting) -> None:
        self.settings = settings
        self.world = world
        self.frozen = _sum(network)  # of the weights that do not learn, which no state holds; empty without them
        self.network = network.to(world.device)
        # A sharded network can neither be saved nor asked; process 0 keeps a whole one for that.
        self._twin = copy.deepcopy(network).cpu() if settings.shard and world.main else None
        if world.device.type == "cpu" and not settings.compile:
            swap(network)
        self._model = spread(objective(network, settings), network, world, shard=settings.shard)
        self._weights = {name: p for name, p in network.named_parameters() if p.requires_grad}
        betas, product = (settings.beta1, settings.beta2), getattr(torch, settings.precision)
        self._optimizers = optimizers(network, settings.optimizer, betas, settings.eps, settings.decay, product)
        self._optimizer_of = {
            p: optimizer for optimizer in self._optimizers for group in optimizer.param_groups for p in group["params"]
        }
        self._average = Average(network, settings.ema) if settings.ema else None

    def step(self, parts: Iterable[Batch], predicted: int, rate: float, number: int) -> tuple[Tensor, Tensor]:
        """Update `number` (counted from 1), from this process's parts of a batch.

        predicted: targets in the whole batch, over all parts and processes. Returns the sums of this process's losses
        ([2]: smoothed, plain) and the norm of the whole gradient before it was clipped.
        """
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = rate
        self._model.train()
        sums = torch.zeros(2, device=self.world.device)
        batches = list(parts)
        for i, batch in enumerate(batches, 1):
            with exchanging(self._model, i == len(batches)):
                with self._precision():
                    losses = self._model(batch)
                # The processes' gradients are averaged, and the mean over the tokens of all is what is wanted.
                (losses[0] * (self.world.size / predicted)).backward()
            sums += losses.detach()
        norm = nn.utils.clip_grad_norm_(self._weights.values(), self.settings.clip or math.inf)
        for optimizer in self._optimizers:
            optimizer.step()
        if self._average is not None:
            self._average.update(self.network, number)
        return sums, whole(norm)

    @torch.no_grad()
    def loss(self, batches: Iterable[Batch]) -> Tensor:
        """The plain loss of this process's batches, summed; computed in float32, as the weights are."""
        self._model.eval()
        total = torch.zeros((), device=self.world.device)
        for batch in batches:
            total += self._model(batch)[1]
        if isinstance(self._model, FSDPModule):
            self._model.reshard()  # or its parameters stay the whole ones until the next backward pass
        return total

    def averaged(self) -> AbstractContextManager[None]:
        """For a while the weights are the ones for use: their moving average, where one is kept."""
        return nullcontext() if self._average is None else self._average.inside(self.network)

    @contextmanager
    def asked(self) -> Iterator[Network | None]:
        """The whole network as it is, to be asked or saved: in process 0; None in the others."""
        if not self.settings.shard:
            yield self.network.eval() if self.world.main else None
            return
        full = {name: whole(p.detach()).cpu() for name, p in self.network.named_parameters()}
        if self._twin is not None:
            put(self._twin, full)
            self._twin.eval()
        yield self._twin

    def put(self, weights: dict[str, Tensor]) -> None:
        """Takes other weights, whole ones, by name."""
        put(self.network, weights)

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, whole; copies where an average may take the weights' place."""
        own: Callable[[Tensor], Tensor] = (lambda p: p.clone()) if self._average is not None else (lambda p: p)
        state = {f"weights/{name}": own(whole(p.detach())) for name, p in self._weights.items()}
        for name, p in self._weights.items():
            state |= {f"{part}/{name}": whole(kept) for part, kept in self._optimizer_of[p].state[p].items()}
        if self._average is not None:
            state |= {f"average/{name}": whole(p) for name, p in self._average.weights.items()}
        return state

    @torch.no_grad()
    def load(self, state: Iterable[tuple[str, Tensor]]) -> None:
        """Takes a state that was given before. Raises KeyError or ValueError for one of another network."""
        missing = {f"weights/{name}" for name in self._weights}
        for key, tensor in state:
            part, _, name = key.partition("/")
            missing.discard(key)
            if part != "step" and tensor.shape != self._weights[name].shape:
                raise ValueError(f"{key} has the shape {tuple(tensor.shape)}, not {tuple(self._weights[name].shape)}")
            if part in OPTIMIZER:
                p = self._weights[name]
                # Copied, so that memory is aligned as torch aligns it: some kernels round by alignment.
                model = p.detach() if part != "step" else torch.zeros((), device=self.world.device)
                kept = self._optimizer_of[p].state[p]
                kept[part] = torch.zeros_like(model)
                kept[part].copy_(like(tensor, model))
            elif part == "average" and self._average is not None:
                self._average.weights[name].copy_(like(tensor, self._average.weights[name]))
            elif part == "weights":
                self._weights[name].copy_(like(tensor, self._weights[name]))
        if missing:
            raise KeyError(min(missing))

    def _precision(self) -> AbstractContextManager[object]:
        """Where it is bfloat16, products are computed in it; weights, sums and the stream between layers are not."""
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.settings.precision == "bfloat16")


def _sum(network: nn.Module) -> str:
    """The SHA-256 of the weights that do not learn; nothing if all do."""
    kept = [(name, p.detach()) for name, p in network.named_parameters() if not p.requires_grad]
    found = hashlib.sha256()
    for name, weight in kept:
        found.update(name.encode())
        found.update(weight.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest() if kept else ""

"""Several processes that train one model: what `torchrun` starts, with DDP or FSDP2.

Every process knows the whole batch of every step and computes its share; sums are weighted by tokens, so that the
gradient is the one of a single process with the same batch.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from limelight.errors import RequestError


@dataclass(frozen=True)
class World:
    """The processes of a run, and which of them this one is. Process 0 writes."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def from_main(self, value: float) -> float:
        """What process 0 has, for all; the others wait for it here."""
        told = torch.tensor([value], dtype=torch.float64 if self.device.type == "cpu" else torch.float32)
        told = told.to(self.device)
        if self.size > 1:
            dist.broadcast(told, 0)
        return float(told)

    def wait(self) -> None:
        """Until every process is here."""
        self.from_main(0.0)


@contextmanager
def world(device: str = "cpu") -> Iterator[World]:
    """The processes that `torchrun` started, or this one alone.

    On CUDA each process takes the card of its local rank. Raises RequestError if a process is alone where there should
    be more.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(0, 1, torch.device(device))
        return
    place = torch.device(device, int(os.environ.get("LOCAL_RANK", "0"))) if device == "cuda" else torch.device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    try:
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    except (RuntimeError, ValueError) as error:
        raise RequestError(
            f"the processes of this run did not find each other ({error}); start them with torchrun"
        ) from None
    try:
        yield World(dist.get_rank(), size, place)
    finally:
        dist.destroy_process_group()


def spread(module: nn.Module, world: World, *, shard: bool) -> nn.Module:
    """The module over all processes: a copy in each (DDP), or each with a share of every weight (`shard`, FSDP2).

    Sharding changes the module itself: each list of layers is cut layer by layer, what is left as one.
    """
    if shard:
        mesh = init_device_mesh(world.device.type, (world.size,))
        lists = [part for part in module.modules() if isinstance(part, nn.ModuleList)]
        for layer in (layer for part in lists for layer in part):
            fully_shard(layer, mesh=mesh)
        fully_shard(module, mesh=mesh, reshard_after_forward=False)
        return module
    return module if world.size == 1 else DistributedDataParallel(module, broadcast_buffers=False)


@contextmanager
def exchanging(module: nn.Module, now: bool) -> Iterator[None]:
    """Whether the next backward pass sums gradients over the processes; only the last part of a step does."""
    held: AbstractContextManager[None] = nullcontext()
    if isinstance(module, DistributedDataParallel) and not now:
        held = module.no_sync()
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(now)
    with held:
        yield


def whole(tensor: Tensor) -> Tensor:
    """A tensor out of the shares that the processes hold; all of them must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, model: Tensor) -> Tensor:
    """A whole tensor cut and placed as `model` is."""
    if isinstance(model, DTensor) and not isinstance(tensor, DTensor):
        return distribute_tensor(tensor.to(model.device, model.dtype), model.device_mesh, model.placements)
    return tensor.to(model.device, model.dtype)

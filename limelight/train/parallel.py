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
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from limelight.errors import RequestError
from limelight.models.api import Network, Seq2Seq
from limelight.nn.stack import Stack


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


def memory() -> int | None:
    """The bytes of this machine's memory; None where nobody says."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # as on Windows
        return None


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


def spread(module: nn.Module, network: Network, world: World, *, shard: bool) -> nn.Module:
    """`module`, which holds the network, over all processes: a copy in each (DDP), or a share in each (`shard`, FSDP2).

    Sharding changes the network itself, layer by layer; what is in no layer is one share. Raises RequestError for a
    recurrent model, whose cells are called as one.
    """
    if not shard:
        return module if world.size == 1 else DistributedDataParallel(module)
    stacks = [part for part in module.modules() if isinstance(part, Stack)]
    if not stacks:
        raise RequestError("a recurrent model is not cut into shares; leave out shard, and each process has a copy")
    mesh = init_device_mesh(world.device.type, (world.size,))
    for cross in network.crosses if isinstance(network, Seq2Seq) else ():
        fully_shard(cross, mesh=mesh)
        for method in ("keys_values", "attend"):  # once for the source, outside of the layer; once inside
            register_fsdp_forward_method(cross, method)
    for block in (block for stack in stacks for block in stack.blocks):
        fully_shard(block, mesh=mesh)
    fully_shard(module, mesh=mesh, reshard_after_forward=False)
    return module


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

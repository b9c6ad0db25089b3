"""What quantised weights are made of: tensors of a file that belong together, and low-bit blocks of their parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from limelight.errors import ConfigError
from limelight.quant.packed import Packed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from limelight.checkpoints.reader import TensorReader


@dataclass(frozen=True)
class Made:
    """A weight that is put together: from which tensors, its shape, the number type that the file keeps, and how."""

    parts: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    make: Callable[..., Tensor | Packed]


Weights = dict[str, Made]


class Held:
    """What the methods ask of a file: tensors by the ends of their names, of the sizes that belong together."""

    def __init__(self, reader: TensorReader) -> None:
        self.reader = reader
        self.names = {*reader.names()}

    def dtype(self, name: str) -> str:
        """A tensor's number type; nothing of one that is not there."""
        return self.reader.dtype(name) if name in self.names else ""

    def stems(self, end: str) -> list[str]:
        """What stands before `end` in the names of all tensors that have it."""
        return [name.removesuffix(end) for name in self.reader.names() if name.endswith(end)]

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor that must be there and have so many dimensions."""
        if name not in self.names:
            raise ConfigError(f"the quantised model lacks the tensor {name!r}")
        shape = self.reader.shape(name)
        if len(shape) != dimensions or 0 in shape:
            raise ConfigError(f"the tensor {name!r} of a quantised model has the shape {shape}")
        return shape

    def expect(self, name: str, shape: Sequence[int], *kinds: str) -> str:
        """A tensor that must be there, of this shape, and of one of these number types if any are named."""
        if self.shape(name, len(shape)) != tuple(shape):
            raise ConfigError(
                f"the tensor {name!r} of a quantised model has the shape {self.reader.shape(name)}, not {tuple(shape)}"
            )
        if kinds:
            self.kind(name, *kinds)
        return name

    def kind(self, name: str, *kinds: str) -> None:
        """Raises ConfigError where a tensor is of none of these number types."""
        if (found := self.reader.dtype(name)) not in kinds:
            raise ConfigError(f"the tensor {name!r} of a quantised model holds {found}, not {' or '.join(kinds)}")


def blocks(format: str, shape: torch.Size, block: int, codes: Tensor, *numbers: Tensor) -> Packed:
    """Blocks that begin with a number of each of `numbers` [out, groups] and go on with codes [out, blocks, bytes]."""
    times = shape[1] // block // numbers[0].shape[1]
    front = [each.repeat_interleave(times, 1).unsqueeze(-1).contiguous().view(torch.uint8) for each in numbers]
    return Packed(torch.cat((*front, codes), -1).flatten(1), format, tuple(shape))

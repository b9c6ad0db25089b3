"""What tests of torch's files, zip files and older ones, share."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from limelight.checkpoints.reader import TensorReader
from limelight.checkpoints.tensors import DTYPES
from limelight.errors import FileError

SHARED = torch.ones(1 << 12)


def tensors() -> dict[str, torch.Tensor]:
    """One of each number type, and of each way to lie in memory."""
    numbers = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    kinds = ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    made: dict[str, torch.Tensor] = {kind: numbers.to(DTYPES[kind]) for kind in kinds}
    made |= {"turned": numbers.T, "part": numbers[1:, 2:], "scalar": torch.tensor(2.5), "empty": torch.empty(0, 3)}
    return made | {"parameter": torch.nn.Parameter(numbers), "alone": torch.arange(6.0)}


def holds(reader: TensorReader, expected: dict[str, torch.Tensor]) -> None:
    """The reader has these tensors and says the truth of each."""
    assert reader.names() == tuple(expected)
    for name, tensor in expected.items():
        value = reader.read(name)
        assert isinstance(value, torch.Tensor)
        assert not value.requires_grad
        assert torch.equal(value, tensor)
        assert value.dtype == tensor.dtype == DTYPES[reader.dtype(name)]
        assert value.shape == tensor.shape == reader.shape(name)
        assert value.nbytes == reader.nbytes(name)


class Call:
    """Pickles into a call of ``function``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def number(value: int) -> bytes:
    """The pickle of a whole number, within another."""
    return pickle.dumps(value, 2)[2:-1]


def outcome(read: Callable[[Path], TensorReader], path: Path, data: bytes) -> str:
    """Opens the file and reads all of it: either succeeds or raises FileError; anything else fails the test."""
    path.write_bytes(data)
    try:
        reader = read(path)
        for name in reader.names():
            value = reader.read(name)
            assert isinstance(value, torch.Tensor)
            assert tuple(value.clone().shape) == reader.shape(name)
            assert reader.nbytes(name) <= len(data)
    except FileError as error:
        return str(error)
    return "opened"

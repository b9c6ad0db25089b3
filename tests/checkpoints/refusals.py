"""What is said of a damaged file."""

from collections.abc import Callable
from pathlib import Path

import pytest

from limelight.checkpoints.reader import open_tensors
from limelight.errors import FileError


def refusal(path: Path, data: bytes, opens: Callable[[Path], object] = open_tensors) -> str:
    """Why a file of these bytes is not opened, behind its name."""
    path.write_bytes(data)
    with pytest.raises(FileError) as refused:
        opens(path)
    assert str(refused.value).startswith(f"{path}: ")
    return str(refused.value).removeprefix(f"{path}: ")

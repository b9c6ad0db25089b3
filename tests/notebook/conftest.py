"""A tiny random model to show in notebooks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli.tiny_models import random_llama


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models lose more by waiting for a second thread than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama: 3 layers of 4 heads."""
    return random_llama(tmp_path_factory)

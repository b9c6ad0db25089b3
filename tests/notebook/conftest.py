"""A tiny random model to show in notebooks."""

from pathlib import Path

import pytest
from cli.tiny_models import random_llama


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama: 3 layers of 4 heads."""
    return random_llama(tmp_path_factory)

"""What looking returns, as JSON knows it."""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from torch import Tensor


def plain(value: Any) -> Any:
    """A result as objects, lists, texts and numbers: dataclasses by fields, tensors and arrays as nested lists."""
    if isinstance(value, Tensor | np.ndarray):
        return value.tolist()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | range):
        return [plain(item) for item in value]
    return value

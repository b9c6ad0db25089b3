"""Plain numbers, which views are made of, and how they are written."""

import json
from typing import Any

from limelight.errors import RequestError

Numbers = dict[str, Any]
"""What JSON can hold: one object."""


def dumps(value: Any) -> str:
    """JSON in ASCII, which has no numbers that are none. Raises RequestError if there are such."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise RequestError(
            "the model's answer holds numbers that are none (NaN or infinite); open it as float32, or another model"
        ) from None

"""What turns results into tables."""

from typing import Any

from limelight.errors import RequestError


def pandas() -> Any:
    """The library, imported where it is asked for. Raises RequestError if it is not installed."""
    try:
        import pandas
    except ImportError:
        raise RequestError("to_pandas needs pandas; install it with: pip install pandas") from None
    return pandas

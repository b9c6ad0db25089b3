"""limelight: open a transformer, run it, train it, and see which words it is listening to.

    model = limelight.open("smollm2")
    for piece in model.stream("The cat sat on the mat because it was"):
        print(piece, end="")
    seen = model.look("The cat sat on the mat because it was tired")
    seen.importance("tired")

Importing this package is quick: torch is imported when a model is opened.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from limelight.errors import LimelightError

if TYPE_CHECKING:
    from limelight.decode import Sampling
    from limelight.look import Seen
    from limelight.model import Completion, Model, Translator, open, save

__version__ = "0.1.0"

__all__ = ["Completion", "LimelightError", "Model", "Sampling", "Seen", "Translator", "open", "save"]

_HOMES = {
    "Completion": "limelight.model",
    "Model": "limelight.model",
    "Sampling": "limelight.decode",
    "Seen": "limelight.look",
    "Translator": "limelight.model",
    "open": "limelight.model",
    "save": "limelight.model",
}


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'limelight' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

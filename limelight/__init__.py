"""limelight: open a transformer, run it, train it, and see which words it is listening to.

    model = limelight.open("smollm2")
    for piece in model.stream("The cat sat on the mat because it was"):
        print(piece, end="")
    seen = model.look("The cat sat on the mat because it was tired")
    seen.importance("tired")

Importing this package is quick: torch is imported when a model is opened. Import it before torch: it sets how torch's
threads wait and how much oneDNN keeps, where the environment does not say so already.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from limelight.errors import LimelightError

if TYPE_CHECKING:
    from limelight.completion import Completion
    from limelight.decode import Sampling
    from limelight.encoder import Embedder, EncoderModel, MaskedModel
    from limelight.labels import Classifier, SpanModel, Tagger
    from limelight.look import Seen
    from limelight.model import Model, Translator
    from limelight.opening import open, save

_ENVIRONMENT = {
    # Threads that wait for work spin for a while, which ruins them all where another program wants the same cores.
    # GNU's OpenMP, which torch brings along on Linux, reads this when it is loaded.
    "GOMP_SPINCOUNT": "10000",
    # In a second thread of Python that computes, as each request to the page does, it would hardly spin at all, and a
    # short text took a third longer. LLVM's OpenMP would take this for "without end", were its own default not said.
    "OMP_WAIT_POLICY": "active",
    "KMP_BLOCKTIME": "200",
    # oneDNN keeps a thousand compiled products, one for each shape: in a training on sentences half a gigabyte.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "Completion",
    "Embedder",
    "EncoderModel",
    "LimelightError",
    "MaskedModel",
    "Model",
    "Sampling",
    "Seen",
    "SpanModel",
    "Tagger",
    "Translator",
    "open",
    "save",
]

_HOMES = {
    "Classifier": "limelight.labels",
    "Embedder": "limelight.encoder",
    "EncoderModel": "limelight.encoder",
    "MaskedModel": "limelight.encoder",
    "Completion": "limelight.completion",
    "Model": "limelight.model",
    "Sampling": "limelight.decode",
    "Seen": "limelight.look",
    "SpanModel": "limelight.labels",
    "Tagger": "limelight.labels",
    "Translator": "limelight.model",
    "open": "limelight.opening",
    "save": "limelight.opening",
}


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'limelight' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

"""What a saved steering vector makes of a text, for a page to draw."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limelight.errors import FileError, RequestError, suggestion
from limelight.views.parts import spelled

if TYPE_CHECKING:
    from limelight import Model
    from limelight.look import SteeringVector

VECTORS = Path("vectors")
"""Where vectors are looked for that `SteeringVector.save` has written."""

LIKELY = 8
"""Tokens that are told of what comes next."""

GOES_ON = 16
"""Tokens of how the text goes on."""


def vectors(model: "Model") -> "dict[str, SteeringVector]":
    """Those in `VECTORS` that fit a model, by the names of their files."""
    from limelight.look import SteeringVector

    found = {}
    for file in sorted(VECTORS.glob("*.safetensors")):
        with suppress(FileError, RequestError):
            vector = SteeringVector.load(file)
            model.steered(vector)
            found[file.stem] = vector
    return found


def steered(model: "Model", text: str, name: str | None, strength: float) -> dict[str, Any]:
    """What comes next, and how the text goes on at its likeliest, as it is and with a vector, by default the first.

    rows: a token, its probability without and with the vector.
    Raises RequestError for a vector that there is not.
    """
    fitting = vectors(model)
    told: dict[str, Any] = {"vectors": list(fitting), "folder": str(VECTORS)}
    if name is None and not fitting:
        return told
    name = next(iter(fitting)) if name is None else name
    if name not in fitting:
        raise RequestError(f"no vector for this model is called {name!r}{suggestion(name, fitting)}")
    vector = fitting[name]
    other = model.steered(vector, strength)
    was, now = (each.look(text).logits()[-1].softmax(-1) for each in (model, other))  # [V] each
    ids = now.topk(min(LIKELY, len(now))).indices.tolist()
    rows = [[spelled(id, model.tokenizer), float(was[id]), float(now[id])] for id in ids]
    goes_on = [each.complete(text, max_tokens=GOES_ON, stop=["\n"]).text for each in (model, other)]
    return {**told, "vector": name, "layer": vector.layer, "rows": rows, "goes_on": goes_on}

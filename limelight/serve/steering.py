"""What a saved steering vector makes of a text, for a page to draw."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limelight.errors import FileError, RequestError, suggestion
from limelight.views.parts import spelled

if TYPE_CHECKING:
    from torch import Tensor

    from limelight import Model
    from limelight.look import SteeringVector

    Read = tuple[Tensor, str]

VECTORS = Path("vectors")
"""Where vectors are looked for that `SteeringVector.save` has written."""

LIKELY = 8
"""Tokens that are told of what comes next."""

GOES_ON = 16
"""Tokens of how the text goes on."""


class Steering:
    """The saved vectors of one model, and what was found out: a file is read again once it has changed, and a text
    without a vector is read once while a slider moves over it."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._files: dict[Path, tuple[tuple[int, int], SteeringVector | None]] = {}
        self._plain: tuple[str, Read] | None = None

    def vectors(self) -> dict[str, SteeringVector]:
        """Those in `VECTORS` that fit the model, by the names of their files."""
        found = {}
        for file in sorted(VECTORS.glob("*.safetensors")):
            with suppress(OSError):  # it has just been taken away
                about = file.stat()
                stamp = about.st_mtime_ns, about.st_size
                if file not in self._files or self._files[file][0] != stamp:
                    self._files[file] = stamp, self._fitting(file)
                if (vector := self._files[file][1]) is not None:
                    found[file.stem] = vector
        return found

    def _fitting(self, file: Path) -> SteeringVector | None:
        from limelight.look import SteeringVector

        try:
            vector = SteeringVector.load(file)
            self._model.steered(vector)
        except (FileError, RequestError):
            return None
        return vector

    def __call__(self, text: str, name: str | None, strength: float) -> dict[str, Any]:
        """What comes next, and how the text goes on at its likeliest, as it is and with a vector, by default the first.

        rows: a token, its probability without and with the vector.
        Raises RequestError for a vector that there is not.
        """
        fitting = self.vectors()
        told: dict[str, Any] = {"vectors": list(fitting), "folder": str(VECTORS)}
        if name is None and not fitting:
            return told
        name = next(iter(fitting)) if name is None else name
        if name not in fitting:
            raise RequestError(f"no vector for this model is called {name!r}{suggestion(name, fitting)}")
        vector = fitting[name]
        if self._plain is None or self._plain[0] != text:
            self._plain = text, _read(self._model, text)
        was, before = self._plain[1]
        now, after = _read(self._model.steered(vector, strength), text)
        ids = now.topk(min(LIKELY, len(now))).indices.tolist()
        rows = [[spelled(id, self._model.tokenizer), float(was[id]), float(now[id])] for id in ids]
        return {**told, "vector": name, "layer": vector.layer, "rows": rows, "goes_on": [before, after]}


def _read(model: Model, text: str) -> Read:
    """What may come next, [V], and how the text goes on."""
    chances = model.look(text).logits()[-1].softmax(-1)
    return chances, model.complete(text, max_tokens=GOES_ON, stop=["\n"]).text

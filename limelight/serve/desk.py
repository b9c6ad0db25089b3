"""The one model that a page has open, and the texts it looked at last."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from limelight.errors import RequestError, suggestion

if TYPE_CHECKING:
    from limelight import Model
    from limelight.checkpoints.source import Listed
    from limelight.models.api import Decoder
    from limelight.serve.looking import Looking

REMEMBERED = 8
"""Texts whose readings are kept: the one on the screen, and some to come back to."""

Tell = Callable[[int, int, str], None]
"""``tell(done, total, note)`` while a model is opened."""


class Desk:
    """Opens models by the names of a fixed list and lends the open one out, to one at a time.

    Looking takes every core there is, so that two at once would each be half as fast: they wait for each other.
    """

    def __init__(self, name: str, device: str = "cpu", dtype: str | None = None) -> None:
        """name: what to open first; it may be a path, since whoever starts the server says it."""
        self.name = name
        self._device = device
        self._dtype = dtype
        self._first = name
        self._model: Model | None = None
        self._twin: Decoder | None = None
        self._roles: dict[str, Any] | None = None
        self._lookings: OrderedDict[tuple[str, str], Looking] = OrderedDict()
        self._progress = (0, 0, "opening the model")
        self._busy = threading.Lock()  # held while the model computes
        self._shelf = threading.Lock()  # held while the model or the list of texts changes

    @property
    def is_open(self) -> bool:
        """Whether a model is open by now."""
        return self._model is not None

    def listed(self) -> "list[Listed]":
        """What may be opened: the model that the server was started with, then all that `limelight models` lists."""
        from limelight.checkpoints.source import Listed, available

        found = available()
        if all(model.name != self._first for model in found):
            found.insert(0, Listed(self._first, "", "", "", 0, None))
        return found

    def open(self, name: str, tell: Tell) -> "Model":
        """Opens a listed model in place of the one before, or returns it if it is the one.

        Raises RequestError for a name that is not in the list, and whatever opening raises; the model before stays
        open then.
        """
        import limelight

        names = [model.name for model in self.listed()]
        if name not in names:
            raise RequestError(f"no model here is called {name!r}{suggestion(name, names)}")
        while not self._busy.acquire(timeout=0.25):  # somebody computes, or opens this very model
            tell(*self._progress)
        try:
            if self._model is None or name != self.name:
                from limelight.look.record import twin
                from limelight.quant.linear import exactly

                def note(done: int, total: int, note: str) -> None:
                    self._progress = (done, total, note)
                    tell(done, total, note)

                model = limelight.open(name, device=self._device, dtype=self._dtype, progress=note)
                if not isinstance(model, limelight.Model):
                    raise RequestError(f"{name} translates texts; the page looks at models that continue them")
                with self._shelf:
                    self._twin = exactly(twin(model.network))
                    self._model, self.name = model, name
                    self._roles = None
                    self._lookings.clear()
            return self._model
        finally:
            self._busy.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until nobody else computes, and lets nobody else until left."""
        with self._busy:
            yield

    def model(self) -> "Model":
        """The open model. Raises RequestError if none is open yet."""
        if self._model is None:
            raise RequestError("no model is open yet; wait until it is, or choose another one")
        return self._model

    def looking(self, given: str, added: str) -> "Looking":
        """A text under the open model, which costs next to nothing. Raises RequestError if none is open yet."""
        from limelight.serve.looking import Looking

        with self._shelf:
            model = self.model()
            found = self._lookings.get((given, added))
            if found is None:
                assert self._twin is not None
                found = self._lookings[given, added] = Looking(self._twin, model.tokenizer, given, added)
                if len(self._lookings) > REMEMBERED:
                    self._lookings.popitem(last=False)
            self._lookings.move_to_end((given, added))
            return found

    def edited(
        self, text: str, heads_off: Sequence[tuple[int, int]], layers_off: Sequence[int], positions: bool
    ) -> "Looking":
        """A text under the open model with parts switched off. Raises RequestError for parts that it lacks."""
        from limelight.serve.looking import edited

        model = self.model()
        assert self._twin is not None
        return edited(
            self._twin, model.tokenizer, text, heads_off=heads_off, layers_off=layers_off, positions=positions
        )

    @property
    def has_roles(self) -> bool:
        """Whether it is known by now what the heads do."""
        return self._roles is not None

    def roles(self) -> dict[str, Any]:
        """What the open model's heads do; measured once a model. Raises RequestError if none is open yet."""
        from limelight.serve.looking import roles

        if self._roles is None:
            model = self.model()
            assert self._twin is not None
            self._roles = roles(self._twin, model.tokenizer)
        return self._roles

    def about(self) -> dict[str, Any]:
        """The open model's name and shape. Raises RequestError if none is open yet."""
        from limelight.look import METHODS
        from limelight.serve.looking import shape

        model = self.model()
        return {
            "name": self.name,
            "heads": shape(model.config),
            "context": model.config.context,
            "methods": [{"name": method.name, "title": method.title} for method in METHODS.values()],
        }

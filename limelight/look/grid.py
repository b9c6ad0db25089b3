"""Numbers by layer, and by place or head: as a table, a picture or a DataFrame."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

from limelight import given
from limelight.errors import RequestError
from limelight.look.tables import pandas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

SHOWN = 16
"""Columns that a printed table has; of more, those with the largest numbers."""


def heads(n: int) -> tuple[str, ...]:
    """The names of a layer's heads, from 0."""
    return tuple(f"head {number}" for number in range(n))


class Grid(ABC):
    """columns: what stands behind each other in a layer, as text, each once."""

    columns: tuple[str, ...]

    @property
    @abstractmethod
    def values(self) -> Tensor:
        """The numbers, [layers, columns] in float32."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What the numbers are, on one line."""

    def strongest(self, n: int = 10) -> list[tuple[int, str, float]]:
        """The n numbers that are farthest from 0, the farthest first: layer, column, number."""
        given.whole("n", n, 1)
        flat = self.values.flatten()
        found = flat.abs().nan_to_num(0).argsort(descending=True, stable=True)[:n].tolist()
        width = len(self.columns)
        return [(place // width, self.columns[place % width], float(flat[place])) for place in found]

    def to_pandas(self) -> "DataFrame":
        """A pandas DataFrame with a row for each layer, counted from 0. Raises RequestError if pandas is not
        installed."""
        layers = pandas().RangeIndex(len(self.values), name="layer")
        return pandas().DataFrame(self.values.numpy(), layers, self.columns)

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """A heat map, layers upwards, blue above 0 and red below; returns the axes it is drawn on.

        axes: of matplotlib; those of a new figure if None. Raises RequestError if matplotlib is not installed.
        """
        try:
            from matplotlib import pyplot
            from matplotlib.axes import Axes
        except ImportError:
            raise RequestError("plot needs matplotlib; install it with: pip install matplotlib") from None
        values = self.values
        if axes is None:
            size = (max(5.0, 1.8 + 0.34 * values.shape[1]), max(3.0, 1.6 + 0.2 * values.shape[0]))
            axes = pyplot.subplots(figsize=size, layout="constrained")[1]
        given.a(Axes, "axes", axes, "the axes of a matplotlib figure")
        most = float(values.abs().max()) or 1.0
        image = axes.imshow(values.numpy(), cmap="RdBu", vmin=-most, vmax=most, origin="lower", aspect="auto")
        axes.figure.colorbar(image, ax=axes)
        axes.set_xticks(range(len(self.columns)), self.columns, rotation=90)
        axes.set_ylabel("layer")
        axes.set_title(self.title, fontsize="medium", wrap=True)
        return axes

    def __repr__(self) -> str:
        values, columns = self.values, list(range(len(self.columns)))
        kept = sorted(values.abs().amax(0).argsort(descending=True, stable=True)[:SHOWN].tolist())
        width = max(6, *(len(self.columns[column]) for column in kept)) + 1
        rows = [self.title]
        if len(kept) < len(columns):
            rows[0] += f" (the strongest {len(kept)} of {len(columns)} columns)"
        rows.append("layer" + "".join(f"{self.columns[column]:>{width}}" for column in kept))
        for layer, row in enumerate(values.tolist()):
            numbers = (f"{row[column]:.2f}".replace("-", "−") for column in kept)
            rows.append(f"{layer:>5}" + "".join(f"{number:>{width}}" for number in numbers))
        return "\n".join(rows)

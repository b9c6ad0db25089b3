"""Scale: how the loss falls with parameters and with data, and the power law of each with its uncertainty."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SHARES = (1 / 4, 1 / 2)
"""Of the parameters, and of the steps, that runs of the race by tokens have; each with all of the other."""


@dataclass(frozen=True)
class Law:
    """``loss = factor · x ** -power``; error: the standard error of the power."""

    factor: float
    power: float
    error: float


def law(xs: Sequence[float], losses: Sequence[float]) -> Law | None:
    """Fitted to the logarithms by least squares; no loss that stays is taken off, which a few points cannot tell. None
    for fewer than three points."""
    if len(xs) < 3:
        return None
    lx, ly = [math.log(x) for x in xs], [math.log(loss) for loss in losses]
    mx, my = sum(lx) / len(lx), sum(ly) / len(ly)
    square = sum((x - mx) ** 2 for x in lx)
    slope = sum((x - mx) * (y - my) for x, y in zip(lx, ly, strict=True)) / square
    rest = sum((y - my - slope * (x - mx)) ** 2 for x, y in zip(lx, ly, strict=True))
    return Law(math.exp(my - slope * mx), -slope, math.sqrt(rest / (len(lx) - 2) / square))

"""The learning rate over a run."""

import math
from typing import Literal

Schedule = Literal["auto", "inverse-sqrt", "cosine", "linear", "constant"]


def rate(schedule: Schedule, step: int, steps: int, warmup: int, peak: float, floor: float = 0.0) -> float:
    """The learning rate of `step` (counted from 1): up to `peak` over `warmup` steps, then down.

    inverse-sqrt: with the root of the step, without end (Vaswani et al., 2017, section 5.3). cosine: half a wave, and
    linear: a straight line, both down to `floor` × peak at `steps`. constant: stays. "auto" must have been chosen.
    """
    if step < warmup:
        return peak * step / warmup
    left = max(0.0, 1 - (step - warmup) / max(1, steps - warmup))
    match schedule:
        case "inverse-sqrt":
            return peak * math.sqrt(max(warmup, 1) / max(step, 1))
        case "cosine":
            return peak * (floor + (1 - floor) * (1 - math.cos(math.pi * left)) / 2)
        case "linear":
            return peak * (floor + (1 - floor) * left)
        case _:
            return peak

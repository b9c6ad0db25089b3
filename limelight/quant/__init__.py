"""Low-bit weights: how they lie in memory, how they are multiplied, and how float ones become such."""

from limelight.quant.linear import quantise
from limelight.quant.packed import pack

__all__ = ["pack", "quantise"]

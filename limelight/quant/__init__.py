"""Low-bit weights: how they lie in memory, how they are multiplied and run, and how float ones become such."""

from limelight.quant.linear import quantise
from limelight.quant.packed import pack
from limelight.quant.program import fuse

__all__ = ["fuse", "pack", "quantise"]

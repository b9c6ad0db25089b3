"""Decoding: rules on logits, sampling, stopping, and the loop that streams tokens."""

from limelight.decode.loop import Finish, Generated, Step, Token, collect, generate
from limelight.decode.sampling import Sampling
from limelight.decode.stopping import StopStrings

__all__ = ["Finish", "Generated", "Sampling", "Step", "StopStrings", "Token", "collect", "generate"]

"""Decoding: rules on logits, sampling, stopping, the loop that streams tokens, and beam search."""

from limelight.decode.beam import Hypothesis, beam_search
from limelight.decode.loop import Finish, Generated, Step, Token, collect, generate
from limelight.decode.sampling import Sampling
from limelight.decode.stopping import StopStrings

__all__ = [
    "Finish",
    "Generated",
    "Hypothesis",
    "Sampling",
    "Step",
    "StopStrings",
    "Token",
    "beam_search",
    "collect",
    "generate",
]

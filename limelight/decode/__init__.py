"""Decoding: logits processors, sampling, stopping, the engine and the loop that stream tokens, drafts, beam search."""

from limelight.decode.beam import Hypothesis, beam_search
from limelight.decode.constraint import Constraint
from limelight.decode.draft import Draft, Drafting
from limelight.decode.engine import Engine, position_bytes
from limelight.decode.loop import Generated, collect, generate
from limelight.decode.request import Finish, Request, Rules, Status, Step, Token
from limelight.decode.sampling import Sampling
from limelight.decode.stopping import StopStrings

__all__ = [
    "Constraint",
    "Draft",
    "Drafting",
    "Engine",
    "Finish",
    "Generated",
    "Hypothesis",
    "Request",
    "Rules",
    "Sampling",
    "Status",
    "Step",
    "StopStrings",
    "Token",
    "beam_search",
    "collect",
    "generate",
    "position_bytes",
]

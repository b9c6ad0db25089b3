"""Looking inside: which words mattered, where heads look, what comes next."""

from limelight.look.importance import METHODS, Check
from limelight.look.links import Link
from limelight.look.seen import Heard, Importance, Seen

__all__ = ["METHODS", "Check", "Heard", "Importance", "Link", "Seen"]

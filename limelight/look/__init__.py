"""Looking inside: which words mattered, where heads look, what comes next."""

from limelight.look.ablate import Ablation
from limelight.look.answer import Heard, Importance
from limelight.look.attribution import Attribution
from limelight.look.context import Matrix, SeenAnswer, Segment
from limelight.look.edit import Change, Comparison, compare
from limelight.look.importance import DEFAULT, METHODS, Check
from limelight.look.lens import Guess, Lens
from limelight.look.links import Link
from limelight.look.means import Means
from limelight.look.parts import PARTS
from limelight.look.patch import Patching
from limelight.look.plain import plain
from limelight.look.roles import ROLES, Roles
from limelight.look.seen import Seen
from limelight.look.steer import SteeringVector
from limelight.look.steps import Steps

__all__ = [
    "DEFAULT",
    "METHODS",
    "PARTS",
    "ROLES",
    "Ablation",
    "Attribution",
    "Change",
    "Check",
    "Comparison",
    "Guess",
    "Heard",
    "Importance",
    "Lens",
    "Link",
    "Matrix",
    "Means",
    "Patching",
    "Roles",
    "Seen",
    "SeenAnswer",
    "Segment",
    "SteeringVector",
    "Steps",
    "compare",
    "plain",
]

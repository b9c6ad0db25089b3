"""What can be learned: a task is one file, and a row of `TASKS`."""

from limelight.tasks.training.answer import Answer
from limelight.tasks.training.assistant import Assistant
from limelight.tasks.training.classify import Classify
from limelight.tasks.training.compose import Compose
from limelight.tasks.training.embed import Embed
from limelight.tasks.training.fill import Fill
from limelight.tasks.training.prefer import Prefer
from limelight.tasks.training.summarise import Summarise
from limelight.tasks.training.tag import Tag
from limelight.tasks.training.task import Ready, Task
from limelight.tasks.training.writing import Writing

TASKS: dict[str, type[Task]] = {
    "translate": Writing,
    "generate": Writing,
    "summarise": Summarise,
    "compose": Compose,
    "classify": Classify,
    "tag": Tag,
    "answer": Answer,
    "embed": Embed,
    "fill": Fill,
    "assistant": Assistant,
    "prefer": Prefer,
}

__all__ = ["TASKS", "Ready", "Task"]

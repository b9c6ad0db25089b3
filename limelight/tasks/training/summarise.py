"""To summarise: a text in short, by an encoder–decoder, or by a chat model that is asked for it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from limelight.checkpoints.open import open_checkpoint
from limelight.errors import RequestError
from limelight.models.api import Decoder, Encoder
from limelight.tasks.prompts import to_summarise
from limelight.tasks.training.assistant import Assistant
from limelight.tasks.training.task import Ready, Task
from limelight.tasks.training.writing import Writing, is_preset
from limelight.train.chats import Chat
from limelight.train.parallel import World
from limelight.train.settings import Settings
from limelight.train.summaries import columns, shorts

BASE = "smollm2"
"""The chat model that learns where none is named: what summaries say has to be known before."""

OWN = ("tokenizer", "vocab", "lower", "shared", "width", "parameters")
"""What is chosen for a model that begins at nothing alone."""


class Summarise(Task):
    """Texts with summaries. A preset, or an encoder–decoder, learns to write them as it would learn to translate; a
    chat model by adapters, asked as `summarise` asks it."""

    def __init__(self, given: Mapping[str, Any], before: Settings | None) -> None:
        name = before.model if before else given.get("model", BASE)
        network = None if is_preset(name) else open_checkpoint(name).network
        if isinstance(network, Encoder):
            raise RequestError(f"{name} writes no text; to summarise train a chat model, or an encoder–decoder")
        talks = isinstance(network, Decoder)
        if talks and before is None and (own := [each for each in OWN if each in given]):
            raise RequestError(f"{name} brings its own {own[0]}; leave the option out")
        self.task: Task = Asked({"model": name, **given}, before) if talks else Writing(given, before)

    def ready(self, folder: Path, world: World) -> Ready:
        return self.task.ready(folder, world)


class Asked(Assistant):
    """Conversations of one question, for a summary, and its answer."""

    unit = "texts with summaries"

    def settled(self, settings: Settings) -> Settings:
        return replace(settings, columns=columns(settings.train, settings.columns))

    def read(self, settings: Settings, files: Sequence[str]) -> Iterator[Chat]:
        for each in shorts(files, settings.columns):
            text, summary = (each.text, each.summaries[0]) if each else ("", "")
            asked = {"role": "user", "content": to_summarise(text) if text else ""}
            yield Chat(" and ".join(settings.columns), (asked, {"role": "assistant", "content": summary}))

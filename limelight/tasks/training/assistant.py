"""An assistant: a language model that learns to answer, from conversations."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from random import Random

from limelight.tasks.training.dialogue import Dialogue, Row
from limelight.train.batches import Chats, Corpus
from limelight.train.chats import Chat, chats, encoded
from limelight.train.constraints import constrained
from limelight.train.loop import Hooks
from limelight.train.loss import Learning, predicting
from limelight.train.settings import Settings
from limelight.train.tokenfile import TokenFile


class Assistant(Dialogue):
    """The next token of answers, and of nothing else."""

    unit = "conversations"
    rates = (2e-5, 2e-4)

    @property
    def objective(self) -> Learning:
        return predicting

    def read(self, settings: Settings, files: Sequence[str]) -> Iterator[Chat]:
        draw = Random(settings.seed)
        for chat in chats(files):
            yield chat
            for _ in range(0 if chat.fault else settings.constraints):
                if under := constrained(chat, draw):
                    yield under

    def rows(self, each: Chat) -> list[list[Row]]:
        return [[row] for row in encoded(self.tokenizer, each)]

    def corpus(self, file: TokenFile, folder: Path, name: str) -> Corpus:
        return Chats(file, self.tokenizer.pad or 0)

    def begun(self, folder: Path, settings: Settings) -> None:
        """Nothing more."""

    def hooks(self, settings: Settings, validation: Corpus) -> Hooks:
        return Hooks(self.saving(), samples=partial(self.samples, validation))

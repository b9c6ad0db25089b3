"""To fill gaps: which word is missing, learned from texts alone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from limelight.errors import RequestError
from limelight.models.api import Encoder, Network
from limelight.models.config import MaskedLMHead
from limelight.tasks.training.labelling import Example, Labelling
from limelight.train.batches import IGNORE, Batch, Corpus
from limelight.train.examples import column_of_texts, headless, plain_texts
from limelight.train.gaps import LONGEST, Gaps, windowed
from limelight.train.loss import Learning, predicting
from limelight.train.settings import Settings
from limelight.train.tokenfile import TokenFile


class Fill(Labelling):
    """Texts, in windows of which some tokens are masked and to be guessed (Devlin et al., 2019). A model that has no
    head for this gets one, whose scores are tied to its embeddings."""

    does = "fill gaps"
    head = MaskedLMHead
    metrics = ("accuracy",)

    def __init__(self, given: Mapping[str, Any], before: Settings | None) -> None:
        super().__init__(given if before else {"watch": "loss", **given}, before)
        if self.base.tokenizer.mask is None:
            raise RequestError(f"{self.name} knows no mask, so it has no gaps to fill; name another encoder")

    def found(self, settings: Settings) -> Settings:
        longest = self.given.get("longest") or min(LONGEST, self.base.network.context)
        if longest <= len(self.base.tokenizer.prefix) + len(self.base.tokenizer.suffix):
            raise RequestError(f"longest is {longest}, and the model's own marks take all of it; set it to 8 or more")
        return replace(settings, longest=longest, columns=column_of_texts(settings.train, settings.columns))

    def examples(self, settings: Settings, files: Sequence[str]) -> Iterator[Example | None]:
        for text in plain_texts(files, settings.columns):
            for window, words in windowed(self.base.tokenizer, text, settings.longest):
                yield (window, [words]) if words else None

    def corpus(self, settings: Settings, file: TokenFile) -> Corpus:
        return Gaps(file, self.base.tokenizer, settings.seed)

    def objective(self, settings: Settings) -> Learning:
        return predicting

    def said(self, settings: Settings) -> list[str]:
        said = (
            [f"column: {settings.columns[0]} holds the texts{headless(settings.columns)}"] if settings.columns else []
        )
        if not isinstance(self.base.network.config.head, MaskedLMHead):
            said.append(f"{self.name} has no head that says words: it gets a new one, tied to its embeddings")
        return said

    def answers(self, network: Network, batch: Batch) -> Tensor:
        """Scores [N, V] of the places that are asked for, since those of all would take most of the memory."""
        assert isinstance(network, Encoder)
        states = network.read(batch.tokens.to(network.device), batch.lengths).flatten(0, 1)
        scores: Tensor = network.head(states[batch.asked().to(states.device)])
        return scores.cpu()

    def score(self, settings: Settings, answered: Iterable[tuple[Tensor, Batch]]) -> float:
        """The share of gaps whose likeliest token is the right one."""
        right = count = 0
        for scores, batch in answered:
            targets = batch.targets.flatten()[batch.asked()]
            right, count = right + int((scores.argmax(-1) == targets).sum()), count + len(targets)
        return 100 * right / count

    def shown(self, settings: Settings, answers: Tensor, batch: Batch) -> list[str]:
        told, tokenizer = [], self.base.tokenizer
        found = iter(answers.argmax(-1).tolist())
        for text, right in zip(batch.texts(), batch.targets, strict=True):
            wanted = right[right != IGNORE].tolist()
            gaps = [f"{tokenizer.spell(next(found)).strip()} (right: {tokenizer.spell(id).strip()})" for id in wanted]
            told.append(f"{tokenizer.decode(text, special=True)} → {', '.join(gaps)}")
        return told

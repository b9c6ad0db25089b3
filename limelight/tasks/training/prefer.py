"""To prefer: a language model learns which of two answers is liked better."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from limelight.models.api import Decoder, Network
from limelight.tasks.training.dialogue import Dialogue, Row
from limelight.train.batches import Batches, Chats, Corpus
from limelight.train.chats import Preference, encoded, preferences
from limelight.train.disk import intact, seal, written
from limelight.train.loop import Hooks
from limelight.train.loss import Learning
from limelight.train.preference import Preferred, judged, likely, preferring
from limelight.train.settings import Settings
from limelight.train.tokenfile import TokenFile


class Prefer(Dialogue):
    """The chosen answer over the rejected one, beside the model that training begins with."""

    unit = "pairs"
    wide = 2
    rates = (1e-6, 1e-5)

    @property
    def objective(self) -> Learning:
        return preferring

    def read(self, settings: Settings, files: Sequence[str]) -> Iterator[Preference]:
        return preferences(files)

    def rows(self, each: Preference) -> list[list[Row]]:
        return [[next(encoded(self.tokenizer, chat, last=True)) for chat in each.both]]

    def corpus(self, file: TokenFile, folder: Path, name: str) -> Corpus:
        place = folder / "data" / "reference"
        cure = f"delete {place}, and the same command computes it anew"
        found = load_file(intact(place, f"{name}.safetensors", cure))
        return Preferred(file, self.tokenizer.pad or 0, found["logprobs"])

    def begun(self, folder: Path, settings: Settings) -> None:
        """Writes how likely each answer is to the model as it is; a run that goes on finds it there."""
        place = folder / "data" / "reference"
        if place.exists():
            return
        torch.set_num_threads(settings.threads)
        with written(place) as beside:
            for name in ("train", "valid") if settings.valid else ("train",):
                rows = Chats(TokenFile(folder / "data" / name), self.tokenizer.pad or 0)
                save_file({"logprobs": self._likely(rows, settings)}, beside / f"{name}.safetensors")
            seal(beside)

    def hooks(self, settings: Settings, validation: Corpus) -> Hooks:
        def measures(network: Network) -> dict[str, float]:
            """The share of pairs that are ranked right, the mean margin of rewards, and how much likelier a token of
            the chosen answers became, in nats."""
            assert isinstance(network, Decoder)
            batches = Batches(validation, settings.batch_tokens, 0).epoch()
            found = [judged(network, validation.batch(indices, 0)) for indices in batches]
            margins = torch.cat([each.margins for each in found])
            gained = sum(each.gained for each in found) / sum(each.tokens for each in found)
            ranked = 100 * float((margins > 0).float().mean())
            return {"ranked": ranked, "margin": settings.beta * float(margins.mean()), "chosen_change": gained}

        return Hooks(self.saving(), measures, partial(self.samples, validation), metric="ranked")

    @torch.no_grad()
    def _likely(self, rows: Chats, settings: Settings) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
        network = self.base.network
        assert isinstance(network, Decoder)
        network.eval()
        found = np.zeros(len(rows), np.float32)
        for indices in Batches(rows, settings.batch_tokens, 0).epoch():
            found[indices] = likely(network, rows.batch(indices, 0)).numpy()
        return found

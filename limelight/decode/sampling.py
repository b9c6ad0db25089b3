"""How the next token is chosen from the logits."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limelight import given
from limelight.decode.processors import (
    FrequencyPenalty,
    History,
    LogitsProcessor,
    MinP,
    PresencePenalty,
    RepetitionPenalty,
    Temperature,
    TopK,
    TopP,
)
from limelight.errors import RequestError


@dataclass(frozen=True)
class Sampling:
    """How to choose the next token; as it stands, always the likeliest one.

    temperature: 0 takes the likeliest token (greedy); 1 draws from the model's own distribution.
    top_k, top_p, min_p: narrow the draw, in this order, after the temperature; see `limelight.decode.processors`.
    repetition: factor against tokens already in the text, prompt included; 1 is none.
    frequency, presence: taken from the score of generated tokens, per occurrence and once; 0 is none.
    seed: the same seed gives the same tokens; without one every run differs.

    Raises RequestError for a value of another type or outside its permitted range.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition: float = 1.0
    frequency: float = 0.0
    presence: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        _within(
            "temperature",
            self.temperature,
            lambda t: t == 0 or 1e-5 <= t <= 100,
            "0 (always the likeliest token) or from 0.00001 to 100",
        )
        if self.top_k is not None:
            given.whole("top_k", self.top_k, 1)
        if self.top_p is not None:
            _within("top_p", self.top_p, lambda p: 0 < p <= 1, "above 0 and at most 1")
        if self.min_p is not None:
            _within("min_p", self.min_p, lambda p: 0 <= p <= 1, "from 0 to 1")
        _within("repetition", self.repetition, lambda x: 0 < x <= 100, "above 0 and at most 100 (1 is no penalty)")
        for name, value in (("frequency", self.frequency), ("presence", self.presence)):
            _within(name, value, lambda x: -2 <= x <= 2, "from −2 to 2 (0 is no penalty)")
        if self.seed is not None:
            given.whole("seed", self.seed, 0, 2**63 - 1)

    @cached_property
    def processors(self) -> tuple[LogitsProcessor, ...]:
        """The processors that change anything, in the order in which they are applied."""
        processors: list[LogitsProcessor] = []
        if self.repetition != 1:
            processors.append(RepetitionPenalty(self.repetition))
        if self.frequency:
            processors.append(FrequencyPenalty(self.frequency))
        if self.presence:
            processors.append(PresencePenalty(self.presence))
        if self.temperature == 0:  # what follows never changes which token is the likeliest
            return tuple(processors)
        if self.temperature != 1:
            processors.append(Temperature(self.temperature))
        if self.top_k is not None:
            processors.append(TopK(self.top_k))
        if self.top_p is not None and self.top_p < 1:
            processors.append(TopP(self.top_p))
        if self.min_p:
            processors.append(MinP(self.min_p))
        return tuple(processors)

    @property
    def remembers(self) -> bool:
        """Whether a choice depends on which tokens the text holds already."""
        return self.repetition != 1 or bool(self.frequency or self.presence)

    @property
    def greedy(self) -> bool:
        """Whether the choice is always what the model thinks likeliest."""
        return self.temperature == 0 and not self.remembers

    def generators(self, prompts: Sequence[Sequence[object]]) -> list[torch.Generator]:
        """A source of random numbers for each row, on the CPU whatever the model's device.

        A prompt draws the same numbers alone and in a batch. When a batch holds it more than once, its copies draw
        different ones: the n-th copy (from 0) is what the prompt alone would give with ``seed + n``. prompts: the
        tokens of each, or what else can be told from it, such as a pair of a source and a prompt.
        """
        generators = [torch.Generator() for _ in prompts]
        copies: Counter[tuple[object, ...]] = Counter()
        for prompt, generator in zip(prompts, generators, strict=True):
            if self.seed is None:
                generator.seed()
            else:
                key = tuple(prompt)
                generator.manual_seed(self.seed + copies[key])
                copies[key] += 1
        return generators

    def choose(self, logits: Tensor, history: History, generators: Sequence[torch.Generator]) -> Tensor:
        """The next token of each row: [B] int64 from logits [B, V], one generator a row."""
        for processor in self.processors:
            logits = processor(logits, history)
        if self.temperature == 0:
            return logits.argmax(-1)
        points = [1 - float(torch.rand(1, generator=generator)) for generator in generators]
        rows = logits.cpu().numpy()
        return torch.tensor([_drawn(row, point) for row, point in zip(rows, points, strict=True)])


def _drawn(scores: NDArray[np.float32], point: float) -> int:
    """The token, of scores [V], where the cumulative mass comes to a share `point` of all, which is in (0, 1].

    So a token of probability zero is never drawn. Only what may be chosen is looked at, mostly a few of all tokens.
    """
    at = np.flatnonzero(scores > -np.inf)
    if not len(at):  # nothing may be chosen, as who asked will find
        return 0
    mass = np.exp(scores[at] - scores[at].max()).cumsum(dtype=np.float64)
    return int(at[min(np.searchsorted(mass, point * mass[-1]), len(at) - 1)])


def likeliest(logits: Tensor) -> list[int]:
    """The token of the highest score in each row of logits [B, V]; on a CPU by numpy, ten times as fast as torch."""
    if logits.device.type == "cpu":
        return logits.numpy().argmax(-1).tolist()  # type: ignore[no-any-return]
    return logits.argmax(-1).tolist()


def _within(name: str, value: float, fits: Callable[[float], bool], permitted: str) -> None:
    if not fits(given.number(name, value)):
        raise RequestError(f"{name} is {value}; it must be {permitted}")

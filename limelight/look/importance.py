"""Which words made the model say a word, and whether the answer can be trusted.

The yardstick is *blocking*: no later position may attend to a word's tokens, in any layer, and what is measured is
how far the log-odds of the word in question fall against its rivals. Nothing is tokenised again and every position
stays where it was (compare attention knockout, Geva et al., 2023). The last word before the one in question is where
the model asks from; it cannot be deaf to itself, so it is left out instead.
"""

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from limelight.look.record import record
from limelight.look.target import Question
from limelight.look.text import Reading
from limelight.look.variants import Deaf, Progress, odds
from limelight.models.api import Decoder

CHECKED = 3
"""Words blocked together by the check."""

DRAWS = 10
"""Random draws of as many words that they are compared with."""


@dataclass(frozen=True)
class Check:
    """What the log-odds lose when the k words ranked highest are blocked together, and when k random words are.

    top: places of the k words. random_drop, random_sd: mean and standard deviation over the draws.
    """

    k: int
    top: tuple[int, ...]
    top_drop: float
    random_drop: float
    random_sd: float

    @property
    def holds(self) -> bool:
        """Whether the highest ranked words matter more than random ones, by more than chance would scatter."""
        return self.top_drop > self.random_drop + self.random_sd


@dataclass(frozen=True)
class Measured:
    """values: one for each word before the one in question, last of them the one that asks. check: None where there
    are too few words to compare."""

    values: tuple[float, ...]
    check: Check | None


Method = Callable[[Decoder, Reading, int, Question, Progress | None], list[float]]
"""``method(network, reading, target, question, progress)`` → a value for each word before word number `target`."""


def blocking(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """The fall in log-odds when nothing behind a word may attend to it; the asking word is left out instead."""
    before = reading.words[:target]
    variants = [Deaf(blocked=(word.tokens,)) for word in before[:-1]] + [Deaf(without=before[-1].tokens)]
    return _drops(network, reading, question, variants, progress)


def leave_one_out(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """The fall in log-odds when a word is deleted and what follows moves up (Li et al., 2016, "erasure")."""
    variants = [Deaf(without=word.tokens) for word in reading.words[:target]]
    return _drops(network, reading, question, variants, progress)


def attention(
    network: Decoder, reading: Reading, target: int, question: Question, progress: Progress | None
) -> list[float]:
    """What the asking position attends to, averaged over all heads and layers: where the model looks, which is not
    what changes its answer."""
    layers = range(len(network.decoder.blocks))
    place = question.at[0]
    recording = record(network, attention=layers, keep=lambda weights: weights[0, :, place].mean(0).cpu())
    with torch.inference_mode():
        recording.network.read(torch.tensor([reading.tokens[: place + 1]], device=network.device))
    mean = torch.stack([recording.attention[layer] for layer in layers]).mean(0)  # [S]
    return [float(mean[word.tokens.start : word.tokens.stop].sum()) for word in reading.words[:target]]


METHODS: dict[str, Method] = {"blocking": blocking, "leave-one-out": leave_one_out, "attention": attention}


def measure(
    network: Decoder,
    reading: Reading,
    target: int,
    question: Question,
    method: str,
    progress: Progress | None = None,
) -> Measured:
    """The importance of each word before word number `target` by one of METHODS, and the check of it."""
    values = METHODS[method](network, reading, target, question, progress)
    return Measured(tuple(values), check(network, reading, target, question, values))


def check(network: Decoder, reading: Reading, target: int, question: Question, values: Sequence[float]) -> Check | None:
    """Blocks the words ranked highest together, and as many random ones; the asking word takes no part.

    The draws depend on nothing but the number of words, so that they are the same for every method and every run.
    """
    words = [word.tokens for word in reading.words[: target - 1]]
    k = min(CHECKED, len(words) // 2)
    if k == 0:
        return None
    top = sorted(range(len(words)), key=lambda i: -values[i])[:k]
    generator = random.Random(0)
    draws = [generator.sample(range(len(words)), k) for _ in range(DRAWS)]
    variants = [Deaf(blocked=tuple(words[i] for i in sorted(chosen))) for chosen in (top, *draws)]
    top_drop, *drops = _drops(network, reading, question, variants, None)
    return Check(k, tuple(top), top_drop, statistics.fmean(drops), statistics.stdev(drops))


def _drops(
    network: Decoder, reading: Reading, question: Question, variants: Sequence[Deaf], progress: Progress | None
) -> list[float]:
    """By how much each variant lowers the log-odds; the whole text is run along with them."""
    whole, *changed = odds(network, reading.tokens, question, [Deaf(), *variants], progress)
    return [whole - value for value in changed]

"""Context: how far apart a model places one word in different sentences, and whether that tells its senses apart."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from limelight.errors import RequestError
from limelight.models.api import Decoder
from limelight.race.problems import WORDS, Senses, fixed
from limelight.race.texts import Text
from limelight.text.tokenizer import Tokenizer

SENTENCES = 64
"""Of each sense: half to find its middle, half to be told apart."""

LEAST, MOST = 8, 200
"""Places of a word in a text: so many are needed, and no more are looked at."""

BETWEEN = 4
"""Words between what tells a sense and the word."""


@dataclass(frozen=True)
class Sense:
    """A word of two senses under one contender. apart: cosine distance between sentences of different senses, on
    average; within: of the same; right: the share of unseen sentences nearer to the middle of their own sense."""

    contender: str
    word: str
    apart: float
    within: float
    right: float


@dataclass(frozen=True)
class Word:
    """A word of a text under one contender. count: places. apart: cosine distance between two places, on average.
    split: how well they fall into two groups, from −1 to 1 (Rousseeuw, 1987). groups: two places of each, as text."""

    contender: str
    word: str
    count: int
    apart: float
    split: float
    groups: list[list[str]]


@torch.inference_mode()
def senses(contender: str, network: Decoder, problem: Senses) -> list[Sense]:
    """What is found of each of the problem's words."""
    found = []
    for number, word in enumerate(WORDS):
        places = []
        for sense in range(2):
            rows = torch.full((SENTENCES,), number), torch.full((SENTENCES,), sense)
            text = problem.sentences(*rows, BETWEEN, fixed(2 * number + sense))
            places.append(F.normalize(network.read(text[:, :-2])[:, -1].float(), dim=-1))  # [N, W]
        one, two = places
        middles = torch.stack([each[: SENTENCES // 2].mean(0) for each in places])
        nearer = torch.stack([each[SENTENCES // 2 :] @ F.normalize(middles, dim=-1).T for each in places]).argmax(-1)
        right = (nearer == torch.arange(2)[:, None]).float().mean()
        within = (_apart(one) + _apart(two)) / 2
        found.append(Sense(contender, word, float(1 - (one @ two.T).mean()), within, float(right)))
    return found


def places(text: str, word: str) -> list[str]:
    """The text up to each place of a word, as much as a model of text reads.

    Raises RequestError if there are too few.
    """
    ends = [found.end() for found in re.finditer(rf"\b{re.escape(word)}\b", text, re.IGNORECASE)]
    found = [text[end - Text.context : end] for end in ends if end >= Text.context]
    if len(found) < LEAST:
        raise RequestError(f"the text has the word {word!r} {len(found)} times; to compare its places takes {LEAST}")
    return found[:: -(-len(found) // MOST)]


@torch.inference_mode()
def word(contender: str, network: Decoder, tokenizer: Tokenizer, name: str, contexts: Sequence[str]) -> Word:
    """How far apart the places of a word are, and the two groups that they fall into."""
    read = [network.read(torch.tensor([tokenizer.encode(each).ids]))[0, -1].float() for each in contexts]
    vectors = F.normalize(torch.stack(read), dim=-1)
    group, split = two_groups(vectors)
    groups = []
    for which in (0, 1):
        own = (group == which).nonzero()[:, 0]
        central = (vectors[own] @ vectors[own].mean(0)).argsort(descending=True)[:2]
        groups.append([contexts[int(at)] for at in own[central]])
    return Word(contender, name, len(contexts), _apart(vectors), split, groups)


def _apart(vectors: Tensor) -> float:
    """The cosine distance between two of the unit vectors [N, W], on average."""
    n = len(vectors)
    return float(1 - ((vectors @ vectors.T).sum() - n) / (n * (n - 1)))


def two_groups(vectors: Tensor) -> tuple[Tensor, float]:
    """Which of two groups each of the unit vectors [N, W] is in, [N], and the mean silhouette by cosine distance.

    Two means, from the two vectors that are farthest apart.
    """
    far = 1 - vectors @ vectors.T
    middles = vectors[list(divmod(int(far.argmax()), len(vectors)))]
    group = (vectors @ middles.T).argmax(1)
    for _ in range(20):
        if bool((group == group[0]).all()):
            return group, 0.0  # all are alike
        middles = F.normalize(torch.stack([vectors[group == which].mean(0) for which in (0, 1)]), dim=-1)
        group = (vectors @ middles.T).argmax(1)
    same = group[:, None] == group
    own = (far * same).sum(1) / (same.sum(1) - 1).clamp(min=1)
    other = (far * ~same).sum(1) / (~same).sum(1).clamp(min=1)
    alone = same.sum(1) == 1
    silhouette = ((other - own) / torch.maximum(own, other).clamp(min=1e-9)).masked_fill(alone, 0.0)
    return group, float(silhouette.mean())

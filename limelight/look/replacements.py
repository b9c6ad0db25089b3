"""Other words that could stand in a word's place, by which it is replaced to see what it did.

Some of them mean much the same: the nearest in the embeddings among those that the model finds likely there. The others
are the likeliest by the model itself. The ones alone change too little; the others alone often fit only what is in
front.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from limelight.models.api import Network

SEARCHED = 200
"""Of so many likeliest tokens those are taken that could stand in a word's place."""

NEARNESS = 8.0
"""What a cosine of 1 between two embeddings counts beside a log-probability."""

NEAR = frozenset((0, 1, 3, 4))
"""Places among the words that are found at which the nearest come; the likeliest come at all others."""

CHUNK = 4096
"""Rows of an embedding table that are compared at once."""

Ids = list[tuple[int, ...]]

Spell = Callable[[int], str]
"""A token's text; nothing for one that is never part of a text."""


def fitting(network: Network, spell: Spell, own: Sequence[int], scores: Tensor, n: int) -> Ids:
    """At most n tokens that could stand where `own` does, in the order of `NEAR`; scores: [V], the model's for that
    place."""
    likeliest = scores.float().log_softmax(-1).topk(min(SEARCHED, len(scores)))
    text = spell(own[0])
    places = [i for i, id in enumerate(likeliest.indices.tolist()) if id not in own and alike(spell(id), text)]
    if not places:
        return []
    ids, logprobs = likeliest.indices[places].cpu(), likeliest.values[places].cpu()
    fit = logprobs + NEARNESS * _nearness(network.embed, network.device, own, ids)
    by_chance: list[int] = ids.tolist()
    nearest: list[int] = ids[fit.argsort(descending=True)].tolist()
    found: list[int] = []
    for place in range(min(n, len(by_chance))):
        found.append(next(id for id in (nearest if place in NEAR else by_chance) if id not in found))
    return [(id,) for id in found]


def near(embed: nn.Module, vocab: int, device: torch.device, spell: Spell, own: Sequence[int], n: int) -> Ids:
    """At most n of `vocab` tokens that are nearest in the embeddings and could stand where `own` does."""
    parts = [torch.arange(at, min(at + CHUNK, vocab)) for at in range(0, vocab, CHUNK)]
    nearness = torch.cat([_nearness(embed, device, own, part) for part in parts])
    text = spell(own[0])
    nearest: list[int] = nearness.topk(min(SEARCHED, len(nearness))).indices.tolist()
    found: list[int] = [id for id in nearest if id not in own and alike(spell(id), text)]
    return [(id,) for id in found[:n]]


def alike(token: str, own: str) -> bool:
    """Whether a token could stand where another does: it begins a word if that does, with a capital if that does, and
    is made of letters, of digits or of signs as that is."""
    return token != "" and _shape(token) == _shape(own)


def _shape(token: str) -> tuple[bool, bool, bool, bool]:
    bare = token.strip()
    return token[:1].isspace(), bare[:1].isupper(), bare.isalpha(), bare.isnumeric()


def _nearness(embed: nn.Module, device: torch.device, own: Sequence[int], ids: Tensor) -> Tensor:
    """The cosine [n] between the embeddings of tokens [n] and the mean of those of `own`."""
    with torch.inference_mode():
        mean = embed(torch.tensor(list(own), device=device)).float().mean(0)
        return torch.cosine_similarity(embed(ids.to(device)).float(), mean, dim=-1).cpu()

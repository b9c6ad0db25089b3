"""Slow and plain ways to the numbers of looking: one whole forward pass for each text, no cache, no batch."""

from collections.abc import Sequence

import torch

import limelight
from limelight.look.inquiry import REPLACEMENTS
from limelight.look.likely import NEARNESS


def ids_of(model: limelight.Model, text: str) -> list[int]:
    """The text's tokens behind the one that attention rests on."""
    return [model.tokenizer.separator, *model.tokenizer.encode(text).ids]


@torch.inference_mode()
def scores(model: limelight.Model, tokens: Sequence[int], hidden: Sequence[int] = ()) -> torch.Tensor:
    """The logits [T, V] behind each of some tokens when no other position may attend to those at `hidden`."""
    length = len(tokens)
    visible = torch.ones(1, length, length, dtype=torch.bool)
    for place in hidden:
        visible[0, place + 1 :, place] = False
    return model.network(torch.tensor([list(tokens)]), visible=visible)[0]


def said(
    model: limelight.Model, tokens: Sequence[int], answer: int, foil: int | None = None, hidden: Sequence[int] = ()
) -> float:
    """The log-probability of a token behind some tokens, or its log-odds against another."""
    last = scores(model, tokens, hidden)[-1]
    return float(last.log_softmax(-1)[answer] if foil is None else last[answer] - last[foil])


@torch.inference_mode()
def alternatives(model: limelight.Model, tokens: Sequence[int], place: int, n: int = REPLACEMENTS) -> list[int]:
    """What is put in the place of one token: first the nearest in meaning of those that are likely there, half of n,
    then the likeliest others. All but the first three of the tests' tokens are words, of one shape."""
    own = tokens[place]
    likely = scores(model, tokens[:place])[-1].log_softmax(-1).tolist()
    rows = model.network.embed(torch.arange(len(likely)))
    near = torch.cosine_similarity(rows, rows[own], dim=-1).tolist()
    others = sorted((id for id in range(3, len(likely)) if id != own), key=lambda other: -likely[other])
    close = sorted(others, key=lambda other: -(likely[other] + NEARNESS * near[other]))[: (n + 1) // 2]
    return [*close, *(id for id in others if id not in close)][:n]


def by_other(
    model: limelight.Model, tokens: Sequence[int], places: Sequence[int], answer: int, foil: int | None = None
) -> list[float]:
    """What the answer behind the tokens loses when others stand in some places, by each that does."""
    whole = said(model, tokens, answer, foil)
    others = {place: alternatives(model, tokens, place) for place in places}
    falls = []
    for turn in range(max(map(len, others.values()))):
        changed = [others[at][turn % len(others[at])] if at in others else id for at, id in enumerate(tokens)]
        falls.append(whole - said(model, changed, answer, foil))
    return falls


def replaced(
    model: limelight.Model, tokens: Sequence[int], places: Sequence[int], answer: int, foil: int | None = None
) -> float:
    """What the answer loses, by the mildest, when others stand in some places."""
    return min(by_other(model, tokens, places, answer, foil))


def blocked(
    model: limelight.Model, tokens: Sequence[int], places: Sequence[int], answer: int, foil: int | None = None
) -> float:
    """What the answer loses when some places are hidden from all others."""
    return said(model, tokens, answer, foil) - said(model, tokens, answer, foil, places)


def deleted(
    model: limelight.Model, tokens: Sequence[int], places: Sequence[int], answer: int, foil: int | None = None
) -> float:
    """What the answer loses when some places are gone and what follows moves up."""
    kept = [id for at, id in enumerate(tokens) if at not in places]
    return said(model, tokens, answer, foil) - said(model, kept, answer, foil)

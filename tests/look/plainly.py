"""Slow and plain ways to the numbers of looking: one whole forward pass for each text, no cache, no batch."""

from collections.abc import Sequence
from math import exp, log
from statistics import fmean

import torch

import limelight
from limelight.look.inquiry import AGAIN, MORE, REPLACEMENTS
from limelight.look.replacements import NEARNESS


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
def alternatives(model: limelight.Model, tokens: Sequence[int], place: int) -> list[int]:
    """What is put in the place of one token: two that are near in meaning among those that are likely there, the
    likeliest, two near ones more, and then the likeliest. All but the first three of the tests' tokens are words, of
    one shape."""
    own = tokens[place]
    likely = scores(model, tokens[:place])[-1].log_softmax(-1).tolist()
    rows = model.network.embed(torch.arange(len(likely)))
    near = torch.cosine_similarity(rows, rows[own], dim=-1).tolist()
    left = {*range(3, len(likely))} - {own}
    found: list[int] = []
    for turn in range(MORE + AGAIN):
        nearness = NEARNESS if turn in (0, 1, 3, 4) else 0.0
        found.append(max(left, key=lambda other: likely[other] + nearness * near[other]))
        left.remove(found[-1])
    return found


def by_other(
    model: limelight.Model,
    tokens: Sequence[int],
    places: Sequence[int],
    answer: int,
    foil: int | None = None,
    turns: Sequence[int] = range(REPLACEMENTS),
) -> list[float]:
    """What the answer behind the tokens loses when others stand in some places, by each that does."""
    whole = said(model, tokens, answer, foil)
    others = {place: alternatives(model, tokens, place) for place in places}
    changed = ([others[at][turn] if at in others else id for at, id in enumerate(tokens)] for turn in turns)
    return [whole - said(model, each, answer, foil) for each in changed]


def alone(
    model: limelight.Model,
    tokens: Sequence[int],
    place: int,
    answer: int,
    foil: int | None = None,
    others: int = REPLACEMENTS,
) -> float:
    """What the answer loses without one word, on average over so many others."""
    return average(by_other(model, tokens, [place], answer, foil, range(others)))


def checked(
    model: limelight.Model, tokens: Sequence[int], places: Sequence[int], answer: int, foil: int | None = None
) -> float:
    """What the answer loses when some places are taken away to check them."""
    again = by_other(model, tokens, places, answer, foil, range(MORE, MORE + AGAIN))
    return (2 * deleted(model, tokens, places, answer, foil) + fmean(again)) / 3


def replaced(
    model: limelight.Model, tokens: Sequence[int], places: Sequence[int], answer: int, foil: int | None = None
) -> float:
    """What the answer loses, on average, when others stand in some places."""
    return average(by_other(model, tokens, places, answer, foil))


def average(losses: Sequence[float]) -> float:
    """What a logarithm loses when the mean of what it is the logarithm of is taken."""
    return -log(fmean(exp(-loss) for loss in losses))


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

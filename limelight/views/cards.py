"""What the page's cards draw: a few heads of a text that do different things, and the strongest link between any two of
its words."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from limelight.errors import RequestError
from limelight.look.links import attention, by_word
from limelight.look.session import stacked
from limelight.look.view import View
from limelight.views.numbers import Numbers

MOST = 60
"""The most words of a text whose heads are drawn on cards."""


def heads(view: View[Any], toward: Sequence[int] = ()) -> list[Numbers]:
    """The heads of the model that most, on this text: look back, past the word before, at some words ("back"), look at
    the word before ("before"), and rest for want of anything to look at ("rests"). toward: the places of the words that
    are looked back at; all, if none is named. weights: [N][N] over its words. share: how much of a word's attention
    that is, in the mean."""
    found, n = _weights(view), len(view.words)
    back = [place for place in toward if place < n - 2] or range(n)
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "back": partial(_back, back=list(back)),
        "before": _before,
        "rests": _rests,
    }
    chosen = []
    for kind, measure in kinds.items():
        strengths = [measure(weights) for weights in found]
        layer = max(range(len(found)), key=lambda i: float(strengths[i].max()))
        head = int(strengths[layer].argmax())
        share = float(strengths[layer][head])
        rows = found[layer][head].tolist()
        chosen.append({"kind": kind, "layer": layer, "head": head, "share": share, "weights": rows})
    return chosen


def network(view: View[Any]) -> list[list[float]]:
    """How hard each word looks at each other one in the head that looks there hardest: [N][N]."""
    most = _weights(view)[0].amax(0)
    for weights in _weights(view)[1:]:
        most = most.maximum(weights.amax(0))
    found: list[list[float]] = most.tolist()
    return found


def _weights(view: View[Any]) -> list[Tensor]:
    """Attention over words of each layer: [H, N, N]."""
    if len(view.words) > MOST:
        raise RequestError(f"the text has {len(view.words)} words; a card has room for {MOST}: shorten the text")
    session = stacked(view.session)

    def measure() -> list[Tensor]:
        layers = range(len(session.stack.blocks))
        return attention(session, layers, lambda weights: by_word(weights, view.reading).cpu())

    return session.once(("by word",), measure)


def _back(weights: Tensor, back: list[int]) -> Tensor:
    n = weights.shape[-1]
    return weights.tril(-2)[..., back].amax(-1).sum(-1) / max(1, n - 2)


def _before(weights: Tensor) -> Tensor:
    n = weights.shape[-1]
    return weights.diagonal(-1, -2, -1).sum(-1) / max(1, n - 1)


def _rests(weights: Tensor) -> Tensor:
    return 1 - weights.sum(-1).mean(-1)

"""What if: a twin of the model with parts switched off, and what that changes.

The twin shares all weights with the model, which goes on as it was. A head that is switched off still looks; what it
heard is not passed on (Michel et al., 2019). A layer that is switched off lets the stream through as it came. Instead
of nothing, what is off may put out what it does on average.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from limelight import given
from limelight.errors import RequestError
from limelight.look.means import Means, fitting
from limelight.look.parts import change
from limelight.look.record import block_of, stack_of, twin
from limelight.models.api import Decoder
from limelight.nn.positions import NoPositions, NoRotary

if TYPE_CHECKING:
    from limelight.look.answer import Heard
    from limelight.look.seen import Seen

DEEP = 1000
"""How many of the likeliest next words are searched for one that the other side likes."""


def edit(
    network: Decoder,
    *,
    heads_off: Iterable[tuple[int, int]] = (),
    layers_off: Iterable[int] = (),
    attention_off: Iterable[int] = (),
    feedforward_off: Iterable[int] = (),
    positions: bool = True,
    means: Means | None = None,
) -> Decoder:
    """A twin of `network` without some heads, given as (layer, head), without some layers or their attention or
    feed-forward alone, or without positions.

    means: what stands in the place of what is off, everywhere; nothing (zero) if None. Without positions nothing is
    turned or added, and only the mask tells what came first: a word sees those before it as a heap. Raises RequestError
    for a layer or head that does not exist, and for a recurrent model.
    """
    other = twin(network)
    stack = stack_of(other)
    if means is not None:
        fitting(means, network)
    off: dict[int, set[int]] = {}
    for number, pair in given.many("heads_off", heads_off, "pairs (layer, head)"):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise RequestError(f"part {number} of heads_off is {given.shown(pair)}; it must be a pair (layer, head)")
        layer, head = pair
        block_of(other, layer, head)
        off.setdefault(layer, set()).add(head)
    for layer, heads in off.items():
        block = block_of(other, layer)
        change(block, "heads", _without(heads, block.attention.head_width, _mean(means, "heads", layer)))
    for part, layers in (("attention", attention_off), ("feedforward", feedforward_off)):
        for _, layer in given.many(f"{part}_off", layers, "layers"):
            block = block_of(other, layer)
            change(block, part, torch.zeros_like if means is None else _like(means.of[part][layer]))
    for _, layer in given.many("layers_off", layers_off, "layers"):
        block = block_of(other, layer)
        added = None if means is None else means.of["residual"][layer + 1] - means.of["residual"][layer]
        block.register_forward_hook(_as_it_came(added))
    if not positions:
        stack.embeddings.positions = NoPositions()
        for layer in range(len(stack.blocks)):
            block_of(other, layer).attention.rotary = NoRotary()
    return other


@dataclass(frozen=True)
class Change:
    """What something was before and is after; None where it is missing on that side."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Comparison:
    """Two texts, or one text and two models, side by side.

    next_words: tokens and their probabilities, those that either side likes best; None is below the `DEEP` likeliest
    of that side. importance: the words before the one in question; a word that stands on one side only is None on the
    other, and one that stands where another did is named "before → after".
    """

    next_words: tuple[Change, ...]
    importance: tuple[Change, ...]


def compare(before: "Seen", after: "Seen", word: str | int | None = None, n: int = 10) -> Comparison:
    """The next words and the importance of each word for `word` (the last one if None) on two sides.

    Raises RequestError if a side has no such word, or nothing in front of it.
    """
    sides = [dict(seen.next_words(DEEP)) for seen in (before, after)]
    liked = dict.fromkeys(token for side in sides for token in list(side)[:n])
    next_words = (Change(token, *(side.get(token) for side in sides)) for token in liked)
    heard = [seen.importance(word, check=False).words for seen in (before, after)]
    return Comparison(tuple(next_words), tuple(_aligned(*heard)))


def _aligned(before: Sequence["Heard"], after: Sequence["Heard"]) -> Iterator[Change]:
    """Words side by side: by their places if there are as many, else equal words, and between them what is left."""
    matcher = SequenceMatcher(None, [h.word for h in before], [h.word for h in after], autojunk=False)
    parts = [("", 0, len(before), 0, len(after))] if len(before) == len(after) else matcher.get_opcodes()
    for _, a, b, c, d in parts:
        for old, new in zip_longest(before[a:b], after[c:d]):
            present = [heard for heard in (old, new) if heard is not None]
            name = " → ".join(dict.fromkeys(heard.word for heard in present))
            yield Change(name, *(None if heard is None else heard.importance for heard in (old, new)))


def _mean(means: Means | None, part: str, layer: int) -> Tensor | None:
    return None if means is None else means.of[part][layer]


def _without(heads: Collection[int], width: int, mean: Tensor | None) -> Callable[[Tensor], Tensor]:
    """What the heads heard, [B, T, H · D], with nothing or the mean [H · D] in the place of some."""
    columns = torch.tensor([head * width + i for head in sorted(heads) for i in range(width)])

    def without(made: Tensor) -> Tensor:
        made = made.clone()
        made[..., columns] = 0 if mean is None else mean[columns].to(made)
        return made

    return without


def _like(mean: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda made: mean.to(made).expand_as(made)


def _as_it_came(added: Tensor | None) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    """A hook behind a layer: the stream as it was in front of it, or with what the layer adds on average, [W]."""

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return inputs[0] if added is None else inputs[0] + added.to(output)

    return hook

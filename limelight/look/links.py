"""Single heads that link one word to another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from limelight.look.record import block_of, heads_of, in_rows, record, twin
from limelight.look.session import CausalSession, DecoderSession, StackSession
from limelight.look.text import Reading
from limelight.text.words import Word

T = TypeVar("T")

KEPT = 1 << 23
"""The most shares of attention, over all layers, that are kept until links are looked for in them."""

ATTENTION = "attention"
"""What it is kept by."""

TELLING = 0.1
"""The least share of attention by which a head says something about a word."""


@dataclass(frozen=True)
class Link:
    """One head's attention from one word to another: `weight` from 0 to 1; layer and head count from 0; source and
    target are places in the text's words."""

    layer: int
    head: int
    source: int
    target: int
    weight: float


def by_word(
    weights: Tensor, reading: Reading, sources: Sequence[int] | None = None, targets: Sequence[int] | None = None
) -> Tensor:
    """Attention over tokens [.., T, T] as attention over words [.., N, N], or from some words to some.

    A word's row is the mean of its tokens' rows, and what goes to a word is the sum of what goes to its tokens. Tokens
    that belong to no word have no place here, so that rows may sum to less than one.
    """
    asking, heard = ([w.tokens for w in _chosen(reading.words, places)] for places in (sources, targets))
    for dim, spans in sorted(((-2, asking), (-1, heard)), key=lambda side: len(side[1])):  # the few first
        weights = _summed(weights, dim, spans)
    return weights / torch.tensor([len(span) for span in asking], device=weights.device)[:, None]


def _chosen(words: Sequence[Word], places: Sequence[int] | None) -> Sequence[Word]:
    return words if places is None else [words[place] for place in places]


def _summed(weights: Tensor, dim: int, spans: Sequence[range]) -> Tensor:
    """The sum over each of the spans along one dimension, which then has as many places as there are spans."""
    device = weights.device
    tokens, owners = _members(spans, device)
    shape = list(weights.shape)
    shape[dim] = len(spans)
    return weights.new_zeros(shape).index_add_(dim, owners, weights.index_select(dim, tokens))


def _members(spans: Sequence[range], device: torch.device) -> tuple[Tensor, Tensor]:
    """All tokens of the spans, and the number of the span that each is in."""
    members = [[token for span in spans for token in span], [i for i, span in enumerate(spans) for _ in span]]
    tokens, owners = torch.tensor(members, dtype=torch.int64, device=device)
    return tokens, owners


@torch.inference_mode()
def attention(session: StackSession, layers: Sequence[int], keep: Callable[[Tensor], T]) -> list[T]:
    """What `keep` makes of each layer's attention over tokens, [H, T, T] in float32, from one reading."""
    recording = record(session.network, attention=layers, keep=lambda weights: keep(weights[0]))
    session.read(recording.network)
    return [recording.attention[layer] for layer in layers]


def keepable(session: DecoderSession) -> bool:
    """Whether a text is so short that all attention can be kept from the reading that gives its hidden states."""
    layers = range(len(session.stack.blocks))
    return sum(heads_of(session.network, layer) for layer in layers) * len(session.tokens) ** 2 <= KEPT


def keep(session: DecoderSession, weights: list[Tensor], hidden: Tensor) -> None:
    """Keeps what was read of a text: each layer's attention [H, T, T] for `behind`, and its hidden states [T, W]."""
    session.once(ATTENTION, lambda: weights)
    vars(session).setdefault("hidden", hidden)


@torch.inference_mode()
def read(session: DecoderSession) -> None:
    """Reads a text and keeps its attention, where it is `keepable`."""
    if keepable(session) and "hidden" not in vars(session):
        recording = record(session.network, attention=range(len(session.stack.blocks)), keep=lambda weights: weights[0])
        hidden = session.read(recording.network)
        keep(session, list(recording.attention.values()), hidden[0])


def strongest(
    session: StackSession, reading: Reading, sources: Sequence[int], targets: Sequence[int], n: int, apart: int = 1
) -> list[Link]:
    """The n strongest links of single heads from one of the words `sources` to one of `targets`, strongest first.

    apart: words that must at least lie between being the same (0), neighbours (1) and so on; heads that always look
    at the word before would fill the list otherwise.
    """
    return _best(_totals(session, reading, sources, targets), sources, targets, n, apart, session.causal)


def behind(
    session: StackSession, reading: Reading, place: int, heard: Sequence[int], n: int
) -> tuple[list[Link], Link | None]:
    """What heads do for the word at `place`, before which the words `heard` mattered, from one reading of the text.

    The n strongest links between words before it to one of those, neighbours left out; and the telling one: from the
    word that asks, right before `place`, to the first of `heard` that some head looks at by `TELLING`; if there is
    none, the strongest of all.
    """
    sources = range(place)
    totals = _totals(session, reading, sources, heard)
    links = _best(totals, sources, heard, n, 2)
    asking = [total[:, -1:] for total in totals]
    each = [_best([total[..., i : i + 1] for total in asking], sources[-1:], [to], 1, 1) for i, to in enumerate(heard)]
    telling = [link for found in each for link in found if link.weight >= TELLING]
    return links, next(iter(telling or links or _best(asking, sources[-1:], heard, 1, 0)), None)


@torch.inference_mode()
def _totals(session: StackSession, reading: Reading, sources: Sequence[int], targets: Sequence[int]) -> list[Tensor]:
    """How much the words `sources` look at `targets`: [H, sources, targets] for each layer."""
    network = session.network
    asking, heard = ([reading.words[place].tokens for place in places] for places in (sources, targets))
    tokens, owners = _members(asking, network.device)
    spread = torch.tensor([len(span) for span in asking], device=network.device)[:, None]

    def into(total: Tensor, start: int, weights: Tensor) -> None:
        stop = start + weights.shape[2]
        here = (tokens >= start) & (tokens < stop)
        if not here.any():
            return
        keys = weights.shape[3]
        seen = [range(min(span.start, keys), min(span.stop, keys)) for span in heard]
        total.index_add_(1, owners[here], _summed(weights[0][:, tokens[here] - start], -1, seen))

    layers = range(len(session.stack.blocks))
    totals = [
        torch.zeros(heads_of(network, layer), len(sources), len(targets), device=network.device) for layer in layers
    ]
    if isinstance(session, CausalSession):
        session = session.front(max(span.stop for span in (*asking, *heard)))
    if (known := session.forget(ATTENTION)) is not None:
        for total, weights in zip(totals, known, strict=True):
            into(total, 0, weights[None])
    else:
        watched = twin(network)
        for layer, total in zip(layers, totals, strict=True):
            part = block_of(watched, layer).attention
            part.core = partial(in_rows, part.weigh, partial(into, total), causal=session.causal)
        hidden = session.read(watched)
        if isinstance(session, CausalSession):
            vars(session).setdefault("hidden", hidden[0])  # it need not be read for that alone
    return [(total / spread).cpu() for total in totals]


def _best(
    totals: Sequence[Tensor], sources: Sequence[int], targets: Sequence[int], n: int, apart: int, causal: bool = True
) -> list[Link]:
    """The n largest of `_totals` between words that are so far apart, largest first; if `causal`, back to front."""
    ahead = torch.tensor([[source - target for target in targets] for source in sources])
    wanted = (ahead if causal else ahead.abs()) >= apart
    if not wanted.any():
        return []
    links = []
    for layer, total in enumerate(totals):
        found = total.masked_fill(~wanted, -1)
        values, places = found.flatten().topk(min(n, found.numel()))
        for value, at in zip(values.tolist(), places.tolist(), strict=True):
            head, rest = divmod(at, wanted.numel())
            row, column = divmod(rest, len(targets))
            if value >= 0:
                links.append(Link(layer, head, sources[row], targets[column], value))
    return sorted(links, key=lambda link: -link.weight)[:n]

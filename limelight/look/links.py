"""Single heads that link one word to another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from limelight.look.record import record
from limelight.look.text import Reading
from limelight.models.api import Decoder


@dataclass(frozen=True)
class Link:
    """One head's attention from one word to another: `weight` from 0 to 1; layer and head count from 0; source and
    target are places in the text's words."""

    layer: int
    head: int
    source: int
    target: int
    weight: float


def by_word(weights: Tensor, reading: Reading) -> Tensor:
    """Attention over tokens [.., T, T] as attention over words [.., N, N].

    A word's row is the mean of its tokens' rows, and what goes to a word is the sum of what goes to its tokens. Tokens
    that belong to no word have no place here, so that rows may sum to less than one.
    """
    member = torch.zeros(len(reading.words), weights.shape[-1], device=weights.device)  # [N, T]
    for i, word in enumerate(reading.words):
        member[i, word.tokens.start : word.tokens.stop] = 1
    asking = member / member.sum(-1, keepdim=True)
    return asking @ weights @ member.T


@torch.inference_mode()
def attention(network: Decoder, reading: Reading, layer: int) -> Tensor:
    """All heads' attention over tokens in one layer: [H, T, T] in float32."""
    recording = record(network, attention=[layer])
    recording.network.read(torch.tensor([reading.tokens], device=network.device))
    weights: Tensor = recording.attention[layer][0].cpu()
    return weights


@torch.inference_mode()
def strongest(
    network: Decoder, reading: Reading, sources: Sequence[int], targets: Sequence[int], n: int, apart: int = 1
) -> list[Link]:
    """The n strongest links of single heads from one of the words `sources` to one of `targets`, strongest first.

    apart: words that must at least lie between being the same (0), neighbours (1) and so on; heads that always look
    at the word before would fill the list otherwise.
    """
    wanted = torch.zeros(len(reading.words), len(reading.words), dtype=torch.bool)
    for source in sources:
        for target in targets:
            wanted[source, target] = source - target >= apart
    if not wanted.any():
        return []

    def keep(weights: Tensor) -> list[tuple[float, int, int, int]]:
        words = by_word(weights[0], reading).cpu().masked_fill(~wanted, -1)  # [H, N, N]
        values, places = words.flatten().topk(min(n, words.numel()))
        found: Iterable[tuple[float, int]] = zip(values.tolist(), places.tolist(), strict=True)
        return [(value, *_unravel(place, len(reading.words))) for value, place in found if value >= 0]

    layers = range(len(network.decoder.blocks))
    recording = record(network, attention=layers, keep=keep)
    recording.network.read(torch.tensor([reading.tokens], device=network.device))
    links = [
        Link(layer, head, source, target, value)
        for layer in layers
        for value, head, source, target in recording.attention[layer]
    ]
    return sorted(links, key=lambda link: -link.weight)[:n]


def _unravel(place: int, words: int) -> tuple[int, int, int]:
    return place // (words * words), place // words % words, place % words

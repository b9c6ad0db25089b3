"""The logit lens: what each layer would have said next, were it the last one (nostalgebraist, 2020).

The stream behind a layer goes through the model's own final norm and head. Early layers were not trained to be read
like that, so what they seem to say is a hint; what the last one says is the model's own answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limelight.look.record import stream_of, twin
from limelight.look.session import Progress
from limelight.look.text import Reading
from limelight.models.api import Decoder
from limelight.text.tokenizer import Tokenizer

ROOM = 1 << 22
"""The most logits in memory at once, so that it does not grow with the text or with the number of layers."""


@dataclass(frozen=True)
class Guess:
    """What one layer would say at one place.

    top: the likeliest tokens and their probabilities. entropy: of all probabilities, in nats (0: certain). rank,
    probability: those of the token that really follows, 1 being the likeliest; None behind the last token.
    """

    top: tuple[tuple[str, float], ...]
    entropy: float
    rank: int | None
    probability: float | None


@dataclass(frozen=True)
class Lens:
    """What each layer would say behind each of n tokens.

    read: [n] those tokens. following: [n] what really follows, None behind the text's last token. layers: [L][n].
    """

    read: tuple[str, ...]
    following: tuple[str | None, ...]
    layers: tuple[tuple[Guess, ...], ...]


@torch.inference_mode()
def lens(
    network: Decoder, tokenizer: Tokenizer, reading: Reading, places: range, n: int, progress: Progress | None = None
) -> Lens:
    """What each layer would say behind the tokens at `places`, n tokens each.

    Never more than `ROOM` logits are held at once. progress: called with the number of guesses done and in all.
    Raises RequestError for a recurrent model.
    """
    other, names = twin(network), _Names(tokenizer)
    stack = stream_of(other)
    following = [reading.tokens[place + 1] if place + 1 < len(reading.tokens) else None for place in places]
    rows = max(1, ROOM // network.vocab)
    waiting: list[Tensor] = []  # streams [W], layer by layer: the head is costly to call for a few of them
    found: list[Guess] = []

    def guess() -> None:
        logits = network.logits(stack.norm(torch.stack(waiting)))
        asked = [following[i % len(places)] for i in range(len(found), len(found) + len(waiting))]
        found.extend(_guesses(logits, asked, n, names))
        waiting.clear()
        if progress is not None:
            progress(len(found), len(places) * len(stack.blocks))

    def look(module: nn.Module, inputs: object, stream: Tensor) -> None:
        for place in places:
            waiting.append(stream[0, place].clone())
            if len(waiting) == rows:
                guess()

    for block in stack.blocks:
        block.register_forward_hook(look)
    other.read(torch.tensor([reading.tokens[: places.stop]], device=network.device))
    if waiting:
        guess()
    grid = tuple(tuple(found[start : start + len(places)]) for start in range(0, len(found), len(places)))
    read = tuple(names[reading.tokens[place]] for place in places)
    return Lens(read, tuple(None if id is None else names[id] for id in following), grid)


class _Names(dict[int, str]):
    """Token ids as text, each made once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer

    def __missing__(self, id: int) -> str:
        self[id] = self._tokenizer.spell(id)
        return self[id]


def _guesses(logits: Tensor, following: Sequence[int | None], n: int, names: _Names) -> Iterator[Guess]:
    """logits: [n, V]; following: [n] the tokens that really come next."""
    scores = logits.log_softmax(-1)
    entropies = -(scores.exp() * scores).sum(-1)
    values, ids = scores.topk(min(n, scores.shape[-1]))
    for row, actual in enumerate(following):
        top = tuple(zip((names[id] for id in ids[row].tolist()), values[row].exp().tolist(), strict=True))
        entropy = float(entropies[row])
        if actual is None:
            yield Guess(top, entropy, None, None)
        else:
            own = scores[row, actual]
            yield Guess(top, entropy, int((scores[row] > own).sum()) + 1, float(own.exp()))

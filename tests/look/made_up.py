"""A text whose answer loses what a test says it does: no model, so that each rule of looking can be shown alone."""

from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

from limelight.look.inquiry import AGAIN, MORE, Inquiry
from limelight.look.question import GivenWord, Question
from limelight.look.session import Session, Variant

OTHERS = 1000
"""The first of the tokens that could stand in a word's place."""

Lost = Callable[[str, frozenset[int], int], float]
"""``lost(way, places, turn)``: what the answer loses without the words at some places; turn: which of the likely others
stand there, counted from 0."""


class MadeUp(Session):
    """`words`, each one token, and the one in question behind them. asked: all that was taken away, in its order."""

    network: None
    kind = "no model"
    questions = (GivenWord,)

    def __init__(self, words: Sequence[str], lost: Lost, *, blocks: bool = True, others: int = MORE + AGAIN) -> None:
        super().__init__(None, range(len(words) + 1), lambda token: [*words, "said"][token])  # type: ignore[arg-type]
        self.blocks = blocks
        self.asked: list[tuple[str, frozenset[int]]] = []
        self._lost, self._others = lost, others

    def _values(self, question: Question, variants: Sequence[Variant]) -> Tensor:
        return torch.tensor([-self._loss(variant) for variant in variants], dtype=torch.float64)

    def _loss(self, variant: Variant) -> float:
        spans = [*variant.blocked, *variant.left_out, *(span for span, _ in variant.replaced)]
        places = frozenset(place for span in spans for place in span)
        if not places:
            return 0.0
        way = "replaced" if variant.replaced else "blocked" if variant.blocked else "deleted"
        turn = variant.replaced[0][1][0] - OTHERS if variant.replaced else 0
        self.asked.append((way, places))
        return self._lost(way, places, turn)

    def likely(self, span: range, n: int) -> list[tuple[int, ...]]:
        return [(OTHERS + turn,) for turn in range(min(n, self._others))]


def inquiry(session: MadeUp) -> Inquiry:
    """What is asked of such a text: its last token, from the word in front of it."""
    words = len(session.tokens) - 1
    return Inquiry(session, GivenWord((words - 1,), (0,)), tuple(range(i, i + 1) for i in range(words)))


def text(n: int) -> list[str]:
    """So many different words."""
    return [f"w{i}" for i in range(n)]


def added(worth: Mapping[int, float] | Sequence[float], places: Collection[int]) -> float:
    """What words are worth together that do nothing to one another."""
    values = worth if isinstance(worth, Mapping) else dict(enumerate(worth))
    return sum(values.get(place, 0.0) for place in places)

"""Who runs: each model at the same number of parameters."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from limelight.errors import ConfigError, RequestError, suggestion
from limelight.models import config as c
from limelight.models import gpt, mamba, recurrent, units
from limelight.models.presets import count

LAYERS = 2
HEADS = 4
USUAL = 32  # values that each feature of a state-space model keeps
EQUAL = 0.02
"""The share by which the parameters of contenders may differ from what was asked for."""

Make = Callable[[int, int, int, int], c.ModelConfig]
"""From vocab, context, width, and how much wider than usual to be inside: a little at a time, where width is coarse."""


@dataclass(frozen=True)
class Contender:
    """A kind of model. step: widths are multiples of it."""

    name: str
    title: str
    make: Make
    recurrent: bool
    step: int = 1

    def fit(self, vocab: int, context: int, parameters: int) -> c.ModelConfig:
        """The config whose parameters, embeddings counted, are nearest to `parameters`.

        Raises RequestError if the nearest is more than EQUAL away.
        """

        def sized(width: int, more: int = 0) -> c.ModelConfig:
            return self.make(vocab, context, width, more)

        width = self.step
        while count(sized(width + self.step)) <= parameters:
            width += self.step
        near = []
        for each in (width, width + self.step):
            usual, wider = count(sized(each)), count(sized(each, 1))
            more = round((parameters - usual) / (wider - usual)) if wider > usual else 0
            near += [sized(each), sized(each, max(more, 1 - USUAL))]
        best = min(near, key=lambda config: abs(count(config) - parameters))
        if abs(count(best) / parameters - 1) > EQUAL:
            raise RequestError(
                f"{self.name} cannot have {parameters:,} parameters with a vocabulary of {vocab:,}; the nearest is"
                f" {count(best):,}. Ask for more parameters"
            )
        return best


def _cells(cell: recurrent.Cell) -> Make:
    def make(vocab: int, context: int, width: int, more: int) -> c.ModelConfig:
        return recurrent.language_model(
            cell=cell, vocab=vocab, context=context, layers=LAYERS, width=width, dropout=0.0
        )

    return make


def _transformer(make: Callable[..., c.ModelConfig]) -> Make:
    def wider(vocab: int, context: int, width: int, more: int) -> c.ModelConfig:
        config = make(vocab=vocab, context=context, layers=LAYERS, width=width, heads=HEADS, dropout=0.0)
        stack = config.transformer
        feedforward = stack.blocks[0].feedforward
        assert isinstance(feedforward, c.FeedForward | c.GatedFeedForward)
        feedforward = dataclasses.replace(feedforward, hidden=feedforward.hidden + more)
        blocks = tuple(dataclasses.replace(block, feedforward=feedforward) for block in stack.blocks)
        return dataclasses.replace(config, decoder=dataclasses.replace(stack, blocks=blocks))

    return wider


def _mamba2(vocab: int, context: int, width: int, more: int) -> c.ModelConfig:
    """Heads of 16. Its short convolution is part of it; without one it learns none of the problems."""
    norm = c.RMSNorm(1e-5)
    unit = units.Mamba2(inner=2 * width, size=USUAL + more, units=2 * width // 16, groups=1, conv=4, norm=norm)
    return mamba.model("mamba2", unit, vocab=vocab, width=width, layers=LAYERS, eps=1e-5, tied=True)


CONTENDERS = {
    each.name: each
    for each in (
        Contender("rnn", "Elman network (1990)", _cells("rnn"), recurrent=True),
        Contender("gru", "GRU (2014)", _cells("gru"), recurrent=True),
        Contender("lstm", "LSTM (1997)", _cells("lstm"), recurrent=True),
        Contender("mamba2", "Mamba-2 (2024)", _mamba2, recurrent=True, step=8),
        Contender("gpt", "Transformer decoder as in GPT-2 (2019)", _transformer(gpt.gpt), False, 2 * HEADS),
        Contender("transformer", "Transformer decoder as in Llama (2023)", _transformer(gpt.modern), False, 2 * HEADS),
    )
}


def contenders(names: tuple[str, ...]) -> list[Contender]:
    """Those of the names, in that order. Raises ConfigError for an unknown or repeated name, and for fewer than two."""
    for name in names:
        if name not in CONTENDERS:
            known = ", ".join(CONTENDERS)
            raise ConfigError(f"there is no contender {name!r}{suggestion(name, CONTENDERS)}; there are {known}")
        if names.count(name) > 1:
            raise ConfigError(f"{name} is named twice; each contender runs once")
    if len(names) < 2:
        raise ConfigError("a race needs at least two contenders")
    return [CONTENDERS[name] for name in names]

"""Who runs: each model at the same number of parameters."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

from limelight.errors import ConfigError, RequestError, suggestion
from limelight.models import config as c
from limelight.models import gpt, qwen3_5, recurrent, rwkv7, ssm, units
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.presets import count

LAYERS = 2
HEADS = 4
USUAL = 32  # values that each feature of a state-space model keeps
EQUAL = 0.02
"""The share by which the parameters of contenders may differ from what was asked for."""

Make = Callable[[int, int, int, int, int], c.ModelConfig]
"""From vocab, context, width, heads of attention, and how much wider than usual to be inside: a little at a time, where
width is coarse."""


Kind = Literal["word by word", "word by word, looking back", "all at once"]
"""What it keeps of a text: a state of fixed size, such a state and all words, or all words."""


@dataclass(frozen=True)
class Contender:
    """A kind of model. step: widths are multiples of it. fair: in what form it runs."""

    name: str
    title: str
    make: Make
    kind: Kind
    fair: str
    step: int = 1

    @cache  # noqa: B019 (the contenders are never gone; a race asks again and again for the same few sizes)
    def fit(self, vocab: int, context: int, parameters: int, heads: int = HEADS) -> c.ModelConfig:
        """The config whose parameters, embeddings counted, are nearest to `parameters`.

        Raises RequestError if the nearest is more than EQUAL away.
        """
        config, nearest = self._nearest(vocab, context, heads, parameters, count)
        if abs(nearest / parameters - 1) > EQUAL:
            raise RequestError(
                f"{self.name} cannot have {parameters:,} parameters with a vocabulary of {vocab:,}; the nearest is"
                f" {nearest:,}. Ask for more parameters"
            )
        return config

    def keeping(self, vocab: int, context: int, numbers: int, length: int, heads: int = HEADS) -> c.ModelConfig:
        """The config that keeps as many numbers of a text of `length` tokens, or as near to that as may be.

        Raises RequestError if the nearest is more than EQUAL away.
        """
        config, nearest = self._nearest(vocab, context, heads, numbers, lambda config: kept(config, length))
        if abs(nearest / numbers - 1) > EQUAL:
            raise RequestError(
                f"{self.name} cannot keep {numbers:,} numbers of {length:,} tokens; the nearest is {nearest:,}"
            )
        return config

    def _nearest(
        self, vocab: int, context: int, heads: int, size: int, measure: Callable[[c.ModelConfig], int]
    ) -> tuple[c.ModelConfig, int]:
        """The config whose measure is nearest to `size`, and that measure."""

        @cache
        def counted(width: int, more: int = 0) -> int:
            return measure(self.make(vocab, context, width, heads, more))

        low, high = 1, 2  # steps, by halves between them
        while counted(high * self.step) <= size:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if counted(middle * self.step) <= size else (low, middle)
        width = low * self.step
        near = []
        for each in (width, width + self.step):
            usual, wider = counted(each), counted(each, 1)
            more = round((size - usual) / (wider - usual)) if wider > usual else 0
            near += [(each, 0), (each, max(more, 1 - min(each, USUAL)))]
        best = min(near, key=lambda found: abs(counted(*found) - size))
        return self.make(vocab, context, best[0], heads, best[1]), counted(*best)


def kept(config: c.ModelConfig, length: int) -> int:
    """Numbers that a network of the config keeps of a text of `length` tokens."""
    network = build(config, "meta")
    assert isinstance(network, Decoder)
    return sum(part.nbytes for part in network.start(1, length).parts) // 4


def _cells(cell: recurrent.Cell) -> Make:
    def make(vocab: int, context: int, width: int, heads: int, more: int) -> c.ModelConfig:
        return recurrent.language_model(
            cell=cell, vocab=vocab, context=context, layers=LAYERS, width=width, dropout=0.0
        )

    return make


def _listening(vocab: int, context: int, width: int, heads: int, more: int) -> c.ModelConfig:
    inner = width + more
    return recurrent.listening(
        cell="lstm", vocab=vocab, context=context, layers=LAYERS, width=width, inner=inner, dropout=0.0
    )


def _mingru(vocab: int, context: int, width: int, heads: int, more: int) -> c.ModelConfig:
    hidden = 2 * width + USUAL + more
    return recurrent.minimal(vocab=vocab, context=context, layers=LAYERS, width=width, hidden=hidden, dropout=0.0)


def _delta(vocab: int, context: int, width: int, heads: int, more: int) -> c.ModelConfig:
    """Heads of 16, whose values are twice as wide."""
    config = qwen3_5.language_model(vocab=vocab, context=context, layers=LAYERS, width=width, dropout=0.0)
    norm = c.RMSNorm(1e-6)
    unit = units.GatedDelta(keys=width // 16, asking_width=16, units=width // 16, unit_width=32, conv=4, norm=norm)
    return _widened(config.with_blocks(lambda i, block: dataclasses.replace(block, attention=unit)), more)


def _transformer(make: Callable[..., c.ModelConfig]) -> Make:
    def wider(vocab: int, context: int, width: int, heads: int, more: int) -> c.ModelConfig:
        config = make(vocab=vocab, context=context, layers=LAYERS, width=width, heads=heads, dropout=0.0)
        return _widened(config, more)

    return wider


def _widened(config: c.ModelConfig, more: int) -> c.ModelConfig:
    """With feed-forwards that are so much wider."""
    feedforward = config.transformer.blocks[0].feedforward
    assert isinstance(feedforward, c.FeedForward | c.GatedFeedForward)
    feedforward = dataclasses.replace(feedforward, hidden=feedforward.hidden + more)
    return config.with_blocks(lambda i, block: dataclasses.replace(block, feedforward=feedforward))


def _mamba2(vocab: int, context: int, width: int, heads: int, more: int) -> c.ModelConfig:
    """Heads of 16. Its short convolution is part of it; without one it learns none of the problems."""
    norm = c.RMSNorm(1e-5)
    unit = units.Mamba2(inner=2 * width, size=USUAL + more, units=2 * width // 16, groups=1, conv=4, norm=norm)
    return ssm.model("mamba2", unit, vocab=vocab, width=width, layers=LAYERS, eps=1e-5, tied=True)


def _rwkv7(vocab: int, context: int, width: int, heads: int, more: int) -> c.ModelConfig:
    """Heads of 16."""
    sizes = {"vocab": vocab, "context": context, "layers": LAYERS, "width": width, "wide": 16}
    return _widened(rwkv7.language_model(**sizes, dropout=0.0), more)


KERNEL = "torch's fused kernel, word by word as it must"
PLAIN = "plain torch; its parallel form reads chunks at once, and some kernels elsewhere are far quicker"
FUSED = "torch's fused attention, all words at once"

CONTENDERS = {
    each.name: each
    for each in (
        Contender("rnn", "Elman network (1990)", _cells("rnn"), "word by word", KERNEL),
        Contender("gru", "GRU (2014)", _cells("gru"), "word by word", KERNEL),
        Contender("lstm", "LSTM (1997)", _cells("lstm"), "word by word", KERNEL),
        Contender(
            "lstm+attention",
            "LSTM with attention to its past (2016)",
            _listening,
            "word by word, looking back",
            f"{KERNEL}; then one layer of attention",
        ),
        Contender(
            "mingru",
            "Minimal GRU (2024)",
            _mingru,
            "word by word",
            "plain torch; a scan in pieces reads all words, and writes one by one; no short convolution",
        ),
        Contender(
            "mamba2", "Mamba-2 (2024)", _mamba2, "word by word", f"{PLAIN}; with its own short convolution", step=8
        ),
        Contender(
            "delta",
            "Gated delta net (2025)",
            _delta,
            "word by word",
            f"{PLAIN}; with its own short convolution",
            step=16,
        ),
        Contender(
            "rwkv7",
            "RWKV-7 (2025)",
            _rwkv7,
            "word by word",
            f"{PLAIN}; it reads each word beside the one before",
            step=16,
        ),
        Contender(
            "gpt", "Transformer decoder as in GPT-2 (2019)", _transformer(gpt.gpt), "all at once", FUSED, 2 * HEADS
        ),
        Contender(
            "transformer",
            "Transformer decoder as in Llama (2023)",
            _transformer(gpt.modern),
            "all at once",
            FUSED,
            2 * HEADS,
        ),
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

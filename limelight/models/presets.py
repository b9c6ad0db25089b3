"""The models that can be trained from nothing, by name."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from limelight.errors import ConfigError, suggestion
from limelight.models import config as c
from limelight.models import gpt, mamba, mamba2, qwen3_5, recurrent, rwkv7, transformer2017
from limelight.models.build import build

Make = Callable[..., c.ModelConfig]


@dataclass(frozen=True)
class Preset:
    """A model by name, before the data is known.

    make: called with vocab, context, width and dropout, and a translator's with source_vocab, to give a config.
    translates: whether it reads one text and writes another, or continues one. width must be a multiple of `step`.
    """

    make: Make
    translates: bool
    width: int
    context: int
    dropout: float
    step: int = 8


def _transformer(make: Make, layers: int, width: int, heads: int, hidden: int, dropout: float) -> Preset:
    shaped = partial(make, layers=layers, heads=heads, hidden=hidden)
    return Preset(shaped, True, width, 512, dropout, 2 * heads)


def _gpt(make: Make, layers: int, width: int, heads: int, context: int, dropout: float) -> Preset:
    return Preset(partial(make, layers=layers, heads=heads), False, width, context, dropout, 2 * heads)


def _translator(cell: recurrent.Cell, attention: recurrent.Attention | None) -> Preset:
    return Preset(partial(recurrent.translator, cell=cell, attention=attention, layers=2), True, 256, 512, 0.3)


def _language_model(cell: recurrent.Cell) -> Preset:
    return Preset(partial(recurrent.language_model, cell=cell, layers=2), False, 512, 1024, 0.2)


def _units(make: Make, layers: int, width: int, step: int) -> Preset:
    return Preset(partial(make, layers=layers), False, width, 1024, 0.1, step)


PRESETS: dict[str, Preset] = {
    # Wu et al. (2021) for tiny, fairseq's for small data, tables 2 and 3 of Vaswani et al. (2017)
    "transformer2017-tiny": _transformer(transformer2017.transformer2017, 4, 128, 4, 256, 0.3),
    "transformer2017-small": _transformer(transformer2017.transformer2017, 6, 256, 4, 1024, 0.3),
    "transformer2017-base": _transformer(transformer2017.transformer2017, 6, 512, 8, 2048, 0.1),
    "transformer2017-big": _transformer(transformer2017.transformer2017, 6, 1024, 16, 4096, 0.3),
    "transformer-modern-tiny": _transformer(transformer2017.modern, 4, 128, 4, 256, 0.3),
    "transformer-modern-small": _transformer(transformer2017.modern, 6, 256, 4, 1024, 0.3),
    "transformer-modern-base": _transformer(transformer2017.modern, 6, 512, 8, 2048, 0.1),
    "transformer-modern-big": _transformer(transformer2017.modern, 6, 1024, 16, 4096, 0.3),
    "lstm-attention": _translator("lstm", c.GeneralAttention()),
    "lstm-attention-dot": _translator("lstm", c.DotAttention()),
    "gru-attention": _translator("gru", c.GeneralAttention()),
    "gru-attention-additive": _translator("gru", c.AdditiveAttention()),
    "rnn-attention": _translator("rnn", c.GeneralAttention()),
    "lstm-plain": _translator("lstm", None),
    "gru-plain": _translator("gru", None),
    "rnn-plain": _translator("rnn", None),
    # nanoGPT's settings for a small CPU and a small GPU, and GPT-2's smallest
    "gpt-tiny": _gpt(gpt.gpt, 4, 128, 4, 64, 0.0),
    "gpt-small": _gpt(gpt.gpt, 6, 384, 6, 256, 0.2),
    "gpt-base": _gpt(gpt.gpt, 12, 768, 12, 1024, 0.0),
    "gpt-modern-tiny": _gpt(gpt.modern, 4, 128, 4, 64, 0.0),
    "gpt-modern-small": _gpt(gpt.modern, 6, 384, 6, 256, 0.2),
    "gpt-modern-base": _gpt(gpt.modern, 12, 768, 12, 1024, 0.0),
    "lstm": _language_model("lstm"),
    "gru": _language_model("gru"),
    "rnn": _language_model("rnn"),
    "mamba": _units(mamba.language_model, 6, 256, 8),
    "mamba2": _units(mamba2.language_model, 6, 256, 32),
    "rwkv7": _units(rwkv7.language_model, 6, 256, 32),
    "delta": _units(qwen3_5.language_model, 4, 192, 32),
    "delta-hybrid": _units(partial(qwen3_5.language_model, every=4), 4, 192, 32),
}


def preset(
    name: str,
    vocab: int,
    *,
    source_vocab: int | None = None,
    context: int | None = None,
    width: int | None = None,
    dropout: float | None = None,
) -> c.ModelConfig:
    """The config of the preset called `name` for a vocabulary of `vocab` tokens; None takes the preset's own number.

    source_vocab: a translator's source vocabulary where it is not shared. Raises ConfigError for an unknown name, or
    for options that do not fit it.
    """
    found = find(name)
    width = found.width if width is None else width
    if width < 1 or width % found.step:
        raise ConfigError(f"the width of {name!r} must be a multiple of {found.step}, and {width} is not")
    sizes: dict[str, int | None] = {"vocab": vocab, "context": context or found.context, "width": width}
    if found.translates:
        sizes["source_vocab"] = source_vocab
    elif source_vocab is not None:
        raise ConfigError(f"{name!r} is a language model and has no source vocabulary")
    return found.make(**sizes, dropout=found.dropout if dropout is None else dropout)


def find(name: str) -> Preset:
    """The preset called `name`. Raises ConfigError with the nearest known name."""
    if name not in PRESETS:
        known = ", ".join(PRESETS)
        raise ConfigError(f"there is no preset {name!r}{suggestion(name, PRESETS)}; there are {known}")
    return PRESETS[name]


def fit(name: str, vocab: int, parameters: int, *, source_vocab: int | None = None) -> c.ModelConfig:
    """The preset called `name` at the largest width that keeps it within so many parameters.

    Raises ConfigError if even the narrowest has more.
    """
    step = find(name).step

    def sized(steps: int) -> c.ModelConfig:
        return preset(name, vocab, source_vocab=source_vocab, width=steps * step)

    if count(sized(1)) > parameters:
        raise ConfigError(f"{name!r} with a vocabulary of {vocab:,} does not fit into {parameters:,} parameters")
    low, high = 1, 2
    while count(sized(high)) <= parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(sized(middle)) <= parameters else (low, middle)
    return sized(low)


def count(config: c.ModelConfig) -> int:
    """How many parameters a model has; shared ones are counted once."""
    return sum(parameter.numel() for parameter in build(config, "meta").parameters())


def with_dropout(config: c.ModelConfig, rate: float) -> c.ModelConfig:
    """`config` with one rate wherever the papers have dropout: on embeddings, and on what each part or layer gives.

    The weights stay the same, so that an opened model can be trained on with dropout.
    """
    encoder, decoder = (None if s is None else _dropped(s, rate) for s in (config.encoder, config.decoder))
    return dataclasses.replace(config, encoder=encoder, decoder=decoder)


def _dropped(stack: c.Stack, rate: float) -> c.Stack:
    if isinstance(stack, c.RecurrentStack):
        return dataclasses.replace(stack, dropout=rate)
    blocks = tuple(dataclasses.replace(block, dropout=rate) for block in stack.blocks)
    embeddings = dataclasses.replace(stack.embeddings, dropout=rate)
    return dataclasses.replace(stack, blocks=blocks, embeddings=embeddings)

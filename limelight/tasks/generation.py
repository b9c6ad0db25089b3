"""What a model's files say about the texts that it writes: how they begin, how they end, and what they may not hold."""

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from limelight.decode.processors import Forbidden, ForbiddenPhrases, LogitsProcessor, NoEnd, NoRepeat
from limelight.decode.request import Rules
from limelight.errors import ConfigError
from limelight.models.config import ModelConfig
from limelight.models.hf import LARGEST, ConfigReader

UNHEEDED: dict[str, tuple[Any, ...]] = {
    "do_sample": (False,),
    "diversity_penalty": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "exponential_decay_length_penalty": (),
    "force_words_ids": (),
    "num_beam_groups": (1,),
    "repetition_penalty": (1,),
    "sequence_bias": (),
}
"""Keys that would change which tokens are written and are not obeyed, and the values at which they say nothing."""


@dataclass(frozen=True)
class Generation:
    """A model's ``generation_config.json``, as far as it is obeyed.

    start: what a target begins with; forced: its next token. last: the token that it ends in where it comes to its
    limit. least, most: its length in tokens, what it begins with included. forbidden: tokens that are never written;
    first: not at the beginning; phrases: not one behind the other. no_repeat: no run of so many tokens twice; 0: any.
    beam, alpha: how translations are looked for unless somebody says otherwise. shared: whether a beam search shares
    the probability of what is forbidden out among the rest. said: the file as it was, for who saves the model.
    """

    start: int | None = None
    forced: int | None = None
    last: int | None = None
    least: int = 0
    most: int | None = None
    forbidden: tuple[int, ...] = ()
    first: tuple[int, ...] = ()
    phrases: tuple[tuple[int, ...], ...] = ()
    no_repeat: int = 0
    beam: int = 5
    alpha: float = 1.0
    shared: bool = False
    said: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @staticmethod
    def read(values: Mapping[str, Any], config: ModelConfig) -> "Generation":
        """From the contents of the file; what it leaves out may stand in the model's config, as in older folders.

        A warning names what is not obeyed. Raises ConfigError naming a value that is impossible.
        """
        vocab = config.vocab
        keys = ConfigReader({**config.extra, **values}, "the model's generation config key")
        for name, nothing in UNHEEDED.items():
            value = keys.take(name)
            if value is not None and value not in nothing:
                warnings.warn(f"{keys.called(name)} ({value!r:.40}) is not obeyed", stacklevel=2)
        phrases = _phrases(keys, vocab)
        return Generation(
            start=_one(keys, "decoder_start_token_id", vocab),
            forced=_one(keys, "forced_bos_token_id", vocab),
            last=_one(keys, "forced_eos_token_id", vocab),
            least=keys.whole("min_length", 0, least=0),
            most=keys.whole("max_length", None),
            forbidden=_several(keys, "suppress_tokens", vocab) + tuple(p[0] for p in phrases if len(p) == 1),
            first=_several(keys, "begin_suppress_tokens", vocab),
            phrases=tuple(phrase for phrase in phrases if len(phrase) > 1),
            no_repeat=keys.whole("no_repeat_ngram_size", 0, least=0),
            beam=keys.whole("num_beams", 5, most=1000),
            alpha=keys.number("length_penalty", 1.0, above=-10.0),
            shared=keys.truth("renormalize_logits", False),
            said=dict(values),
        )

    def rules(self, stop: Collection[int]) -> Rules:
        """What must hold of a text as it is written. stop: the tokens that end one."""
        processors: list[LogitsProcessor] = []
        if self.forbidden:
            processors.append(Forbidden(self.forbidden))
        if self.first:
            processors.append(Forbidden(self.first, first=True))
        if self.phrases:
            processors.append(ForbiddenPhrases(self.phrases))
        if self.no_repeat:
            processors.append(NoRepeat(self.no_repeat))
        if self.least and stop:
            processors.append(NoEnd(tuple(sorted(stop)), self.least))
        return Rules(tuple(processors), self.last)

    def limit(self, wanted: int, begun: int) -> int:
        """How many tokens may be written behind `begun` ones, where `wanted` would be enough."""
        longest = wanted if self.most is None else max(1, min(wanted, self.most - begun))
        return max(longest, self.least - begun)


def _one(keys: ConfigReader, name: str, vocab: int) -> int | None:
    """A token, or the first of several."""
    return next(iter(_several(keys, name, vocab)), None)


def _several(keys: ConfigReader, name: str, vocab: int) -> tuple[int, ...]:
    value = keys.take(name)
    listed = [] if value is None else value if isinstance(value, list) else [value]
    if not all(type(id) is int and -1 <= id < min(vocab, LARGEST) for id in listed):
        raise keys.refused(name, value, f"one of the model's {vocab:,} tokens, or a list of them")
    return tuple(id for id in listed if id >= 0)


def _phrases(keys: ConfigReader, vocab: int) -> list[tuple[int, ...]]:
    value = keys.take("bad_words_ids")
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(phrase, list) and phrase for phrase in value):
        raise keys.refused("bad_words_ids", value, "a list of lists of tokens")
    phrases = [tuple(phrase) for phrase in value]
    if not all(type(id) is int and 0 <= id < vocab for phrase in phrases for id in phrase):
        raise ConfigError(f"{keys.called('bad_words_ids')} names tokens outside the model's {vocab:,}")
    return phrases

"""Reading and writing the vocabulary of Hugging Face configs, for the families that share it."""

import math
import reprlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from limelight.errors import ConfigError, suggestion
from limelight.models import config as c
from limelight.nn.positions import DynamicScaling, LinearScaling, Llama3Scaling, LongRopeScaling, YarnScaling

INERT = frozenset(
    """
    _attn_implementation_autoset _name_or_path architectures attention_dropout attention_probs_dropout_prob attn_pdrop
    auto_map bad_words_ids begin_suppress_tokens bos_token_id cache_implementation chunk_size_feed_forward
    classifier_dropout cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dropout_rate
    dtype early_stopping embd_pdrop encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty
    finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing hidden_dropout hidden_dropout_prob
    id2label initializer_factor initializer_range is_decoder is_encoder_decoder is_llama_config label2id
    length_penalty max_length max_window_layers min_length n_ctx no_repeat_ngram_size num_beam_groups num_beams
    num_return_sequences output_attentions output_hidden_states output_scores pad_token_id prefix pretraining_tp
    problem_type pruned_heads remove_invalid_values renormalize_logits reorder_and_upcast_attn repetition_penalty
    resid_pdrop return_dict return_dict_in_generate rope_interleaved sep_token_id summary_activation
    summary_first_dropout summary_proj_to_labels summary_type summary_use_proj suppress_tokens task_specific_params
    temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config
    transformers_version typical_p use_bfloat16 use_cache use_sliding_window
    eos_token_ids output_past
    """.split()
)
"""Keys that do not change what the model computes when it runs; they are kept in `ModelConfig.extra`."""

SEVERAL = "multi_label_classification"
"""The ``problem_type`` of a classifier any number of whose labels may fit a text."""

ACTIVATIONS: dict[str, c.Activation] = {
    "relu": "relu",
    "relu2": "relu_squared",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


LARGEST = 1 << 24
"""The largest whole number that a config may hold; no model's widths, context or vocabulary come near it."""

LAYERS = 1 << 12
"""The most layers that a config may claim; whether the file has them is seen once it is open."""

REQUIRED: Any = object()


NO_NAMES: Mapping[str, str] = {}

ALIASES = {"su": "longrope"}
"""Other names of rotary scalings."""


class ConfigReader:
    """A foreign config that knows which of its keys were understood.

    what: how messages call a key. place: what stands in front of its name there, for objects within the config. A key
    whose value is null is one that is missing, unless `says` is asked. names: what this config calls keys that most
    others call as they are asked for here. Takers raise ConfigError naming the key.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        what: str = "the model's config key",
        place: str = "",
        names: Mapping[str, str] = NO_NAMES,
    ) -> None:
        self._values = dict(values)
        self._what = what
        self._place = place
        self._names = names
        self._taken: set[str] = {"model_type"}
        self._kept: set[str] = set()

    def take(self, name: str, default: Any = None) -> Any:
        """The value of a key that the new config says in its own words, whatever it is."""
        own = self._names.get(name, name)
        self._taken.add(own)
        value = self._values.get(own)
        if value is None and default is REQUIRED:
            raise ConfigError(f"{self.called(name)} is missing{suggestion(own, self._values)}")
        return default if value is None else value

    def whole(self, name: str, default: Any = REQUIRED, least: int = 1, most: int = LARGEST) -> Any:
        """A whole number."""
        value = self.take(name, default)
        if value is default or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
            return value
        raise self.refused(name, value, f"a whole number from {least:,} to {most:,}")

    def layers(self, name: str) -> int:
        """How many layers there are."""
        return int(self.whole(name, most=LAYERS))

    def number(self, name: str, default: Any = REQUIRED, above: float = 0.0) -> Any:
        """A finite number larger than `above`."""
        value = self.take(name, default)
        if value is default or (is_number(value) and value > above):
            return value if value is default else float(value)
        raise self.refused(name, value, f"a number above {above:g}")

    def truth(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.take(name, default)
        if not isinstance(value, bool):
            raise self.refused(name, value, "true or false")
        return value

    def numbers(self, name: str, count: int) -> tuple[float, ...]:
        """A list of `count` positive numbers."""
        value = self.take(name, REQUIRED)
        if not isinstance(value, list) or not all(is_number(item) and item > 0 for item in value):
            raise self.refused(name, value, "a list of positive numbers")
        if len(value) != count:
            raise ConfigError(f"{self.called(name)} has {len(value)} numbers where {count} are needed")
        return tuple(map(float, value))

    def part(self, name: str) -> "ConfigReader | None":
        """The object under a key, or None if there is none or it is empty."""
        value = self.take(name)
        if not value:
            return None
        if not isinstance(value, dict):
            raise self.refused(name, value, "an object")
        return ConfigReader(value, self._what, f"{self._place}{name}.")

    def activation(self, name: str, default: str) -> c.Activation:
        """An activation function by its foreign name, which stays in `extra`."""
        value = self.take(name, default)
        self.keep(name)
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise self.refused(name, value, f"one of {', '.join(sorted(ACTIVATIONS))}")
        return ACTIVATIONS[value]

    def says(self, name: str) -> bool:
        """Whether the key is there, be it null."""
        return self._names.get(name, name) in self._values

    def keep(self, *names: str) -> None:
        """These keys were understood and also stay in `extra`, so that an export says them in the same words."""
        self._kept.update(self._names.get(name, name) for name in names)

    def called(self, name: str) -> str:
        """What a message calls a key."""
        return f"{self._what} {self._place + self._names.get(name, name)!r}"

    def refused(self, name: str, value: Any, wanted: str) -> ConfigError:
        """The error for a value that a key cannot have."""
        shown = reprlib.repr(value)
        return ConfigError(f"{self.called(name)} is {shown}; it must be {wanted}")

    def rest(self) -> dict[str, Any]:
        """What was not taken; a warning names each key that is not known to be harmless."""
        rest = {name: value for name, value in self._values.items() if name not in self._taken - self._kept}
        for name, value in rest.items():
            if name not in INERT and name not in self._kept and value is not None and value is not False:
                shown = reprlib.repr(value)
                warnings.warn(f"{self.called(name)} ({shown}) is not known and was ignored", stacklevel=2)
        return rest


def is_number(value: Any) -> bool:
    """Whether a value of a config is a finite number of a size that floats have."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def head_width(keys: ConfigReader, width: int, heads: int, name: str = "num_attention_heads") -> int:
    """The width of each head where `heads` share the model's `width`. Raises ConfigError if it cannot be shared."""
    if width % heads:
        raise ConfigError(f"{keys.called(name)} is {heads}, which does not divide the width {width}")
    return width // heads


def merged(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A config in which `names` say what keys of most families are called; where the reference reads both, the common
    name wins."""
    others = {names[name]: value for name, value in values.items() if name in names}
    return {name: value for name, value in values.items() if name not in names} | others


def renamed(values: Mapping[str, Any], names: Mapping[str, str], without: Sequence[str] = ()) -> dict[str, Any]:
    """The keys of a config as `names` say that they are called."""
    return {names.get(name, name): value for name, value in values.items() if name not in without}


def architecture(values: Mapping[str, Any]) -> str:
    """The class that wrote the config, the first of its ``architectures``; empty if it says none."""
    named = values.get("architectures")
    return named[0] if isinstance(named, list) and named and isinstance(named[0], str) else ""


def labels(keys: ConfigReader) -> tuple[str, ...]:
    """A classifier's labels by their numbers, from ``id2label`` or, without names for as many, ``num_labels``."""
    keys.keep("id2label", "label2id", "num_labels")
    named, count = keys.take("id2label"), keys.whole("num_labels", None)
    if named is None or (count is not None and isinstance(named, dict) and len(named) != count):
        return tuple(f"LABEL_{i}" for i in range(count or 2))
    if not isinstance(named, dict) or {str(key) for key in named} != {str(i) for i in range(len(named))}:
        raise keys.refused("id2label", named, "an object that gives each number from 0 on a label")
    return tuple(str(named[key]) for key in sorted(named, key=int))


def several(keys: ConfigReader) -> bool:
    """Whether any number of a classifier's labels may fit a text, by ``problem_type``."""
    keys.keep("problem_type")
    return bool(keys.take("problem_type") == SEVERAL)


def kinds(
    keys: ConfigReader, layers: int, known: Sequence[str] = ("full_attention", "sliding_attention")
) -> list[str] | None:
    """What ``layer_types`` says of each layer, one of the `known`; None if it is not there."""
    value = keys.take("layer_types")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(kind, str) and kind in known for kind in value):
        raise keys.refused("layer_types", value, f"a list of {' and '.join(known)}")
    if len(value) != layers:
        raise ConfigError(f"{keys.called('layer_types')} has {len(value)} entries for {layers} layers")
    return value


def rotary(
    keys: ConfigReader,
    width: int,
    context: int,
    *,
    share: float | None = None,
    original: int | None = None,
    base: float = 10000.0,
    names: tuple[str, str] = ("rope_theta", "partial_rotary_factor"),
    aliases: Mapping[str, str] = ALIASES,
) -> c.Rotary:
    """Rotary positions from ``rope_scaling`` if it says anything, else from ``rope_parameters``.

    width: of a head. share: how much of it turns unless the config says so, in families whose heads may turn in part;
    in others the reference ignores the key, or cannot run where a scaling obeys it. original: the family's own
    ``original_max_position_embeddings``. base: the family's own ``rope_theta``. names: of the keys for base and share
    outside those objects. aliases: other names of scalings.
    """
    newer, older = keys.part("rope_parameters"), keys.part("rope_scaling")
    said = older or newer or ConfigReader({})
    base = said.number("rope_theta", keys.number(names[0], base, above=1.0), above=1.0)
    kind = said.take("rope_type", said.take("type", "default"))
    kind = aliases.get(kind, kind) if isinstance(kind, str) else kind
    turned = width
    if share is not None or kind != "default":
        asked = said.number("partial_rotary_factor", keys.number(names[1], share or 1.0))
        turned = int(width * asked)
        if share is None and turned != width:
            raise ConfigError(f"{keys.called(names[1])} is {asked:g}; the heads of this family turn as a whole")
    if turned < 2 or turned > width or turned % 2:
        raise ConfigError(f"{turned} of a head's {width} features would turn; it must be an even number of them")
    # The outer key wins, as in the reference.
    inner = said.whole("original_max_position_embeddings", context)
    outer = keys.whole("original_max_position_embeddings", original or inner)
    keys.keep("original_max_position_embeddings")
    scaling = _scaling(kind, said, turned, context, outer)
    said.rest()
    return c.Rotary(turned, base, scaling)


def _scaling(kind: Any, said: ConfigReader, turned: int, context: int, original: int) -> c.Scaling | None:
    match kind:
        case "default":
            return None
        case "linear":
            return LinearScaling(said.number("factor"))
        case "dynamic":
            if turned < 4:
                raise ConfigError("dynamic rope scaling needs heads of which more than 2 features turn")
            return DynamicScaling(said.number("factor"), context)
        case "llama3":
            low, high = said.number("low_freq_factor"), said.number("high_freq_factor")
            return Llama3Scaling(said.number("factor"), low, high, original)
        case "yarn":
            factor = said.number("factor", None) or context / original
            fast, slow = said.number("beta_fast", 32.0), said.number("beta_slow", 1.0)
            whole = said.truth("truncate", not said.says("truncate"))
            return YarnScaling(factor, original, _yarn_amplitude(said, factor), fast, slow, whole)
        case "longrope":
            short, long = said.numbers("short_factor", turned // 2), said.numbers("long_factor", turned // 2)
            return LongRopeScaling(short, long, original, _longrope_amplitude(said, context, original))
    known = "default, linear, dynamic, llama3, yarn and longrope"
    raise ConfigError(f"{said.called('rope_type')} is {reprlib.repr(kind)}, which is not known; known are {known}")


def _yarn_amplitude(said: ConfigReader, factor: float) -> float:
    asked, scale, everywhere = (said.number(name, None) for name in ("attention_factor", "mscale", "mscale_all_dim"))
    if asked is not None:
        return float(asked)

    def temperature(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    return temperature(scale) / temperature(everywhere) if scale and everywhere else temperature(1.0)


def _longrope_amplitude(said: ConfigReader, context: int, original: int) -> float:
    asked, factor = said.number("attention_factor", None), said.number("factor", None) or context / original
    if asked is not None:
        return float(asked)
    if factor > 1 and original == 1:
        raise ConfigError(f"{said.called('original_max_position_embeddings')} is 1, too short for this rope scaling")
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))


def rope_keys(rotary: c.Rotary, head_width: int) -> dict[str, Any]:
    """The keys ``rope_theta`` and ``rope_scaling``, which every version of transformers reads."""
    keys: dict[str, Any] = {"rope_theta": rotary.base}
    if rotary.width != head_width:
        keys["partial_rotary_factor"] = rotary.width / head_width
    match rotary.scaling:
        case None:
            pass
        case LinearScaling(factor):
            keys["rope_scaling"] = {"rope_type": "linear", "factor": factor}
        case DynamicScaling(factor):
            keys["rope_scaling"] = {"rope_type": "dynamic", "factor": factor}
        case Llama3Scaling(factor, low, high, original):
            keys["rope_scaling"] = {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": original,
            }
        case YarnScaling(factor, original, amplitude, fast, slow, whole):
            keys["rope_scaling"] = {
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original,
                "attention_factor": amplitude,
                "beta_fast": fast,
                "beta_slow": slow,
                "truncate": whole,
            }
        case LongRopeScaling(short, long, original, amplitude):
            keys["rope_scaling"] = {
                "rope_type": "longrope",
                "short_factor": list(short),
                "long_factor": list(long),
                "attention_factor": amplitude,
                "original_max_position_embeddings": original,
            }
            keys["original_max_position_embeddings"] = original
    return keys


def activation_name(activation: c.Activation) -> str:
    """The foreign name of an activation."""
    return {"gelu_tanh": "gelu_pytorch_tanh", "relu_squared": "relu2"}.get(activation, activation)

"""Reading and writing the vocabulary of Hugging Face configs, for the families that share it."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError, suggestion
from limelight.models import config as c
from limelight.nn.positions import DynamicScaling, LinearScaling, Llama3Scaling, LongRopeScaling, YarnScaling

INERT = frozenset(
    """
    _attn_implementation_autoset _name_or_path architectures attention_dropout attn_pdrop auto_map bad_words_ids
    begin_suppress_tokens bos_token_id cache_implementation chunk_size_feed_forward classifier_dropout
    cross_attention_hidden_size decoder_start_token_id diversity_penalty do_sample dtype early_stopping
    embd_pdrop encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task
    forced_bos_token_id forced_eos_token_id gradient_checkpointing hidden_dropout id2label initializer_range
    is_decoder is_encoder_decoder is_llama_config label2id length_penalty max_length max_window_layers
    min_length n_ctx no_repeat_ngram_size num_beam_groups num_beams num_return_sequences output_attentions
    output_hidden_states output_scores pad_token_id prefix pretraining_tp problem_type pruned_heads
    remove_invalid_values reorder_and_upcast_attn repetition_penalty resid_pdrop return_dict
    return_dict_in_generate rope_interleaved sep_token_id suppress_tokens summary_activation
    summary_first_dropout summary_proj_to_labels summary_type summary_use_proj task_specific_params temperature
    tf_legacy_loss tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config
    transformers_version typical_p use_bfloat16 use_cache use_sliding_window
    """.split()
)
"""Keys that do not change what the model computes when it runs; they are kept in `ModelConfig.extra`."""

ACTIVATIONS: dict[str, c.Activation] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}


class Keys:
    """A foreign config that knows which of its keys were understood."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        self._taken: set[str] = {"model_type"}
        self._kept: set[str] = set()

    def take(self, name: str, default: Any = None) -> Any:
        """The value of a key that the new config says in its own words."""
        self._taken.add(name)
        value = self._values.get(name)
        return default if value is None else value

    def need(self, name: str) -> int:
        """A positive whole number that must be there."""
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problem = "is missing" if value is None else f"is {value!r}, not a positive whole number"
            raise ConfigError(f"the model's config key {name!r} {problem}{suggestion(name, self._values)}")
        return value

    def peek(self, name: str, default: Any = None) -> Any:
        """The value of a key that also stays in `extra`, so that an export says it in the same words."""
        self._kept.add(name)
        value = self._values.get(name)
        return default if value is None else value

    def has(self, name: str) -> bool:
        """Whether the key is there with a value."""
        return self._values.get(name) is not None

    def activation(self, name: str, default: str) -> c.Activation:
        """An activation function by its foreign name, which stays in `extra`."""
        value = self.peek(name, default)
        if value not in ACTIVATIONS:
            raise ConfigError(
                f"the model's config key {name!r} is {value!r}; known are {', '.join(sorted(ACTIVATIONS))}"
            )
        return ACTIVATIONS[value]

    def rest(self) -> dict[str, Any]:
        """What was not taken; a warning names each key that is not known to be harmless."""
        rest = {name: value for name, value in self._values.items() if name not in self._taken}
        for name, value in rest.items():
            if name not in INERT and name not in self._kept and value not in (None, False):
                warnings.warn(f"the model's config key {name!r} ({value!r}) is not known and was ignored", stacklevel=2)
        return rest


def rotary(keys: Keys, width: int, context: int, share: float = 1.0) -> c.Rotary:
    """Rotary positions from ``rope_parameters`` or from the older ``rope_theta`` and ``rope_scaling``.

    width: of a head. share: how much of it turns, unless the config says so.
    """
    theta, share = keys.take("rope_theta", 10000.0), keys.take("partial_rotary_factor", share)
    said = {**(keys.take("rope_scaling") or {}), **(keys.take("rope_parameters") or {})}
    base = float(said.get("rope_theta", theta))
    turned = int(width * said.get("partial_rotary_factor", share))
    original = keys.take("original_max_position_embeddings") or said.get("original_max_position_embeddings")
    kind = said.get("rope_type") or said.get("type") or "default"
    try:
        scaling = _scaling(kind, said, context, original)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"the model's rope scaling {kind!r} has no usable value for {error}") from None
    if scaling is not None and isinstance(scaling, LongRopeScaling):
        for name, factors in (("short_factor", scaling.short), ("long_factor", scaling.long)):
            if len(factors) != turned // 2:
                raise ConfigError(
                    f"the model's rope {name!r} has {len(factors)} numbers where {turned // 2} are needed"
                )
    return c.Rotary(turned, base, scaling)


def _scaling(kind: str, said: Mapping[str, Any], context: int, original: int | None) -> c.Scaling | None:
    match kind:
        case "default":
            return None
        case "linear":
            return LinearScaling(float(said["factor"]))
        case "dynamic":
            return DynamicScaling(float(said["factor"]), original or context)
        case "llama3":
            low, high = float(said["low_freq_factor"]), float(said["high_freq_factor"])
            return Llama3Scaling(float(said["factor"]), low, high, int(said["original_max_position_embeddings"]))
        case "yarn":
            first = int(original or context)
            factor = float(said.get("factor") or context / first)
            return YarnScaling(
                factor,
                first,
                _yarn_amplitude(said, factor),
                float(said.get("beta_fast") or 32),
                float(said.get("beta_slow") or 1),
                bool(said.get("truncate", True)),
            )
        case "longrope" | "su":
            first = int(original or context)
            return LongRopeScaling(
                tuple(map(float, said["short_factor"])),
                tuple(map(float, said["long_factor"])),
                first,
                _longrope_amplitude(said, context, first),
            )
    raise ConfigError(
        f"the model's rope scaling {kind!r} is not known; known are default, linear, dynamic, llama3, yarn and longrope"
    )


def _yarn_amplitude(said: Mapping[str, Any], factor: float) -> float:
    if said.get("attention_factor") is not None:
        return float(said["attention_factor"])

    def temperature(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    if said.get("mscale") and said.get("mscale_all_dim"):
        return temperature(said["mscale"]) / temperature(said["mscale_all_dim"])
    return temperature(1.0)


def _longrope_amplitude(said: Mapping[str, Any], context: int, original: int) -> float:
    if said.get("attention_factor") is not None:
        return float(said["attention_factor"])
    factor = said.get("factor") or context / original
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
    return {"gelu_tanh": "gelu_pytorch_tanh"}.get(activation, activation)

"""GGUF's vocabulary: its metadata as the config that Hugging Face would have written, and its names as a table.

Names and metadata keys are those of llama.cpp's converter (`gguf-py/gguf/constants.py`).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError
from limelight.models.config import ModelConfig
from limelight.models.hf import REQUIRED, ConfigReader, head_width, is_number
from limelight.models.mapping import Shift, Split, Table, WeightMapping, interleaved_rotary
from limelight.models.registry import config_from_hf
from limelight.nn.positions import LongRopeScaling

WHOLE = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
}
NUMBERS = {
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
    "rope.freq_base": "rope_theta",
}
GEMMA2_WHOLE = {"attention.sliding_window": "sliding_window"}
GEMMA2_NUMBERS = {name: name for name in ("attn_logit_softcapping", "final_logit_softcapping")}
"""The part of a metadata key behind the architecture ↔ the key of a Hugging Face config."""

BY_LAYER = ("feed_forward_length", "attention.head_count", "attention.head_count_kv")
"""Keys whose value may be a list with an entry for each layer; only lists of equal entries can be read."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "attention.scale": (0.0,),
    "attention.temperature_scale": (0.0,),
    "embedding_scale": (0.0, 1.0),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "logit_scale": (0.0, 1.0),
    "pooling_type": (0,),
    "residual_scale": (0.0, 1.0),
    "rope.scaling.alpha": (0.0,),
    "rope.scaling.yarn_ext_factor": (-1.0, 1.0),
    "rope.scaling.yarn_log_multiplier": (0.0,),
    "use_parallel_residual": (False,),
}
"""Keys that change what a model computes, and the values at which they do not; with any other it is refused."""

INERT = {"vocab_size", "rope.scaling.finetuned", "tensor_data_layout"}
"""Keys that do not change what a model computes."""

GPT2_KEYS = {
    "max_position_embeddings": "n_positions",
    "hidden_size": "n_embd",
    "intermediate_size": "n_inner",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
}

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gpt2")


def config_from_gguf(metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    """The config of a GGUF file from its metadata and its tensors' shapes (torch order).

    Raises ConfigError if the architecture is not known or a key is missing or impossible; a warning names each key of
    the architecture that is not known.
    """
    architecture = metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise ConfigError(
            f"limelight does not read the GGUF architecture {architecture!r:.60}; it reads {', '.join(ARCHITECTURES)}"
        )
    embedding = shapes.get("token_embd.weight", ())
    if len(embedding) != 2:
        raise ConfigError("the GGUF file has no table 'token_embd.weight', so it holds no language model")
    prefix = f"{architecture}."
    said = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
    values = _values(said, architecture)
    values |= {
        "model_type": architecture,
        "vocab_size": embedding[0],
        "tie_word_embeddings": "output.weight" not in shapes,
        "torch_dtype": "float32",
    }
    for name in ("bos_token_id", "eos_token_id", "padding_token_id"):
        if (token := metadata.get(f"tokenizer.ggml.{name}")) is not None:
            values[name.replace("padding", "pad")] = token
    if architecture == "gemma2":
        # The scale of Gemma 2's scores is not in the file; only the 27B model's differs from its head width.
        wide = values["num_hidden_layers"] == 46
        values["query_pre_attn_scalar"] = (
            values["hidden_size"] // values["num_attention_heads"] if wide else values["head_dim"]
        )
    # Whether there are biases is not said anywhere: the tensors themselves tell.
    if architecture in {"llama", "qwen3"}:
        values["attention_bias"] = "blk.0.attn_q.bias" in shapes
    if architecture == "llama":
        values["mlp_bias"] = "blk.0.ffn_up.bias" in shapes
    return config_from_hf(values)


def _values(said: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """What the architecture's own keys say, under the names that Hugging Face's configs have for it."""
    keys = ConfigReader(said, "the GGUF key", f"{architecture}.")
    layers = keys.layers("block_count")
    for name in BY_LAYER:
        if isinstance(entries := said.get(name), list):
            if len(entries) != layers or any(entry != entries[0] for entry in entries):
                raise keys.refused(name, entries, f"one number, or the same one for each of the {layers} layers")
            said = {**said, name: entries[0]}
    keys = ConfigReader(said, "the GGUF key", f"{architecture}.")
    gemma = architecture == "gemma2"
    values = {ours: keys.whole(name, None) for name, ours in (WHOLE | (GEMMA2_WHOLE if gemma else {})).items()}
    values |= {ours: keys.number(name, None) for name, ours in (NUMBERS | (GEMMA2_NUMBERS if gemma else {})).items()}
    eps = "attention.layer_norm_epsilon" if architecture == "gpt2" else "attention.layer_norm_rms_epsilon"
    for name in ("context_length", "embedding_length", "feed_forward_length", "attention.head_count", eps):
        keys.take(name, REQUIRED)
    heads = values["num_attention_heads"]
    width = values["head_dim"] or head_width(keys, values["hidden_size"], heads, "attention.head_count")
    for name in ("attention.value_length", "rope.dimension_count"):
        if keys.whole(name, width) != width:
            raise keys.refused(name, said[name], f"the width of a head, {width}; others cannot be read")
    for name, allowed in NEUTRAL.items():
        if (value := keys.take(name, allowed[0])) not in allowed:
            raise keys.refused(name, value, " or ".join(map(repr, allowed)) + "; other models cannot be read")
    values["rope_scaling"] = _scaling(keys)
    keys.keep(*INERT)
    keys.rest()  # warns
    values["num_key_value_heads"] = values["num_key_value_heads"] or heads
    if architecture == "gpt2":
        drop = {"rope_scaling", "num_key_value_heads", "head_dim"}
        values = {GPT2_KEYS.get(name, name): value for name, value in values.items() if name not in drop}
    else:
        values["head_dim"] = width
    return {name: value for name, value in values.items() if value is not None}


def rope_factors(config: ModelConfig, factors: list[float]) -> ModelConfig:
    """`config` with the rotary divisors that a file holds as the tensor ``rope_freqs`` (Llama 3.1 and later)."""
    if not all(is_number(factor) and factor > 0 for factor in factors):
        raise ConfigError("the GGUF file's 'rope_freqs.weight' holds a divisor that is not a positive number")
    scaling = LongRopeScaling(tuple(factors), tuple(factors), config.context, 1.0)
    blocks = []
    for block in config.transformer.blocks:
        rotary = block.attention.rotary
        if rotary is None or len(factors) != rotary.width // 2:
            raise ConfigError("the GGUF file's 'rope_freqs.weight' does not fit the width of its heads")
        if rotary.scaling is not None:
            raise ConfigError("the GGUF file scales its rotary positions twice, by 'rope_freqs.weight' and by its keys")
        turned = dataclasses.replace(rotary, scaling=scaling)
        blocks.append(dataclasses.replace(block, attention=dataclasses.replace(block.attention, rotary=turned)))
    return dataclasses.replace(config, decoder=dataclasses.replace(config.transformer, blocks=tuple(blocks)))


def table(architecture: str, config: ModelConfig) -> Table:
    """The names of GGUF tensors of an architecture."""
    attention = config.transformer.blocks[0].attention
    theirs, ours = "blk.{i}.", "decoder.blocks.{i}."
    # llama.cpp turns neighbouring pairs for "llama" alone, and its converter reorders q and k for that.
    turn_q = (interleaved_rotary(attention.heads, attention.head_width),) if architecture == "llama" else ()
    turn_k = (interleaved_rotary(attention.kv_heads, attention.head_width),) if architecture == "llama" else ()
    # Its converter adds Gemma's one to the norms.
    shift = (Shift(1.0),) if architecture == "gemma2" else ()
    sizes = tuple(n * attention.head_width for n in (attention.heads, attention.kv_heads, attention.kv_heads))
    qkv = tuple(f"{ours}attention.{part}.{{p}}" for part in "qkv")
    mappings = (
        WeightMapping("token_embd.weight", "embed.weight"),
        WeightMapping("position_embd.weight", "decoder.embeddings.positions.weight"),
        WeightMapping("output_norm.{p}", "decoder.norm.{p}", *shift),
        WeightMapping("output.{p}", "head.proj.{p}"),
        WeightMapping(f"{theirs}attn_norm.{{p}}", f"{ours}attention_norm.{{p}}", *shift),
        WeightMapping(f"{theirs}attn_q_norm.{{p}}", f"{ours}attention.q_norm.{{p}}"),
        WeightMapping(f"{theirs}attn_k_norm.{{p}}", f"{ours}attention.k_norm.{{p}}"),
        WeightMapping(f"{theirs}attn_output.{{p}}", f"{ours}attention.out.{{p}}"),
        WeightMapping(f"{theirs}ffn_norm.{{p}}", f"{ours}feedforward_norm.{{p}}", *shift),
        WeightMapping(f"{theirs}ffn_gate.{{p}}", f"{ours}feedforward.gate.{{p}}"),
        WeightMapping(f"{theirs}ffn_up.{{p}}", f"{ours}feedforward.up.{{p}}"),
        WeightMapping(f"{theirs}ffn_down.{{p}}", f"{ours}feedforward.down.{{p}}"),
        WeightMapping(f"{theirs}post_attention_norm.{{p}}", f"{ours}attention_after.{{p}}", *shift),
        WeightMapping(f"{theirs}post_ffw_norm.{{p}}", f"{ours}feedforward_after.{{p}}", *shift),
    )
    joint = (
        (WeightMapping(f"{theirs}attn_qkv.{{p}}", qkv, Split(sizes)),)
        if architecture == "gpt2"
        else (
            WeightMapping(f"{theirs}attn_q.{{p}}", qkv[0], *turn_q),
            WeightMapping(f"{theirs}attn_k.{{p}}", qkv[1], *turn_k),
            WeightMapping(f"{theirs}attn_v.{{p}}", qkv[2]),
        )
    )
    return Table(mappings + joint, ignored=("rope_freqs.weight",))


def _scaling(keys: ConfigReader) -> dict[str, Any] | None:
    """The rotary scaling, as llama.cpp understands its keys: linear where no type is named, none where no factor is."""
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 0.0, above=-1.0), above=-1.0)
    kind = keys.take("rope.scaling.type", "linear")
    original = keys.whole("rope.scaling.original_context_length", None)
    # Both are factors of what yarn multiplies cosines and sines by.
    attention = keys.number("rope.scaling.attn_factor", 1.0) * keys.number("rope.scaling.yarn_attn_factor", 1.0)
    fast, slow = keys.number("rope.scaling.yarn_beta_fast", None), keys.number("rope.scaling.yarn_beta_slow", None)
    if kind not in ("none", "linear", "yarn"):  # a tuple, since it may be a list
        raise keys.refused("rope.scaling.type", kind, "none, linear or yarn")
    if attention != 1.0 and kind != "yarn":
        raise keys.refused("rope.scaling.attn_factor", attention, "1.0 where the scaling is not yarn")
    if factor < 0:
        raise keys.refused("rope.scaling.factor", factor, "a positive number")
    if kind == "none" or factor == 0 or (kind == "linear" and factor == 1):
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    amplitude = attention * (1.0 if factor <= 1 else 0.1 * math.log(factor) + 1.0)
    scaling = {
        "rope_type": "yarn",
        "factor": factor,
        "attention_factor": amplitude,
        "beta_fast": fast,
        "beta_slow": slow,
    }
    return scaling if original is None else {**scaling, "original_max_position_embeddings": original}

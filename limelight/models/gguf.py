"""GGUF's vocabulary: its metadata as the config that Hugging Face would have written, and its names as a table.

Names and metadata keys are those of llama.cpp's converter (`gguf-py/gguf/constants.py`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError, suggestion
from limelight.models.config import ModelConfig
from limelight.models.mapping import Rule, Shift, Split, Table, interleaved_rotary
from limelight.models.registry import config_from_hf
from limelight.nn.positions import LongRopeScaling

KEYS = {
    "vocab_size": "vocab_size",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.layer_norm_epsilon": "layer_norm_epsilon",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "rope.freq_base": "rope_theta",
}
"""The part of a metadata key behind the architecture ↔ the key of a Hugging Face config."""

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

    Raises ConfigError if the architecture is not known or a key is missing or impossible.
    """
    architecture = metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        near, known = suggestion(str(architecture), ARCHITECTURES), ", ".join(ARCHITECTURES)
        raise ConfigError(f"limelight does not read the GGUF architecture {architecture!r}{near}; it reads {known}")
    if "token_embd.weight" not in shapes:
        raise ConfigError("the GGUF file has no 'token_embd.weight', so it holds no language model")
    prefix = f"{architecture}."
    keys = {KEYS[k]: metadata[prefix + k] for k in KEYS if prefix + k in metadata}
    keys |= {
        "model_type": architecture,
        "vocab_size": shapes["token_embd.weight"][0],
        "tie_word_embeddings": "output.weight" not in shapes,
        "rope_scaling": _scaling(metadata, prefix),
        "torch_dtype": "float32",
    }
    for name in ("bos_token_id", "eos_token_id", "padding_token_id"):
        if (token := metadata.get(f"tokenizer.ggml.{name}")) is not None:
            keys[name.replace("padding", "pad")] = token
    if architecture == "gpt2":
        keys = {GPT2_KEYS.get(name, name): value for name, value in keys.items() if name != "rope_scaling"}
        keys.pop("num_key_value_heads", None)
    if architecture == "gemma2":
        # The scale of Gemma 2's scores is not in the file; only the 27B model's differs from its head width.
        wide = keys.get("num_hidden_layers") == 46
        keys["query_pre_attn_scalar"] = keys["hidden_size"] // keys["num_attention_heads"] if wide else keys["head_dim"]
    # Whether there are biases is not said anywhere: the tensors themselves tell.
    if architecture in {"llama", "qwen3"}:
        keys["attention_bias"] = "blk.0.attn_q.bias" in shapes
    if architecture == "llama":
        keys["mlp_bias"] = "blk.0.ffn_up.bias" in shapes
    return config_from_hf(keys)


def rope_factors(config: ModelConfig, factors: list[float]) -> ModelConfig:
    """`config` with the rotary divisors that a file holds as the tensor ``rope_freqs`` (Llama 3.1 and later)."""
    scaling = LongRopeScaling(tuple(factors), tuple(factors), config.context, 1.0)
    blocks = []
    for block in config.transformer.blocks:
        rotary = block.attention.rotary
        if rotary is None or len(factors) != rotary.width // 2:
            raise ConfigError("the GGUF file's 'rope_freqs.weight' does not fit the width of its heads")
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
    rules = (
        Rule("token_embd.weight", "embed.weight"),
        Rule("position_embd.weight", "decoder.embeddings.positions.weight"),
        Rule("output_norm.{p}", "decoder.norm.{p}", *shift),
        Rule("output.{p}", "head.proj.{p}"),
        Rule(f"{theirs}attn_norm.{{p}}", f"{ours}attention_norm.{{p}}", *shift),
        Rule(f"{theirs}attn_q_norm.{{p}}", f"{ours}attention.q_norm.{{p}}"),
        Rule(f"{theirs}attn_k_norm.{{p}}", f"{ours}attention.k_norm.{{p}}"),
        Rule(f"{theirs}attn_output.{{p}}", f"{ours}attention.out.{{p}}"),
        Rule(f"{theirs}ffn_norm.{{p}}", f"{ours}feedforward_norm.{{p}}", *shift),
        Rule(f"{theirs}ffn_gate.{{p}}", f"{ours}feedforward.gate.{{p}}"),
        Rule(f"{theirs}ffn_up.{{p}}", f"{ours}feedforward.up.{{p}}"),
        Rule(f"{theirs}ffn_down.{{p}}", f"{ours}feedforward.down.{{p}}"),
        Rule(f"{theirs}post_attention_norm.{{p}}", f"{ours}attention_after.{{p}}", *shift),
        Rule(f"{theirs}post_ffw_norm.{{p}}", f"{ours}feedforward_after.{{p}}", *shift),
    )
    joint = (
        (Rule(f"{theirs}attn_qkv.{{p}}", qkv, Split(sizes)),)
        if architecture == "gpt2"
        else (
            Rule(f"{theirs}attn_q.{{p}}", qkv[0], *turn_q),
            Rule(f"{theirs}attn_k.{{p}}", qkv[1], *turn_k),
            Rule(f"{theirs}attn_v.{{p}}", qkv[2]),
        )
    )
    return Table(rules + joint, ignored=("rope_freqs.weight",))


def _scaling(metadata: Mapping[str, Any], prefix: str) -> dict[str, Any] | None:
    kind = metadata.get(f"{prefix}rope.scaling.type", "none")
    if kind == "none":
        return None
    if kind not in {"linear", "yarn"}:
        key = f"{prefix}rope.scaling.type"
        raise ConfigError(f"the GGUF key {key!r} is {kind!r}; limelight reads none, linear and yarn")
    scaling = {"rope_type": kind, "factor": metadata.get(f"{prefix}rope.scaling.factor", 1.0)}
    original = metadata.get(f"{prefix}rope.scaling.original_context_length")
    return scaling if original is None else {**scaling, "original_max_position_embeddings": original}

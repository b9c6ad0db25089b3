"""GGUF's vocabulary: its metadata as the config that Hugging Face would have written, and its names as a table.

Names and metadata keys are those of llama.cpp's converter (`gguf-py/gguf/constants.py`).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from limelight.errors import ConfigError
from limelight.models.config import Block, Experts, ModelConfig, Pooled, Pooling
from limelight.models.family import NEEDED, Family, Gguf
from limelight.models.hf import REQUIRED, ConfigReader, head_width, is_number
from limelight.models.mapping import AsRow, Operation, Shift, Split, Table, Unstack, WeightMapping, interleaved_rotary
from limelight.models.registry import FAMILIES, config_from_hf, config_to_hf
from limelight.nn.positions import LinearScaling, LongRopeScaling

WHOLE = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
}
NUMBERS = {"rope.freq_base": "rope_theta"}
"""The part of a metadata key behind the architecture ↔ the key of a Hugging Face config, for all architectures."""

HEARD = "attention.head_count_kv"
BY_LAYER = ("feed_forward_length", "attention.head_count", HEARD)
"""Keys whose value may be a list with an entry for each layer; only lists of equal entries can be read, but that layers
of a hybrid that are not attention have no heads of keys."""

NONE = (
    "pooling_type",
    "attention.sliding_window",
    "expert_group_count",
    "expert_group_used_count",
    "leading_dense_block_count",
)
"""Keys that are as good as missing where they are zero."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
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
    "ssm.dt_b_c_rms": (False,),
    "use_parallel_residual": (False,),
}
"""Keys that change what a model computes, and the values at which they do not; with any other it is refused by an
architecture that does not know the key."""

INERT = {"vocab_size", "rope.scaling.finetuned", "rope.dimension_sections", "tensor_data_layout"}
"""Keys that do not change what a model computes."""

POOLED: dict[int | None, Pooled] = {None: "mean", 1: "mean", 2: "first", 3: "last"}
"""How an encoder's states become one vector, by llama.cpp's number; its vectors are of length one."""

NAMES = {
    "attention_norm": "attn_norm",
    "attention.q_norm": "attn_q_norm",
    "attention.k_norm": "attn_k_norm",
    "attention.out": "attn_output",
    "attention_after": "post_attention_norm",
    "feedforward_norm": "ffn_norm",
    "feedforward.gate": "ffn_gate",
    "feedforward.up": "ffn_up",
    "feedforward.down": "ffn_down",
    "feedforward_after": "post_ffw_norm",
}
"""What the parts of our blocks are called, for all architectures that do not say otherwise."""


def families() -> dict[tuple[str, bool], Family]:
    """The families that are read from GGUF, by their architecture and whether the file holds experts; the first where
    several share one."""
    rows = [own for own in FAMILIES.values() if own.gguf is not None]
    return {(own.gguf.architecture, own.gguf.experts): own for own in reversed(rows) if own.gguf is not None}


def family_of(metadata: Mapping[str, Any], shapes: Mapping[str, Any]) -> tuple[Family, Gguf]:
    """The family of a GGUF file, and how llama.cpp has it. Raises ConfigError if it is not known."""
    known, named = families(), metadata.get("general.architecture")
    architecture = named if isinstance(named, str) else ""
    experts = any(name.endswith(".ffn_gate_inp.weight") for name in shapes)
    found = known.get((architecture, experts)) or known.get((architecture, not experts))
    if found is None or found.gguf is None:
        names = ", ".join(dict.fromkeys(architecture for architecture, _ in known))
        raise ConfigError(f"limelight does not read the GGUF architecture {named!r:.60}; it reads {names}")
    return found, found.gguf


def config_from_gguf(metadata: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> ModelConfig:
    """The config of a GGUF file from its metadata and its tensors' shapes (torch order).

    Raises ConfigError if the architecture is not known or a key is missing or impossible; a warning names each key of
    the architecture that is not known.
    """
    family, row = family_of(metadata, shapes)
    embedding = shapes.get("token_embd.weight", ())
    if len(embedding) != 2:
        raise ConfigError("the GGUF file has no table 'token_embd.weight', so it holds no language model")
    prefix = f"{row.architecture}."
    said = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
    values = {**_values(said, row), **row.fixed}
    values |= {
        "model_type": family.name,
        "vocab_size": embedding[0],
        "tie_word_embeddings": "output.weight" not in shapes,
        "torch_dtype": "float32",
    }
    for name in ("bos_token_id", "eos_token_id", "padding_token_id"):
        if (token := metadata.get(f"tokenizer.ggml.{name}")) is not None:
            values[name.replace("padding", "pad")] = token
    # Whether there are biases is not said anywhere: the tensors themselves tell.
    values |= {key: tensor in shapes for key, tensor in row.tensors.items()}
    values |= {key: shapes.get(tensor, (0,))[0] for key, tensor in row.rows.items()}
    pooled = values.pop("pooling_type", None)
    config = config_from_hf(row.complete(values))
    if config.decoder is not None:
        return config
    if pooled not in POOLED:
        raise ConfigError(
            f"the GGUF key '{prefix}pooling_type' is {pooled}, a way to make one vector of a text that is not read"
        )
    return dataclasses.replace(config, head=Pooling(POOLED[pooled], normalised=True))


def metadata(config: ModelConfig) -> dict[str, Any]:
    """The keys that `config_from_gguf` reads, of a model whose family has a GGUF architecture."""
    row = FAMILIES[config.family].gguf
    assert row is not None
    block, said = config.transformer.blocks[0], config_to_hf(config)
    attention, norm = block.attention, block.norm
    keys: dict[str, Any] = {
        "context_length": config.context,
        "embedding_length": config.width,
        "feed_forward_length": block.feedforward.hidden,
        "block_count": len(config.transformer.blocks),
        "attention.head_count": attention.heads,
        "attention.head_count_kv": attention.kv_heads,
        "attention.key_length": attention.head_width,
        "attention.value_length": attention.head_width,
        row.eps[0]: norm.eps,
    }
    last = config.transformer.blocks[-1].attention.rotary  # of those that hear everything, where others do not
    if last is not None:
        keys |= {"rope.freq_base": float(last.base), "rope.dimension_count": last.width}
        if isinstance(last.scaling, LinearScaling):
            keys |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(last.scaling.factor)}
    numbers = {name: float(said[key]) for name, key in row.numbers.items() if said.get(key) is not None}
    keys |= numbers | {
        name: said[key] for name, key in {**row.whole, **row.truths}.items() if said.get(key) is not None
    }
    return {"general.architecture": row.architecture} | {f"{row.architecture}.{name}": v for name, v in keys.items()}


def _values(said: Mapping[str, Any], row: Gguf) -> dict[str, Any]:
    """What the architecture's own keys say, under the names that Hugging Face's configs have for it."""
    place = f"{row.architecture}."
    keys = ConfigReader(said, "the GGUF key", place)
    layers = keys.layers("block_count")
    heard = said.get(HEARD)
    for name in BY_LAYER:
        if isinstance(entries := said.get(name), list):
            some = [entry for entry in entries if entry != 0] if row.hybrid and name == HEARD else entries
            if len(entries) != layers or not some or any(entry != some[0] for entry in some):
                raise keys.refused(name, entries, f"one number, or the same one for each of the {layers} layers")
            said = {**said, name: some[0]}
    nothing = {*NONE, *NEEDED} - {*row.needed}
    said = {name: value for name, value in said.items() if value != 0 or name not in nothing}
    keys = ConfigReader(said, "the GGUF key", place)
    for name in (*row.needed, row.eps[0]):
        keys.take(name, REQUIRED)
    values = {
        ours: keys.whole(name, None, least=0 if name.endswith("_token_id") else 1)
        for name, ours in {**WHOLE, **row.whole}.items()
    }
    values |= {
        ours: keys.number(name, None) for name, ours in {**NUMBERS, **row.numbers, row.eps[0]: row.eps[1]}.items()
    }
    values |= {ours: keys.truth(name, False) for name, ours in row.truths.items()}
    if heads := values["num_attention_heads"]:
        width = values.get("head_dim") or head_width(keys, values["hidden_size"], heads, "attention.head_count")
        for name in ("attention.value_length", "rope.dimension_count"):
            if name not in row.whole and keys.whole(name, width) != width:
                raise keys.refused(name, said[name], f"the width of a head, {width}; others cannot be read")
        values |= {"num_key_value_heads": values["num_key_value_heads"] or heads, "head_dim": width}
    if row.hybrid:
        values["heard"] = list(map(bool, heard)) if isinstance(heard, list) else [True] * layers
    for name, allowed in {**NEUTRAL, "attention.causal": (row.causal,)}.items():
        known = name in {**row.whole, **row.numbers, **row.truths}
        if not known and (value := keys.take(name, allowed[0])) not in allowed:
            raise keys.refused(name, value, " or ".join(map(repr, allowed)) + "; other models cannot be read")
    values["rope_scaling"] = _scaling(keys)
    keys.keep(*INERT)
    keys.rest()  # warns
    return {name: value for name, value in values.items() if value is not None}


def rope_factors(config: ModelConfig, factors: list[float]) -> ModelConfig:
    """`config` with the rotary divisors that a file holds as the tensor ``rope_freqs`` (Llama 3.1 and later)."""
    if not all(is_number(factor) and factor > 0 for factor in factors):
        raise ConfigError("the GGUF file's 'rope_freqs.weight' holds a divisor that is not a positive number")
    scaling = LongRopeScaling(tuple(factors), tuple(factors), config.context, 1.0)

    def turn(i: int, block: Block) -> Block:
        rotary = block.attention.rotary
        if rotary is None or len(factors) != rotary.width // 2:
            raise ConfigError("the GGUF file's 'rope_freqs.weight' does not fit the width of its heads")
        if rotary.scaling is not None:
            raise ConfigError("the GGUF file scales its rotary positions twice, by 'rope_freqs.weight' and by its keys")
        turned = dataclasses.replace(rotary, scaling=scaling)
        return dataclasses.replace(block, attention=dataclasses.replace(block.attention, rotary=turned))

    return config.with_blocks(turn)


def table(config: ModelConfig) -> Table:
    """The names of the GGUF tensors of a model."""
    row = FAMILIES[config.family].gguf
    assert row is not None
    attention = config.transformer.blocks[0].attention
    side = "encoder" if config.decoder is None else "decoder"
    theirs, ours = "blk.{i}.", f"{side}.blocks.{{i}}."
    shift = (Shift(1.0),) if row.shifted else ()

    def turned(heads: int) -> tuple[Operation, ...]:
        if not row.interleaved:
            return ()
        rotary = next((b.attention.rotary for b in config.transformer.blocks if b.attention.rotary is not None), None)
        return (interleaved_rotary(heads, attention.head_width, None if rotary is None else rotary.width),)

    mappings = [
        WeightMapping("token_embd.weight", "embed.weight"),
        WeightMapping("token_embd_norm.{p}", f"{side}.embeddings.norm.{{p}}"),
        WeightMapping("token_types.weight", f"{side}.embeddings.types.weight"),
        WeightMapping("position_embd.weight", f"{side}.embeddings.positions.weight"),
        WeightMapping("output_norm.{p}", f"{side}.norm.{{p}}", *shift),
        WeightMapping("output.{p}", "head.proj.{p}"),
        WeightMapping(f"{theirs}attn_sinks.weight", f"{ours}attention.sinks"),
    ]
    names = {own: name for own, name in {**NAMES, **row.names}.items() if own not in row.without}
    if row.halves:
        del names["feedforward.gate"], names["feedforward.up"]
        gate, up = f"{ours}feedforward.gate.{{p}}", f"{ours}feedforward.up.{{p}}"
        hidden = config.transformer.blocks[0].feedforward.hidden
        mappings.append(WeightMapping(f"{theirs}ffn_up.{{p}}", (gate, up), Split((hidden, hidden))))
    if attention.normed == "own":
        for part, heads in (("q", attention.heads), ("k", attention.kv_heads)):
            norms = tuple(f"{ours}attention.{part}_norm.heads.{h}.weight" for h in range(heads))
            del names[f"attention.{part}_norm"]
            mappings.append(WeightMapping(f"{theirs}attn_{part}_norm.weight", norms, Unstack(heads), *turned(1)))
    mappings += _experts(config)
    for own, name in names.items():
        is_norm = own.endswith(("norm", "after"))
        mappings.append(WeightMapping(f"{theirs}{name}.{{p}}", f"{ours}{own}.{{p}}", *(shift if is_norm else ())))
    q, k, v = (f"{ours}attention.{part}.{{p}}" for part in "qkv")
    if row.joint:
        sizes = tuple(n * attention.head_width for n in (attention.heads, attention.kv_heads, attention.kv_heads))
        mappings.append(WeightMapping(f"{theirs}attn_qkv.{{p}}", (q, k, v), Split(sizes)))
    else:
        mappings += [
            WeightMapping(f"{theirs}attn_q.{{p}}", q, *turned(attention.heads)),
            WeightMapping(f"{theirs}attn_k.{{p}}", k, *turned(attention.kv_heads)),
            WeightMapping(f"{theirs}attn_v.{{p}}", v),
        ]
    return Table(tuple(mappings), ignored=("rope_freqs.weight", *row.ignored)).replaced(*row.own(config))


def _experts(config: ModelConfig) -> list[WeightMapping]:
    """The names of experts, each layer of which is one tensor for all."""
    theirs, ours = "blk.{i}.", "decoder.blocks.{i}.feedforward."
    found = next((b.feedforward for b in config.transformer.blocks if isinstance(b.feedforward, Experts)), None)
    if found is None:
        return []
    made = [
        WeightMapping(f"{theirs}ffn_gate_inp.{{p}}", f"{ours}router.{{p}}"),
        WeightMapping(f"{theirs}ffn_gate_inp_shexp.weight", f"{ours}share.weight", AsRow()),
    ]
    for part in ("gate", "up", "down"):
        own = tuple(f"{ours}experts.{e}.{part}.{{p}}" for e in range(found.count))
        made.append(WeightMapping(f"{theirs}ffn_{part}_exps.{{p}}", own, Unstack(found.count)))
        made.append(WeightMapping(f"{theirs}ffn_{part}_shexp.{{p}}", f"{ours}shared.{part}.{{p}}"))
    return made


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

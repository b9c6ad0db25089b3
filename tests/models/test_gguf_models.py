"""GGUF files of every architecture, written with llama.cpp's conventions from reference models, opened and compared."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from gguf_files import add_tokenizer
from references import CONFIGS, reference
from torch import Tensor

from limelight.checkpoints.open import open_checkpoint
from limelight.errors import ConfigError
from limelight.quant.linear import LowBitEmbedding, LowBitLinear

TOKENS = torch.randint(3, 96, (2, 20), generator=torch.Generator().manual_seed(2))
CASES = ["llama", "llama-biases-tied", "llama-llama3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "gpt2"]
CASES += ["olmo", "olmo2", "smollm3", "granite", "starcoder2", "phi", "stablelm", "cohere", "cohere2", "glm4"]
CASES += ["phi3", "ernie4_5", "gpt_neox", "gpt_neox-serial-tied", "falcon", "bloom", "mpt", "arcee", "mixtral"]
CASES += ["exaone4", "exaone4-without-windows", "qwen2_moe", "qwen3_moe", "olmoe", "gpt_oss", "granitemoe"]

ARCHITECTURES = {
    "gemma3_text": "gemma3",
    "phi": "phi2",
    "gpt_neox": "gptneox",
    "cohere": "command-r",
    "mixtral": "llama",
}
ARCHITECTURES |= {"qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe", "gpt_oss": "gpt-oss", "gpt_neox": "gptneox"}
"""What llama.cpp calls them, where that is not transformers' name."""

EXPERTS = {
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}
OTHER_KEYS: dict[str, dict[str, Any]] = {
    "gemma2": {name: name for name in ("attn_logit_softcapping", "final_logit_softcapping")}
    | {"attention.sliding_window": "sliding_window"},
    "gemma3": {
        "attention.sliding_window": "sliding_window",
        "attention.sliding_window_pattern": 2,
        "rope.freq_base_swa": 300.0,
        "rope.scaling.factor": 4.0,
    },
    "olmo": {"attention.clamp_kqv": "clip_qkv"},
    "granite": {
        "embedding_scale": "embedding_multiplier",
        "attention.scale": "attention_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_scale": "logits_scaling",
    },
    "granitemoe": {
        "expert_count": "num_local_experts",
        "expert_used_count": "num_experts_per_tok",
        "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_scale": "logits_scaling",
    },
    "phi2": {"rope.dimension_count": 8},
    "phi3": {"attention.sliding_window": "sliding_window", "rope.scaling.original_context_length": 128},
    "gptneox": {"rope.dimension_count": 4, "use_parallel_residual": "use_parallel_residual"},
    "stablelm": {"rope.dimension_count": 4, "use_parallel_residual": False},
    "command-r": {"logit_scale": "logit_scale"},
    "cohere2": {"logit_scale": "logit_scale", "attention.sliding_window": "sliding_window"},
    "glm4": {"rope.dimension_count": 8},
    "exaone4": {"attention.sliding_window": "sliding_window", "attention.sliding_window_pattern": 2},
    "mpt": {"attention.clamp_kqv": 1.5, "attention.max_alibi_bias": 8.0},
    "mixtral": {"expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok"},
    "qwen2moe": {**EXPERTS, "expert_shared_feed_forward_length": "shared_expert_intermediate_size"},
    "qwen3moe": EXPERTS,
    "olmoe": {"expert_count": "num_experts", "expert_used_count": "num_experts_per_tok"},
    "gpt-oss": {
        "expert_count": "num_local_experts",
        "expert_used_count": "num_experts_per_tok",
        "expert_feed_forward_length": "intermediate_size",
        "attention.sliding_window": "sliding_window",
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": 32.0,
        "rope.scaling.original_context_length": 4096,
    },
}
"""What each architecture says beyond the rest: metadata keys and the config's, or a value."""


def converted(name: str, weight: Tensor, architecture: str, config: transformers.PretrainedConfig) -> Tensor:
    """A reference tensor in the layout that llama.cpp's converter gives it."""
    if architecture == "gpt2" and weight.dim() == 2 and ".c_" in name:
        weight = weight.t()
    if architecture.startswith("gemma") and weight.dim() == 1:
        weight = weight + 1
    if architecture == "gptneox" and "query_key_value" in name:
        weight = weight.unflatten(0, (config.num_attention_heads, 3, -1)).transpose(0, 1).reshape(weight.shape)
    if architecture == "bloom" and "query_key_value" in name:
        weight = weight.unflatten(0, (config.n_head, 3, -1)).transpose(0, 1).reshape(weight.shape)
    if architecture in {"llama", "olmo", "smollm3", "granite", "granitemoe", "arcee"} and (
        "q_proj" in name or "k_proj" in name
    ):
        heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
        weight = weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).transpose(1, 2).reshape(weight.shape)
    return weight


def experts(name: str, weight: Tensor, architecture: str) -> list[tuple[str, Tensor]]:
    """The tensors of experts, all of one layer in one, under llama.cpp's names; none if it is no expert's."""
    place, _, leaf = name.replace(".block_sparse_moe.", ".mlp.").rpartition(".mlp.experts.")
    if not place:
        return []
    layer, kind = place.rpartition(".")[2], "bias" if leaf.endswith("_bias") else "weight"
    if architecture == "gpt-oss":
        weight = weight if kind == "bias" else weight.transpose(1, 2)
        halves = (weight[:, ::2], weight[:, 1::2])
    else:
        halves = weight.chunk(2, 1)
    parts = {"down": weight} if "down" in leaf else dict(zip(("gate", "up"), halves, strict=True))
    return [(f"blk.{layer}.ffn_{part}_exps.{kind}", tensor) for part, tensor in parts.items()]


def write(name: str, path: Path, kind: gguf.GGMLQuantizationType | None = None) -> transformers.PreTrainedModel:
    """Writes the reference model `name` as GGUF; matrices as `kind`, float32 without it."""
    theirs = reference(name)
    config = theirs.config
    architecture = name.split("-", maxsplit=1)[0]
    others = OTHER_KEYS.get(architecture) or OTHER_KEYS.get(ARCHITECTURES.get(architecture, ""), {})
    architecture = ARCHITECTURES.get(architecture, architecture)
    writer = gguf.GGUFWriter(path, architecture)
    width, layers, heads = (getattr(config, key) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_head_count(heads)
    if hasattr(config, "layer_norm_epsilon"):
        writer.add_feed_forward_length(4 * width)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        if architecture == "falcon":
            writer.add_head_count_kv(1)
    else:
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count_kv(getattr(config, "num_key_value_heads", heads))
        writer.add_key_length(getattr(config, "head_dim", None) or width // heads)
        for own in ("rms_norm_eps", "layer_norm_eps", "norm_epsilon"):
            if hasattr(config, own):
                (writer.add_layer_norm_rms_eps if own == "rms_norm_eps" else writer.add_layer_norm_eps)(
                    getattr(config, own)
                )
        if architecture == "olmo":
            writer.add_layer_norm_eps(1e-5)
        writer.add_rope_freq_base(config.rope_parameters.get("rope_theta", 10000.0))
    for key, own in others.items():
        value = getattr(config, own, own) if isinstance(own, str) else own
        if value is None:
            continue
        if isinstance(value, str):
            writer.add_string(f"{architecture}.{key}", value)
            continue
        add = writer.add_bool if isinstance(value, bool) else writer.add_uint32
        (writer.add_float32 if isinstance(value, float) else add)(f"{architecture}.{key}", value)
    if name == "llama-llama3":
        # The converter writes the scaled frequencies as divisors.
        plain = 1.0 / 10000.0 ** (torch.arange(0, 16, 2).float() / 16)
        writer.add_tensor("rope_freqs.weight", (plain / theirs.model.rotary_emb.inv_freq).numpy())
    add_tokenizer(writer)
    tied = getattr(config, "tie_word_embeddings", False)
    kinds = {called: number for number, called in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], layers)
    for own, weight in theirs.state_dict().items():
        if own in {"lm_head.weight", "embed_out.weight"} and tied:
            continue
        key = own.replace("block_sparse_moe.router.weight", "block_sparse_moe.router.layer.weight")
        made = experts(key, weight, architecture)
        if not made:
            called = next(
                filter(None, (names.get_name(k, (".weight", ".bias")) for k in (key, key.partition(".")[2]))), None
            )
            assert called is not None, key
            made = [
                (called if "sinks" not in key else f"{called}.weight", converted(key, weight, architecture, config))
            ]
        for theirs_name, tensor in made:
            _add(writer, theirs_name, tensor.contiguous().numpy().astype(np.float32), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return theirs


def _add(writer: gguf.GGUFWriter, name: str, data: Any, kind: gguf.GGMLQuantizationType | None) -> None:
    if kind is not None and data.ndim > 1 and data.shape[-1] % 32 == 0:
        writer.add_tensor(name, gguf.quants.quantize(data, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, data)


@pytest.mark.parametrize("name", CASES)
def test_every_architecture(name: str, tmp_path: Path) -> None:
    theirs = write(name, tmp_path / "model.gguf")
    if name in {"gemma2", "gemma3_text"}:  # the file has no scale of the scores: it is the head's, except for 27B
        for layer in theirs.model.layers:
            layer.self_attn.scaling = CONFIGS[name].head_dim ** -0.5
    ours = open_checkpoint(tmp_path / "model.gguf").network
    with torch.inference_mode():
        torch.testing.assert_close(ours(TOKENS), theirs(TOKENS).logits, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_low_bit_layers_stay_packed_and_compute_what_their_widened_weights_do(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write("llama-biases-tied", path, gguf.GGMLQuantizationType[kind])
    packed, wide = open_checkpoint(path).network, open_checkpoint(path, dtype="float32").network
    assert sum(isinstance(module, LowBitLinear) for module in packed.modules()) == 3 * 7 + 1  # and the tied head
    assert isinstance(packed.embed, LowBitEmbedding)
    assert not any(isinstance(module, LowBitLinear) for module in wide.modules())
    with torch.inference_mode():
        ours, exact = packed(TOKENS), wide(TOKENS)
    error = (ours - exact).norm() / exact.norm()
    assert error < 0.02  # the inputs of the products are rounded to 8 bits


def test_a_packed_model_is_saved_as_the_numbers_it_stands_for(tmp_path: Path) -> None:
    import limelight

    write("llama-biases-tied", tmp_path / "model.gguf", gguf.GGMLQuantizationType.Q4_1)
    limelight.save(limelight.open(tmp_path / "model.gguf"), tmp_path / "saved")
    wide = open_checkpoint(tmp_path / "model.gguf", dtype="float32").network
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    with torch.inference_mode():
        torch.testing.assert_close(theirs(TOKENS).logits, wide(TOKENS), rtol=1e-5, atol=1e-5)


def test_looking_is_exact_over_low_bit_layers(tmp_path: Path) -> None:
    import limelight

    path = tmp_path / "model.gguf"
    write("llama-biases-tied", path, gguf.GGMLQuantizationType.Q4_1)
    packed, wide = limelight.open(path), limelight.open(path, dtype="float32")
    matrices = [module.matrix for module in packed.network.modules() if isinstance(module, LowBitLinear)]
    # What one reading tells; what changes the text to measure reads it as in use.
    ours, exact = (model.look("A,B;C!D?E").importance("E", method="alti-logit") for model in (packed, wide))
    assert [h.importance for h in ours.words] == pytest.approx([h.importance for h in exact.words], abs=1e-4)
    assert ours.logprob == pytest.approx(exact.logprob, abs=1e-5)
    torch.testing.assert_close(
        packed.look("A,B;C!D?E").every_attention(), wide.look("A,B;C!D?E").every_attention(), rtol=1e-4, atol=1e-5
    )
    after = [module.matrix for module in packed.network.modules() if isinstance(module, LowBitLinear)]
    assert all(a is b for a, b in zip(after, matrices, strict=True))  # the model in use is as fast as it was


def changed(path: Path, drop: str = "", **values: tuple[str, object]) -> Path:
    """The file with other keys of its architecture ("__" for "."): (type, value), by the names of the writer."""
    from limelight.checkpoints.reader import open_tensors

    reader = open_tensors(path)
    writer = gguf.GGUFWriter(path.with_name("changed.gguf"), "llama")
    for key, value in reader.metadata.items():
        if key not in {"general.architecture", f"llama.{drop}"} and key[6:].replace(".", "__") not in values:
            kinds = {str: "string", int: "uint32", float: "float32", list: "array"}
            getattr(writer, f"add_{kinds[type(value)]}")(key, value)
    for key, (kind, value) in values.items():
        getattr(writer, f"add_{kind}")(f"llama.{key.replace('__', '.')}", value)
    for name in reader.names():
        writer.add_tensor(name, reader.read(name).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.with_name("changed.gguf")


YARN = {"rope__scaling__type": ("string", "yarn"), "rope__scaling__factor": ("float32", 4.0)}
YARN["rope__scaling__original_context_length"] = ("uint32", 32)
AS_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}


@pytest.mark.parametrize(
    ("keys", "rope"),
    [
        ({"rope__scaling__factor": ("float32", 4.0)}, {"rope_type": "linear", "factor": 4.0}),
        ({"rope__scale_linear": ("float32", 4.0)}, {"rope_type": "linear", "factor": 4.0}),
        ({"rope__scaling__type": ("string", "linear"), "rope__scaling__factor": ("float32", 0.0)}, {}),
        ({"rope__scaling__type": ("string", "none"), "rope__scaling__factor": ("float32", 4.0)}, {}),
        ({"rope__freq_base": ("float32", 500.0)}, {"rope_theta": 500.0}),
        (YARN, AS_YARN),
        (
            {
                **YARN,
                "rope__scaling__yarn_beta_fast": ("float32", 8.0),
                "rope__scaling__yarn_beta_slow": ("float32", 2.0),
            },
            {**AS_YARN, "beta_fast": 8.0, "beta_slow": 2.0},
        ),
        (
            {**YARN, "rope__scaling__attn_factor": ("float32", 0.5)},
            {**AS_YARN, "attention_factor": 0.5 * (0.1 * np.log(4.0) + 1)},
        ),
    ],
)
def test_rope_keys_mean_what_they_mean_to_llama_cpp(keys: dict[str, Any], rope: dict[str, Any], tmp_path: Path) -> None:
    theirs = write("llama", tmp_path / "model.gguf")
    config = theirs.config.to_dict()
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 10000.0, **rope}
    scaled = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).eval()
    scaled.load_state_dict(theirs.state_dict())
    ours = open_checkpoint(changed(tmp_path / "model.gguf", **keys)).network
    with torch.inference_mode():
        torch.testing.assert_close(ours(TOKENS), scaled(TOKENS).logits, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention__head_count", ("array", [4, 4, 2])),
        ("attention__head_count", ("array", [4, 4])),
        ("attention__head_count_kv", ("uint32", 0)),
        ("attention__key_length", ("array", [16, 16, 16])),
        ("attention__value_length", ("uint32", 8)),
        ("attention__layer_norm_rms_epsilon", ("string", "x")),
        ("attention__causal", ("bool", False)),
        ("attention__scale", ("float32", 0.5)),
        ("block_count", ("float32", 3.0)),
        ("context_length", ("string", "256")),
        ("embedding_length", ("bool", True)),
        ("expert_count", ("uint32", 8)),
        ("logit_scale", ("float32", 0.5)),
        ("rope__dimension_count", ("uint32", 8)),
        ("rope__freq_base", ("float32", float("nan"))),
        ("rope__scaling__type", ("string", "longrope")),
        ("rope__scaling__factor", ("float32", -2.0)),
        ("rope__scaling__yarn_log_multiplier", ("float32", 0.1)),
    ],
)
def test_a_key_that_cannot_be_followed_is_refused_by_name(key: str, value: tuple[str, Any], tmp_path: Path) -> None:
    write("llama", tmp_path / "model.gguf")
    with pytest.raises(ConfigError, match=rf"the GGUF key 'llama\.{key.replace('__', '.')}' is "):
        open_checkpoint(changed(tmp_path / "model.gguf", **{key: value}))


@pytest.mark.parametrize(
    "name", ["block_count", "context_length", "embedding_length", "attention.head_count", "feed_forward_length"]
)
def test_a_key_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    write("llama", tmp_path / "model.gguf")
    with pytest.raises(ConfigError, match=rf"the GGUF key 'llama\.{name}' is missing"):
        open_checkpoint(changed(tmp_path / "model.gguf", drop=name))


def test_an_olmo_3_is_refused_by_its_name_and_not_read_as_an_olmo_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OTHER_KEYS, "olmo2", {"attention.sliding_window": 5})
    write("olmo2", tmp_path / "model.gguf")
    with pytest.raises(ConfigError, match=r"'olmo2\.attention\.sliding_window' is 5: this is OLMo 3"):
        open_checkpoint(tmp_path / "model.gguf")


def test_a_key_that_is_not_known_is_named(tmp_path: Path) -> None:
    write("llama", tmp_path / "model.gguf")
    with pytest.warns(UserWarning, match=r"the GGUF key 'llama\.new\.thing' \(7\) is not known and was ignored"):
        open_checkpoint(changed(tmp_path / "model.gguf", new__thing=("uint32", 7)))


def test_a_list_with_the_same_number_for_each_layer_is_that_number(tmp_path: Path) -> None:
    write("llama", tmp_path / "model.gguf")
    lists = {"attention__head_count": [4] * 3, "attention__head_count_kv": [2] * 3, "feed_forward_length": [96] * 3}
    path = changed(tmp_path / "model.gguf", **{key: ("array", value) for key, value in lists.items()})
    assert open_checkpoint(path).network.config == open_checkpoint(tmp_path / "model.gguf").network.config

"""GGUF files of encoders and of T5, laid out as llama.cpp's converter does, opened and compared."""

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
import transformers
from gguf_files import add_keys, finish
from references import ENCODERS, MODERNBERT, SEQ2SEQ, reference

import limelight
from limelight.checkpoints.open import open_checkpoint
from limelight.errors import ConfigError

TOKENS = torch.randint(3, 96, (3, 20), generator=torch.Generator().manual_seed(2))
LENGTHS = torch.tensor([20, 7, 1])
CASES = {"bert-states": "bert", "nomic_bert-states": "nomic-bert", "modernbert-states": "modern-bert"}
CASES |= {"t5": "t5", "t5-gated-untied": "t5", "umt5": "t5"}
JOINED = ("q_proj", "k_proj", "v_proj")


def keys_of(config: transformers.PretrainedConfig, architecture: str) -> dict[str, Any]:
    """What the converter says."""
    if architecture == "t5":
        return {
            "context_length": config.n_positions,
            "embedding_length": config.d_model,
            "feed_forward_length": config.d_ff,
            "block_count": config.num_layers,
            "decoder_block_count": config.num_decoder_layers,
            "attention.head_count": config.num_heads,
            "attention.key_length": config.d_kv,
            "attention.value_length": config.d_kv,
            "attention.layer_norm_epsilon": config.layer_norm_epsilon,
            "attention.layer_norm_rms_epsilon": config.layer_norm_epsilon,
            "attention.relative_buckets_count": config.relative_attention_num_buckets,
            "decoder_start_token_id": config.decoder_start_token_id,
        }
    keys: dict[str, Any] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "block_count": config.num_hidden_layers,
        "attention.head_count": config.num_attention_heads,
        "attention.causal": False,
        "pooling_type": 2 if architecture == "bert" else 1,
    }
    if architecture == "modern-bert":
        turned = config.rope_parameters
        keys |= {
            "attention.layer_norm_epsilon": config.norm_eps,
            "attention.sliding_window": config.local_attention,
            "attention.sliding_window_pattern": 2,
            "rope.freq_base": turned["full_attention"]["rope_theta"],
            "rope.freq_base_swa": turned["sliding_attention"]["rope_theta"],
        }
        return keys
    keys["attention.layer_norm_epsilon"] = config.layer_norm_eps
    return keys | ({"rope.freq_base": config.rope_parameters["rope_theta"]} if architecture == "nomic-bert" else {})


def write(name: str, path: Path, **more: Any) -> transformers.PreTrainedModel:
    """Writes a reference's body as GGUF."""
    theirs, architecture = reference(name), CASES[name]
    config = theirs.config
    writer = gguf.GGUFWriter(path, architecture)
    add_keys(writer, architecture, keys_of(config, architecture) | more)
    kinds = {called: number for number, called in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], 3)
    weights = dict(theirs.state_dict())
    for place in [key.removesuffix("q_proj.weight") for key in weights if key.endswith("q_proj.weight")]:
        if architecture == "nomic-bert":  # whose files have one matrix
            parts = [weights.pop(f"{place}{part}.weight") for part in JOINED]
            weights[f"{place.replace('self_attn.', 'attn.')}Wqkv.weight"] = torch.cat(parts)
    for key, weight in weights.items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        called = called_in(names, key, NOMIC if architecture == "nomic-bert" else {})
        if called is not None:
            writer.add_tensor(called, weight.contiguous().numpy())
    finish(writer)
    return theirs


NOMIC = {
    "layers.": "encoder.layers.",
    "embeddings.LayerNorm": "emb_ln",
    "self_attn.o_proj": "attn.out_proj",
    "up_proj": "fc11",
    "gate_proj": "fc12",
    "down_proj": "fc2",
    "post_attention_layernorm": "norm1",
    "post_mlp_layernorm": "norm2",
}
"""What transformers calls Nomic's weights, and what they are called in the files that the converter reads."""


def called_in(names: gguf.TensorNameMap, key: str, changed: dict[str, str]) -> str | None:
    """llama.cpp's name of one of transformers' weights; None for what the converter leaves out."""
    if any(part in key for part in ("pooler", "embed_tokens", "EncDecAttention.relative")):
        return None
    for ours, theirs in changed.items():
        key = key.replace(ours, theirs)
    called = names.get_name(key, (".weight", ".bias"))
    assert called is not None, key
    return called


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("states")])
def test_every_architecture_of_encoders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alternating = transformers.ModernBertConfig(**MODERNBERT, global_attn_every_n_layers=2)
    monkeypatch.setitem(ENCODERS, "modernbert-states", (alternating, transformers.ModernBertModel))
    theirs = write(name, tmp_path / "model.gguf")
    network = open_checkpoint(tmp_path / "model.gguf").network
    mask = (torch.arange(TOKENS.shape[1]) < LENGTHS[:, None]).long()
    with torch.inference_mode():
        states = theirs(input_ids=TOKENS, attention_mask=mask).last_hidden_state
        found = network.read(TOKENS, LENGTHS)
        pooled = states[:, 0] if name == "bert-states" else (states * mask[..., None]).sum(1) / LENGTHS[:, None]
        for row, length in enumerate(LENGTHS.tolist()):
            torch.testing.assert_close(found[row, :length], states[row, :length], rtol=2e-5, atol=2e-5)
        vectors = network(TOKENS, LENGTHS)
    torch.testing.assert_close(vectors, torch.nn.functional.normalize(pooled, dim=-1), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", [name for name in CASES if "t5" in name])
def test_t5(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near = SEQ2SEQ[name.removesuffix("-untied")]
    far = near.to_dict() | {"relative_attention_max_distance": 128}  # which llama.cpp takes for granted
    monkeypatch.setitem(SEQ2SEQ, name, type(near)(**far))
    theirs = write(name, tmp_path / "model.gguf")
    opened = limelight.open(tmp_path / "model.gguf")
    assert isinstance(opened, limelight.Translator)
    assert opened.language.marks.start == theirs.config.decoder_start_token_id
    assert opened.network.config.family == ("umt5" if name == "umt5" else "t5")
    mask = (torch.arange(TOKENS.shape[1]) < LENGTHS[:, None]).long()
    with torch.inference_mode():
        expected = theirs(input_ids=TOKENS, attention_mask=mask, decoder_input_ids=TOKENS[:, :9]).logits
        torch.testing.assert_close(opened.network(TOKENS, LENGTHS, TOKENS[:, :9]), expected, rtol=2e-5, atol=1e-4)


def test_an_encoder_that_sees_one_side_alone_or_ranks_is_refused_by_its_key(tmp_path: Path) -> None:
    write("bert-states", tmp_path / "one.gguf", **{"attention.causal": True})
    with pytest.raises(ConfigError, match=r"'bert\.attention\.causal' is True; it must be False"):
        open_checkpoint(tmp_path / "one.gguf")
    write("bert-states", tmp_path / "two.gguf", pooling_type=4)
    with pytest.raises(ConfigError, match=r"'bert\.pooling_type' is 4"):
        open_checkpoint(tmp_path / "two.gguf")


def test_an_embedder_from_gguf_makes_vectors_of_length_one_and_is_looked_at(tmp_path: Path) -> None:
    write("bert-states", tmp_path / "model.gguf")
    model = limelight.open(tmp_path / "model.gguf")
    assert isinstance(model, limelight.Embedder)
    vectors = model.embed(["A,B", "C!D"])
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2))
    assert len(model.look("A,B").importance("C!D").words) > 0

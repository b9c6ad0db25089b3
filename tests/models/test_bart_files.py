"""Files of BART's families as they lie about: without what the class would draw, with what it repeats, or spoilt."""

import json
from pathlib import Path

import pytest
import torch
from references import saved
from safetensors.torch import load_file, save_file

from limelight.checkpoints.open import open_checkpoint
from limelight.errors import ConfigError
from limelight.models.registry import config_from_hf

SOURCE, TARGET = torch.tensor([[5, 9, 40, 2]]), torch.tensor([[2, 17, 30]])


def logits(folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        return open_checkpoint(folder).network(SOURCE, None, TARGET)  # type: ignore[no-any-return]


def rewritten(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    (folder / "model.safetensors").unlink()
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / "model.safetensors")


def test_a_bias_that_the_file_leaves_out_is_zero(tmp_path: Path) -> None:
    theirs = saved("bart", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["final_logits_bias"]
    rewritten(tmp_path, {name.removeprefix("model."): weight for name, weight in weights.items()})  # a bare BartModel's
    theirs.final_logits_bias.zero_()
    with torch.inference_mode():
        expected = theirs(input_ids=SOURCE, decoder_input_ids=TARGET).logits
    torch.testing.assert_close(logits(tmp_path), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bare", [False, True])
def test_embeddings_may_be_repeated_but_not_differ(tmp_path: Path, bare: bool) -> None:
    saved("mbart", tmp_path)
    before, weights = logits(tmp_path), load_file(tmp_path / "model.safetensors")
    prefix = "" if bare else "model."
    if bare:
        weights = {name.removeprefix("model."): weight for name, weight in weights.items()}
    weights[f"{prefix}encoder.embed_tokens.weight"] = weights[f"{prefix}shared.weight"].clone()
    rewritten(tmp_path, weights)
    assert torch.equal(logits(tmp_path), before)
    weights[f"{prefix}encoder.embed_tokens.weight"][3, 3] += 1
    rewritten(tmp_path, weights)
    with pytest.raises(ConfigError, match=r"encoder\.embed_tokens\.weight' differs from"):
        open_checkpoint(tmp_path)


def test_positions_of_a_pegasus_are_held_against_what_they_must_be(tmp_path: Path) -> None:
    saved("pegasus", tmp_path)
    before, weights = logits(tmp_path), load_file(tmp_path / "model.safetensors")
    places = [f"model.{side}.embed_positions.weight" for side in ("encoder", "decoder")]
    spoilt = {**weights, places[1]: weights[places[1]].flip(0)}
    rewritten(tmp_path, spoilt)
    with pytest.raises(ConfigError, match=r"decoder\.embed_positions\.weight' holds no sinusoidal positions"):
        open_checkpoint(tmp_path)
    rewritten(tmp_path, {**weights, places[0]: weights[places[0]][:5]})
    with pytest.raises(ConfigError, match=r"encoder\.embed_positions\.weight' .* of the shape \(128, 64\)"):
        open_checkpoint(tmp_path)
    rewritten(tmp_path, {name: weight for name, weight in weights.items() if name not in places})
    assert torch.equal(logits(tmp_path), before)


WRONG = {
    "activation_function": "snake",
    "encoder_attention_heads": 5,
    "decoder_layers": 0,
    "d_model": -1,
    "max_position_embeddings": "many",
    "decoder_vocab_size": 12,
    "scale_embedding": 2,
    "tie_word_embeddings": "yes",
}


@pytest.mark.parametrize("key", WRONG)
def test_wrong_configs_are_refused_by_name(key: str, tmp_path: Path) -> None:
    saved("marian", tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(ConfigError, match=key):
        config_from_hf({**values, key: WRONG[key]})


@pytest.mark.parametrize("values", [{"architectures": ["BartForCausalLM"]}, {"is_encoder_decoder": False}])
def test_a_decoder_alone_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="decoder of a bart alone"):
        config_from_hf({"model_type": "bart", **values})


def test_unknown_keys_are_named() -> None:
    said = {"model_type": "bart", "encoder_layers": 1, "decoder_layers": 1, "normalize_before": False, "dropout": 0.1}
    with pytest.warns(UserWarning, match="'rotary_everything'") as warned:
        config_from_hf({**said, "rotary_everything": True})
    assert len(warned) == 1

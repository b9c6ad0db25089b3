"""Every key of every family's config, left out, changed and added in turn: what the reference then computes is what we
compute, or the key is refused or warned about by its name. Weights stay the same throughout."""

import copy
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from references import CONFIGS, saved
from safetensors.torch import load_file, save_file

from limelight.checkpoints.open import open_checkpoint
from limelight.errors import LimelightError

TOKENS = torch.randint(3, 99, (1, 24), generator=torch.Generator().manual_seed(3))
LEFT_OUT = object()

VALUES: dict[str, list[Any]] = {
    "activation": ["relu"],
    "activation_function": ["relu", "gelu"],
    "add_cross_attention": [True],
    "attention_bias": [True, False],
    "attention_multiplier": [0.3],
    "attention_types": [[[["global", "local"], 1], [["local"], 1]], [[["global"], 3]]],
    "attn_logit_softcapping": [None, 1.0],
    "clip_qkv": [None, 0.7],
    "embedding_multiplier": [2.0],
    "final_logit_softcapping": [None, 1.0],
    "head_dim": [8, None],
    "hidden_act": ["relu", "gelu", "gelu_new"],
    "hidden_activation": ["relu", "gelu"],
    "hidden_size": [32],
    "is_decoder": [True],
    "layer_norm_eps": [0.1],
    "layer_norm_epsilon": [0.1],
    "layer_types": [["full_attention"] * 3, ["sliding_attention"] * 3, ["full_attention"] * 2],
    "logit_scale": [0.7],
    "logits_scaling": [3.0],
    "max_position_embeddings": [8, 1000],
    "max_window_layers": [0, 2],
    "mlp_bias": [True],
    "mlp_only_layers": [[], [0]],
    "n_inner": [None, 96],
    "no_rope_layer_interval": [3],
    "no_rope_layers": [[1, 1, 0], [0, 0, 1, 1], None],
    "norm_epsilon": [0.1],
    "norm_topk_prob": [True, False],
    "num_experts_per_tok": [1, 3],
    "num_attention_heads": [2, 8, 5],
    "num_hidden_layers": [2],
    "num_key_value_heads": [1, 4, None],
    "original_max_position_embeddings": [8, 64],
    "partial_rotary_factor": [0.5, 1.0],
    "qk_layernorm": [True, False],
    "query_pre_attn_scalar": [7],
    "residual_multiplier": [0.7],
    "rms_norm_eps": [0.1],
    "rotary_dim": [4, 16],
    "rope_interleaved": [True],
    "rope_local_base_freq": [100.0],
    "rope_scaling": [None, {"type": "linear", "factor": 3.0}, {"rope_type": "dynamic", "factor": 3.0}],
    "rope_theta": [100.0],
    "rotary_emb_base": [100],
    "rotary_pct": [0.5, 1.0],
    "scale_attn_by_inverse_layer_idx": [True],
    "scale_attn_weights": [False],
    "sliding_window": [None, 3],
    "sliding_window_pattern": [3],
    "swiglu_alpha": [1.0],
    "swiglu_limit": [0.5],
    "tie_word_embeddings": [True, False],
    "use_bias": [True, False],
    "use_bidirectional_attention": [True],
    "use_parallel_residual": [True, False],
    "use_qk_norm": [True, False],
    "use_qkv_bias": [True, False],
    "window_size": [2],
    "use_sliding_window": [True, False],
    "vocab_size": [50],
}
ROPE: dict[str, list[Any]] = {
    "rope_type": ["linear", "default"],
    "rope_theta": [100.0],
    "factor": [2.0],
    "original_max_position_embeddings": [8, 64],
    "partial_rotary_factor": [0.5, 1.0],
    "attention_factor": [0.5],
    "beta_fast": [8.0],
    "beta_slow": [3.0],
    "truncate": [False, None],
    "mscale": [0.7],
    "mscale_all_dim": [0.4],
    "low_freq_factor": [2.0],
    "high_freq_factor": [9.0],
    "short_factor": [[1.5] * 8],
    "long_factor": [[2.5] * 8],
    "type": ["linear"],
}
NAMES = ("model_type", "architectures", "transformers_version", "dtype", "id2label", "label2id")
"""Keys of which other tests speak, or that only name things."""

MUCH_ALIKE = {
    "stablelm-parallel",
    "qwen2_moe-some-dense",
    "falcon-serial",
    "falcon-grouped",
    "opt-post",
    "phi-normed",
    "glm",
    "gpt2-scaled-by-layer",
    "llama-biases-tied",
    "llama-linear",
    "gpt_neox-serial-tied",
    "deepseek_v2-lite",
    "granitemoehybrid-dense",
}
"""Of which the others have every key."""

RARE = {
    *("arcee", "helium", "smollm3", "olmo2", "starcoder2", "glm4", "cohere2", "gptj", "granite", "stablelm", "mpt"),
    *("qwen3_moe", "olmoe", "mixtral", "bloom", "opt", "falcon", "llama-dynamic", "phi3-longrope", "qwen2-windows"),
    *("deepseek_v2", "deepseek_v3", "mamba", "mamba2", "qwen3_next", "qwen3_5_text"),
    *(
        "ernie4_5",
        "exaone4",
        "exaone4-without-windows",
        "ministral",
        "olmo3",
        "cohere",
        "olmo",
        "phi",
        "gpt_neo",
        "gpt_neox",
        "gpt_oss",
        "llama-llama3",
        "qwen2_moe",
        "gemma",
        "mistral",
        "granitemoe",
        "granitemoehybrid",
        "lfm2",
    ),
}
"""Tried only where LIMELIGHT_TEST_ALL is set: each takes seconds, and all are over one reader of configs."""

TRIED = [
    name for name in CONFIGS if name not in MUCH_ALIKE and (os.environ.get("LIMELIGHT_TEST_ALL") or name not in RARE)
]


@pytest.fixture
def quiet() -> Iterator[None]:
    """The reference without its warnings and bars."""
    says = transformers.utils.logging
    level = says.get_verbosity()
    says.set_verbosity_error()
    says.disable_progress_bar()
    yield
    says.set_verbosity(level)
    says.enable_progress_bar()


def changed(config: dict[str, Any], values: dict[str, list[Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The key's name, and the config in which it is left out, changed or added. values: what else each may be."""
    for name in sorted({*config, *values} - {*NAMES}):
        for value in [LEFT_OUT, *values.get(name, [])]:
            other = copy.deepcopy(config)
            if value is LEFT_OUT:
                other.pop(name, None)
            else:
                other[name] = value
            if other != config:
                yield name, other


def changes(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same for the keys of a decoder, and for those of its rotary embeddings."""
    yield from changed(config, VALUES)
    if isinstance(config.get("rope_parameters"), dict):
        for name in sorted({*config["rope_parameters"], *ROPE}):
            for value in [LEFT_OUT, *ROPE.get(name, [])]:
                other = copy.deepcopy(config)
                if value is LEFT_OUT:
                    other["rope_parameters"].pop(name, None)
                else:
                    other["rope_parameters"][name] = value
                if other != config:
                    yield name, other
        older = copy.deepcopy(config)
        older["rope_scaling"] = {"type": "linear", "factor": 2.0}
        yield "rope_scaling", older


def shrink_embeddings(path: Path) -> None:
    """Makes what the first norm reads so small that its epsilon matters."""
    weights = load_file(path)
    path.unlink()
    for name in weights:
        if any(part in name for part in ("embed_tokens", "embed_in", "wte", "wpe")):
            weights[name] = weights[name] * 1e-3
    save_file(weights, path, metadata={"format": "pt"})


def theirs(folder: Path) -> torch.Tensor | None:
    """The reference's logits; None if it refuses the config, or draws weights that the file does not have."""
    try:
        model, told = transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", output_loading_info=True
        )
        if any(told.values()):
            return None
        with torch.inference_mode():
            return model(TOKENS).logits
    except Exception:  # whatever it trips over: the reference has no sentence for this config
        return None


def outcome(folder: Path) -> tuple[torch.Tensor | None, str]:
    """Our logits, or None, and everything that was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            network = open_checkpoint(folder).network
            with torch.inference_mode():
                logits = network(TOKENS)
        except LimelightError as error:
            return None, str(error)
    return logits, " ".join(str(warning.message) for warning in caught)


class Keys:
    """Changes to the config of a folder, compared with `reference`, which gives the logits it computes, or None.
    floor: by how much logits may differ where they are small. wrong: what differs in silence. compared: how many
    changes gave the same logits as the reference's."""

    def __init__(self, folder: Path, reference: Callable[[Path], torch.Tensor | None], floor: float = 0.0) -> None:
        self.folder, self.reference, self.floor = folder, reference, floor
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.wrong: list[str] = []
        self.compared = 0

    def judge(self, changes: Iterator[tuple[str, dict[str, Any]]]) -> None:
        """Each change alone, but for added keys that the reference does not know: it passes over most of those, so
        they are added together, and by halves where that makes a difference."""
        known = transformers.AutoConfig.from_pretrained(self.folder)
        names = {*known.to_dict(), *known.attribute_map, *self.config}
        strange: list[dict[str, Any]] = []
        for key, other in changes:
            if key in names or key not in other:
                self.alone(key, other)
                continue
            group = next((group for group in strange if key not in group), None)
            if group is None:
                strange.append(group := {})
            group[key] = other[key]
        for group in strange:
            self.together(group)

    def together(self, added: dict[str, Any]) -> None:
        if len(added) == 1:
            self.alone(*added, {**self.config, **added})
            return
        expected, logits, _ = self._both({**self.config, **added})
        if expected is not None and logits is not None and self._equal(logits, expected):
            self.compared += len(added)
            return
        items = list(added.items())
        for half in (items[: len(items) // 2], items[len(items) // 2 :]):
            self.together(dict(half))

    def alone(self, key: str, other: dict[str, Any]) -> None:
        expected, logits, said = self._both(other)
        value = other.get(key, (other.get("rope_parameters") or {}).get(key, "left out"))
        if expected is None:
            return
        if logits is None:
            if key not in said and "missing" not in said:
                self.wrong.append(f"{key} = {value}: refused without its name: {said}")
        elif not self._equal(logits, expected):
            if key not in said:
                self.wrong.append(f"{key} = {value}: another answer, in silence; said {said!r}")
        else:
            self.compared += 1

    def _both(self, config: dict[str, Any]) -> tuple[torch.Tensor | None, torch.Tensor | None, str]:
        (self.folder / "config.json").write_text(json.dumps(config))
        expected = self.reference(self.folder)
        if expected is None or not expected.isfinite().all():
            return None, None, ""
        return expected, *outcome(self.folder)

    def _equal(self, logits: torch.Tensor, expected: torch.Tensor) -> bool:
        tolerance = max(self.floor, 1e-4 * expected.std().item())
        return torch.allclose(logits.view(expected.shape), expected, rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize("name", TRIED)
def test_every_key_means_what_it_means_to_the_reference(name: str, tmp_path: Path, quiet: None) -> None:
    saved(name, tmp_path)
    shrink_embeddings(tmp_path / "model.safetensors")
    keys = Keys(tmp_path, theirs, floor=2e-5)
    keys.judge(changes(keys.config))
    assert not keys.wrong, "\n".join(keys.wrong)
    assert keys.compared > 10


def test_a_gemma_2_without_windows_is_saved_so_that_the_reference_runs_it(tmp_path: Path) -> None:
    from limelight.checkpoints.save import save_checkpoint

    expected = saved("gemma2", tmp_path / "one")
    path = tmp_path / "one" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "layer_types": ["full_attention"] * 3}))
    opened = open_checkpoint(tmp_path / "one")
    opened.network.config.extra.pop("sliding_window")  # as one has it that was read from GGUF
    save_checkpoint(opened.network, opened.tokenizer, tmp_path / "two")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "two")
    with torch.inference_mode():
        logits = again(TOKENS).logits
        torch.testing.assert_close(opened.network(TOKENS), logits, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(logits, expected(TOKENS).logits, atol=1e-3)  # which has windows

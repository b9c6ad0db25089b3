"""Every key of every encoder's config, left out, changed and added in turn: what the reference then computes is what we
compute, or the key is refused or warned about by its name. Weights stay the same throughout."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from references import ENCODERS, saved
from test_config_keys import TOKENS, Keys, changed

from limelight.models.config import SequenceClassifier
from limelight.models.registry import config_from_hf

VALUES: dict[str, list[Any]] = {
    "activation": ["relu", "tanh"],
    "add_cross_attention": [True],
    "attention_bias": [True],
    "classifier_activation": ["relu"],
    "classifier_bias": [True],
    "classifier_pooling": ["mean", "max"],
    "conv_kernel_size": [3],
    "decoder_bias": [False],
    "dim": [32],
    "embedding_size": [16, 64],
    "global_attn_every_n_layers": [2],
    "global_rope_theta": [100.0],
    "hidden_act": ["relu", "gelu_new", "tanh", "none of these"],
    "hidden_activation": ["relu"],
    "hidden_size": [32],
    "inner_group_num": [2],
    "intermediate_size": [48],
    "is_decoder": [True],
    "layer_norm_eps": [0.1],
    "layer_types": [["full_attention"] * 3, ["sliding_attention"] * 3, ["full_attention"] * 2],
    "legacy": [False],
    "local_attention": [2, 3, 40],
    "local_rope_theta": [100.0],
    "max_position_embeddings": [8, 129, 1000],
    "max_relative_positions": [-1, 0, 16, 64],
    "mlp_bias": [True],
    "n_heads": [2, 5],
    "n_layers": [2],
    "norm_bias": [True],
    "norm_eps": [0.1],
    "norm_rel_ebd": ["none", "layer_norm"],
    "num_attention_heads": [2, 8, 5],
    "num_hidden_groups": [2, 3],
    "num_hidden_layers": [2],
    "pad_token_id": [0, 1, 2, -1],  # which are no words of the text
    "pooler_hidden_act": ["relu"],
    "pooler_hidden_size": [32],
    "pos_att_type": [["c2p"], "p2c", "p2c|c2p", [], None, ["p2p"]],
    "position_biased_input": [True, False],
    "position_buckets": [4, 8, -1],
    "position_embedding_type": ["relative_key"],
    "relative_attention": [True, False],
    "relative_attention_num_buckets": [16],
    "rope_scaling": [{"type": "linear", "factor": 2.0}],
    "share_att_key": [True, False],
    "sinusoidal_pos_embds": [True],
    "talking_head": [True],
    "tie_word_embeddings": [True, False],
    "type_vocab_size": [0, 1, 3],
    "vocab_size": [50],
}
CHOSEN = [
    name
    for name in ENCODERS
    if name.endswith(("-masked", "-generator"))
    and (os.environ.get("LIMELIGHT_TEST_ALL") or name.partition("-")[0] in ("bert", "roberta", "albert", "modernbert"))
]
CHOSEN += ["modernbert-mean", "deberta-v2-classes", "electra-discriminator"]


def theirs(folder: Path, kind: Any) -> torch.Tensor | None:
    """The reference's logits; None if it refuses the config, or draws weights that the file does not have."""
    try:
        model, told = kind.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
        if any(told.values()):
            return None
        with torch.inference_mode():
            return model(TOKENS).logits
    except Exception:  # whatever it trips over: the reference has no sentence for this config
        return None


@pytest.mark.parametrize("name", CHOSEN)
def test_every_key_means_what_it_means_to_the_reference(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    keys = Keys(tmp_path, partial(theirs, kind=getattr(transformers, config["architectures"][0])))
    keys.judge(changed(config, VALUES))
    assert not keys.wrong, "\n".join(keys.wrong)
    assert keys.compared > 10


def test_as_many_labels_as_the_config_counts_where_it_names_others(tmp_path: Path) -> None:
    """Old configs name the two labels that a model had before it was trained on more."""
    said = {"num_hidden_layers": 1, "architectures": ["BertForSequenceClassification"], "model_type": "bert"}
    said |= {"num_labels": 50, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}
    head = config_from_hf(said).head
    assert isinstance(head, SequenceClassifier)
    assert head.labels == tuple(transformers.BertConfig(**said).id2label.values())

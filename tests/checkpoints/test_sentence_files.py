"""What folders of sentence-transformers say, read and written without a network: whole files, whole sentences."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from limelight.checkpoints import sentences
from limelight.checkpoints.reader import open_tensors
from limelight.checkpoints.sentences import SentenceFolder, Sentences
from limelight.errors import ConfigError, FileError
from limelight.models.config import Hidden, Pooling, SequenceClassifier

TYPES = "sentence_transformers.models."
MEAN = {"pooling_mode_mean_tokens": True}
SIZES = {"in_features": 4, "out_features": 3}


def put(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def made(folder: Path, *kinds: str, pooling: Any = MEAN, dense: Any = SIZES) -> Path:
    places = {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense"}
    steps = [{"type": TYPES + kind, **({"path": places[kind]} if kind in places else {})} for kind in kinds]
    put(folder / "modules.json", steps)
    put(folder / "1_Pooling" / "config.json", pooling)
    put(folder / "2_Dense" / "config.json", dense)
    return folder


def refusal(folder: Path) -> str:
    """Why a folder is not read, after its name."""
    with pytest.raises(ConfigError) as refused:
        sentences.read(folder)
    assert str(refused.value).startswith(str(folder))
    return str(refused.value).removeprefix(str(folder))


def test_what_modules_say(tmp_path: Path) -> None:
    plain = SentenceFolder(Pooling("mean", False, None, None), None, Sentences(None, {}, None))
    assert sentences.read(made(tmp_path, "Transformer", "Pooling")) == plain
    whole = made(tmp_path, "Transformer", "Pooling", "Dense", "Normalize", pooling={"pooling_mode_lasttoken": True})
    head = Pooling("last", True, Hidden("tanh", None, True), 3)
    assert sentences.read(whole) == SentenceFolder(head, tmp_path / "2_Dense", Sentences())
    dense = SIZES | {"activation_function": "torch.nn.modules.linear.Identity", "bias": False}
    assert sentences.read(made(tmp_path, "Transformer", "Pooling", "Dense", dense=dense)).head == Pooling(
        "mean", False, Hidden("identity", None, False), 3
    )
    put(tmp_path / "sentence_roberta_config.json", {"max_seq_length": 7, "do_lower_case": False})
    told = {"prompts": {"query": "q: ", "": ""}, "default_prompt_name": "query"}
    put(tmp_path / "config_sentence_transformers.json", told)
    assert sentences.read(tmp_path).sentences == Sentences(7, {"query": "q: ", "": ""}, "query")
    put(tmp_path / "config_sentence_transformers.json", {"prompts": None})
    assert sentences.read(tmp_path).sentences == Sentences(7, {}, None)


MODULES, POOLED, DENSE = "/modules.json", "/1_Pooling/config.json", "/2_Dense/config.json"
PROMPTS = "/config_sentence_transformers.json"
ORDER = "limelight runs Transformer, Pooling, Dense, Normalize, in this order"
WAYS = "limelight knows cls_token, lasttoken, mean_tokens, max_tokens, one at a time"


@pytest.mark.parametrize(
    ("file", "values", "why"),
    [
        (MODULES, [{"type": TYPES + "CNN"}, {"type": "LSTM"}],
         ": its vectors pass a CNN module, which limelight does not know"),
        (MODULES, [{}], ": its vectors pass a nameless module, which limelight does not know"),
        (MODULES, ["Pooling"], ": its vectors pass a nameless module, which limelight does not know"),
        (MODULES, [{"type": "Transformer"}], f"{MODULES}: names no pooling, so a text has no vector"),
        (MODULES, [{"type": "Pooling"}], f"{MODULES}: lists Pooling; {ORDER}"),
        (MODULES, [{"type": kind} for kind in ("Transformer", "Normalize", "Pooling")],
         f"{MODULES}: lists Transformer, Normalize, Pooling; {ORDER}"),
        (MODULES, [{"type": kind} for kind in ("Transformer", "Pooling", "Pooling")],
         f"{MODULES}: lists Transformer, Pooling, Pooling; {ORDER}"),
        *((MODULES, [{"type": "Transformer", "path": path}, {"type": "Pooling"}],
           f"{MODULES}: the path of a module leads out of the folder") for path in ("/tmp", "..", "a/../..", 3, None)),
        (POOLED, {}, f"{POOLED}: names no way of pooling; {WAYS}"),
        (POOLED, {"pooling_mode_mean_tokens": 1}, f"{POOLED}: names no way of pooling; {WAYS}"),
        (POOLED, {"pooling_mode_x": True}, f"{POOLED}: names x of pooling; {WAYS}"),
        (POOLED, MEAN | {"pooling_mode_cls_token": True},
         f"{POOLED}: names mean_tokens and cls_token of pooling; {WAYS}"),
        (POOLED, MEAN | {"include_prompt": False},
         f"{POOLED}: leaves prompts out of what is pooled ('include_prompt'), which limelight does not do"),
        (DENSE, SIZES | {"activation_function": "torch.nn.Softmax"},
         f"{DENSE}: the key 'activation_function' is 'torch.nn.Softmax'; it must be one of Tanh, ReLU, GELU, SiLU, "
         "Identity"),
        (DENSE, SIZES | {"bias": 1}, f"{DENSE}: the key 'bias' is 1; it must be true or false"),
        (DENSE, {}, f"{DENSE}: the key 'out_features' is missing"),
        ("/sentence_bert_config.json", {"do_lower_case": True},
         "/sentence_bert_config.json: asks that texts be put in lower case first ('do_lower_case'); limelight does "
         "not"),
        ("/sentence_bert_config.json", {"max_seq_length": 0},
         "/sentence_bert_config.json: the key 'max_seq_length' is 0; it must be a whole number from 1 to "),
        (PROMPTS, {"prompts": {"a": "", "b": 5}},
         f"{PROMPTS}: the key 'prompts' is {{'a': '', 'b': 5}}; it must be an object of texts"),
        (PROMPTS, {"prompts": ["a"]}, f"{PROMPTS}: the key 'prompts' is ['a']; it must be an object of texts"),
        (PROMPTS, {"prompts": {"a": ""}, "default_prompt_name": "b"},
         f"{PROMPTS}: the key 'default_prompt_name' is 'b'; it must be the name of one of the prompts"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_said(file: str, values: Any, why: str, tmp_path: Path) -> None:
    sentences.read(made(tmp_path, "Transformer", "Pooling", "Dense", "Normalize"))
    put(tmp_path / file[1:], values)
    assert refusal(tmp_path).startswith(why)


def test_the_network_lies_where_the_first_module_says(tmp_path: Path) -> None:
    assert sentences.network(tmp_path) == tmp_path
    put(tmp_path / "modules.json", [{"path": "0_Transformer"}, {"path": "x"}])
    assert sentences.network(tmp_path) == tmp_path / "0_Transformer"
    for listed in ([], ["x"], [{}], [{"path": "../x"}]):
        put(tmp_path / "modules.json", listed)
        with pytest.raises(ConfigError, match=r"modules\.json: the path of a module leads out of the folder$"):
            sentences.network(tmp_path)
    put(tmp_path / "config.json", {})
    assert sentences.network(tmp_path) == tmp_path


def held(folder: Path) -> dict[str, Any]:
    files = [path for path in folder.rglob("*.json") if path.is_file()]
    return {path.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in files}


def test_what_is_written_of_a_head(tmp_path: Path) -> None:
    head = Pooling("max", True, Hidden("silu", None, True), 3)
    weights = {"linear.weight": torch.ones(3, 4).half(), "linear.bias": torch.zeros(3)}
    sentences.write(tmp_path, head, 4, Sentences(9, {"query": "für "}, "query"), weights)
    names = ["Transformer", "Pooling", "Dense", "Normalize"]
    places = ["", "1_Pooling", "2_Dense", "3_Normalize"]
    modes = {f"pooling_mode_{name}": name == "max_tokens" for name in ("cls_token", "lasttoken", "mean_tokens")}
    assert held(tmp_path) == {
        "modules.json": [{"idx": i, "name": str(i), "path": places[i], "type": TYPES + names[i]} for i in range(4)],
        "1_Pooling/config.json": {"word_embedding_dimension": 4, **modes, "pooling_mode_max_tokens": True},
        "2_Dense/config.json": {
            "in_features": 4,
            "out_features": 3,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.SiLU",
        },
        "sentence_bert_config.json": {"max_seq_length": 9, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "für "}, "default_prompt_name": "query"},
    }
    assert '\n  "prompts": {\n    "query": "für "\n' in (tmp_path / "config_sentence_transformers.json").read_text(
        "utf-8"
    )
    assert (tmp_path / "3_Normalize").is_dir()
    layer = load_file(tmp_path / "2_Dense" / "model.safetensors")
    assert {name: (each.dtype, each.tolist()) for name, each in layer.items()} == {
        "linear.weight": (torch.float32, [[1.0] * 4] * 3),
        "linear.bias": (torch.float32, [0.0] * 3),
    }
    assert sentences.read(tmp_path) == SentenceFolder(
        head, tmp_path / "2_Dense", Sentences(9, {"query": "für "}, "query")
    )


def test_nothing_is_written_of_what_is_not_said(tmp_path: Path) -> None:
    for said in (None, Sentences()):
        sentences.write(tmp_path, Pooling("first", False), 4, said, {})
        assert sorted(held(tmp_path)) == ["1_Pooling/config.json", "modules.json"]
    identity = Pooling("first", False, Hidden("identity", None, False))
    sentences.write(tmp_path, identity, 4, None, {"linear.weight": torch.ones(4, 4)})
    assert held(tmp_path)["2_Dense/config.json"] == {
        "in_features": 4,
        "out_features": 4,  # as wide as the states, where nothing else is said
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }


def test_a_layer_behind_the_pooling_is_read_with_the_network_as_one_file(tmp_path: Path) -> None:
    network, dense = tmp_path / "network.safetensors", tmp_path / "dense.safetensors"
    save_file({"embed": torch.zeros(2)}, network)
    save_file({"linear.weight": torch.ones(3)}, dense)
    alone = open_tensors(network)
    assert SentenceFolder(Pooling("mean"), None, Sentences()).joined(alone, tmp_path) is alone
    both = SentenceFolder(Pooling("mean"), dense, Sentences()).joined(alone, tmp_path / "folder")
    assert both.names() == ("embed", "linear.weight")
    assert both.read("linear.weight").tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(FileError, match=f"^{re.escape(str(tmp_path / 'folder'))}: .*'head'"):
        both.read("head")


def test_a_layer_of_scores_answers_with_labels() -> None:
    head = Pooling("mean", False, Hidden("identity", None, True), 2)
    folder = SentenceFolder(head, None, Sentences())
    values = {"problem_type": "single_label_classification", "id2label": {"0": "no", "1": "yes"}}
    made = folder.answering(values)
    assert made == SequenceClassifier(("no", "yes"), "mean", None, True, False)
    assert sentences.behind(made) == head
    assert sentences.behind(head) == head
    assert folder.answering({"id2label": values["id2label"]}) == head
    assert folder.answering(values | {"id2label": {"0": "no", "1": "yes", "2": "perhaps"}}) == head
    normalised = SentenceFolder(Pooling("mean", True, Hidden("identity", None, True), 2), None, Sentences())
    assert normalised.answering(values) == normalised.head
    assert SentenceFolder(Pooling("mean"), None, Sentences()).answering(values) == Pooling("mean")

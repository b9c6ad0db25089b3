"""Folders of sentence-transformers: vectors by transformers' own network, pooled, projected and normalised by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from references import SIZES, write_marked_tokenizer
from safetensors.torch import save_file
from torch import Tensor

import limelight
from limelight.errors import ConfigError, LimelightError, RequestError
from limelight.models.config import SequenceClassifier

TEXTS = ["w10 w11 w12", "w20", " ".join(f"w{i}" for i in range(10, 40)), "w30 w31 w30 w31 w32"]
TYPES = "sentence_transformers.models."
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": torch.nn.functional.gelu,
    "SiLU": torch.nn.functional.silu,
    "Identity": lambda vector: vector,
}
MODES = ("cls_token", "mean_tokens", "max_tokens", "lasttoken", "weightedmean_tokens")


def ids(text: str, longest: int = 1000) -> list[int]:
    """As the tokenizer of these folders has them, cut as sentence-transformers cuts."""
    return [*[1, *(int(word[1:]) for word in text.split())][: longest - 1], 2]


def put(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def said(path: Path) -> Any:
    return json.loads(path.read_text())


Make = Callable[..., tuple[Path, Callable[..., Tensor]]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a folder, and gives what it should make of a text."""

    def make(
        mode: str = "mean_tokens",
        dense: str | None = None,
        normalised: bool = True,
        inside: str = "",
        whole: bool = False,
    ) -> tuple[Path, Callable[..., Tensor]]:
        """dense: the activation of a layer behind the pooling. inside: the folder of the network. whole: with its head
        for masked words, as some folders have it."""
        folder = tmp_path / "model"
        torch.manual_seed(0)
        network = (hf.BertForMaskedLM if whole else hf.BertModel)(hf.BertConfig(**SIZES)).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                drawn = torch.randn_like(parameter) * 0.3
                parameter.copy_(drawn if parameter.dim() > 1 else 2 * drawn + 0.3)
        network.save_pretrained(folder / inside)
        write_marked_tokenizer(folder / inside)
        kinds = ["Transformer", "Pooling", *(["Dense"] if dense else []), *(["Normalize"] if normalised else [])]
        places = [inside, *(f"{i}_{kind}" for i, kind in enumerate(kinds) if i)]
        put(folder / "modules.json", [
            {"idx": i, "name": str(i), "path": place, "type": TYPES + kind}
            for i, (kind, place) in enumerate(zip(kinds, places, strict=True))
        ])  # fmt: skip
        put(folder / "1_Pooling" / "config.json", {f"pooling_mode_{each}": each == mode for each in MODES})
        weight, bias = torch.randn(24, 64) * 0.3, torch.randn(24)
        if dense:
            put(folder / "2_Dense" / "config.json", {
                "in_features": 64, "out_features": 24, "bias": True,
                "activation_function": f"torch.nn.modules.activation.{dense}",
            })  # fmt: skip
            save_file({"linear.weight": weight, "linear.bias": bias}, folder / "2_Dense" / "model.safetensors")
        base = network.bert if whole else network

        @torch.inference_mode()
        def expected(text: str, longest: int = 1000) -> Tensor:
            states = base(torch.tensor([ids(text, longest)])).last_hidden_state[0]
            ways = {"cls_token": states[0], "mean_tokens": states.mean(0), "max_tokens": states.amax(0)}
            vector = {**ways, "lasttoken": states[-1]}[mode]
            if dense:
                vector = vector @ weight.T + bias
                vector = ACTIVATIONS[dense](vector)
            return vector / vector.norm() if normalised else vector

        return folder, expected

    return make


def check(model: Any, expected: Callable[..., Tensor]) -> None:
    vectors = model.embed(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        torch.testing.assert_close(vector, expected(text), rtol=1e-5, atol=1e-5)
    assert (vectors[0] - vectors[1]).norm() > 5e-3 * vectors[0].norm()  # a hundred times what may differ


@pytest.mark.parametrize("mode", MODES[:4])
@pytest.mark.parametrize(("dense", "normalised"), [(None, True), (None, False), ("Tanh", True), ("Identity", False)])
def test_vectors_are_the_references(make: Make, mode: str, dense: str | None, normalised: bool, tmp_path: Path) -> None:
    folder, expected = make(mode, dense, normalised)
    model = limelight.open(folder, kind=limelight.Embedder)
    check(model, expected)
    limelight.save(model, tmp_path / "saved")
    modes = {f"pooling_mode_{each}": each == mode for each in MODES[:4]}
    assert said(tmp_path / "saved/1_Pooling/config.json") == {"word_embedding_dimension": 64, **modes}
    assert said(tmp_path / "saved/modules.json") == said(folder / "modules.json")
    if dense:
        named = "linear.Identity" if dense == "Identity" else f"activation.{dense}"
        layer = said(folder / "2_Dense/config.json") | {"activation_function": f"torch.nn.modules.{named}"}
        assert said(tmp_path / "saved/2_Dense/config.json") == layer
    again = limelight.open(tmp_path / "saved", kind=limelight.Embedder)
    assert again.config == model.config
    assert torch.equal(again.embed(TEXTS), model.embed(TEXTS))


@pytest.mark.parametrize("dense", ["ReLU", "GELU", "SiLU"])
def test_layers_behind_the_pooling_have_these_activations(make: Make, dense: str) -> None:
    folder, expected = make("mean_tokens", dense)
    check(limelight.open(folder), expected)


def test_what_a_layer_leaves_out_is_as_in_sentence_transformers(make: Make) -> None:
    folder, expected = make("mean_tokens", "Tanh")
    put(folder / "2_Dense" / "config.json", {"in_features": 64, "out_features": 24})
    check(limelight.open(folder), expected)


@pytest.mark.parametrize("kind", ["multi_label_classification", "single_label_classification"])
def test_a_layer_of_scores_says_whether_several_labels_may_fit(make: Make, kind: str) -> None:
    """As it is saved of what was learned from few texts: a layer without an activation behind the pooling."""
    folder, _ = make("mean_tokens", "Identity", False)
    spoil(folder, "config.json", problem_type=kind, id2label={str(i): f"label {i}" for i in range(24)})
    head = limelight.open(folder, kind=limelight.Classifier).config.head
    assert isinstance(head, SequenceClassifier)
    assert head.labels == tuple(f"label {i}" for i in range(24))
    assert head.several == (kind == "multi_label_classification")


def test_the_network_may_lie_in_a_folder_of_its_own(make: Make) -> None:
    folder, expected = make(inside="0_Transformer")
    check(limelight.open(folder), expected)


def test_a_head_that_is_there_is_left_out(make: Make) -> None:
    folder, expected = make(whole=True)
    model = limelight.open(folder)
    assert type(model).__name__ == "Embedder"
    check(model, expected)


def test_prompts_stand_in_front_of_texts(make: Make, tmp_path: Path) -> None:
    folder, expected = make()
    told = {"prompts": {"query": "w5 w6 ", "document": ""}, "default_prompt_name": None}
    put(folder / "config_sentence_transformers.json", told)
    model = limelight.open(folder, kind=limelight.Embedder)
    assert model.prompts == told["prompts"]
    torch.testing.assert_close(model.embed(["w10"], prompt="query")[0], expected("w5 w6 w10"), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.embed(["w10"])[0], expected("w10"), rtol=1e-5, atol=1e-5)
    with pytest.raises(RequestError, match=r"prompt is 'quer'; it must be one of query, document"):
        model.embed(["w10"], prompt="quer")
    put(folder / "config_sentence_transformers.json", told | {"default_prompt_name": "query"})
    default = limelight.open(folder, kind=limelight.Embedder)
    assert torch.equal(default.embed(["w10"]), model.embed(["w10"], prompt="query"))
    assert torch.equal(default.embed(["w10"], prompt="document"), model.embed(["w10"]))
    limelight.save(default, tmp_path / "saved")
    assert limelight.open(tmp_path / "saved", kind=limelight.Embedder).sentences == default.sentences


def test_a_model_without_prompts_says_so(make: Make) -> None:
    with pytest.raises(RequestError, match="has no prompts; leave out 'query'"):
        limelight.open(make()[0], kind=limelight.Embedder).embed(["w10"], prompt="query")


def test_the_end_of_a_long_text_is_left_out_with_a_warning(make: Make, tmp_path: Path) -> None:
    folder, expected = make()
    put(folder / "sentence_bert_config.json", {"max_seq_length": 10, "do_lower_case": False})
    model = limelight.open(folder, kind=limelight.Embedder)
    with pytest.warns(UserWarning, match="text 3 is longer than 10 tokens; what is beyond them is not read"):
        vectors = model.embed(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        torch.testing.assert_close(vector, expected(text, 10), rtol=1e-5, atol=1e-5)
    limelight.save(model, tmp_path / "saved")
    assert limelight.open(tmp_path / "saved", kind=limelight.Embedder).sentences == model.sentences


def spoil(folder: Path, file: str, **values: Any) -> None:
    before = said(folder / file) if (folder / file).is_file() else {}
    put(folder / file, before | values)


SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "two ways of pooling": (
        lambda folder: spoil(folder, "1_Pooling/config.json", pooling_mode_cls_token=True),
        "names cls_token and mean_tokens of pooling",
    ),
    "a way that is not known": (
        lambda folder: put(folder / "1_Pooling" / "config.json", {"pooling_mode_weightedmean_tokens": True}),
        "names weightedmean_tokens of pooling",
    ),
    "no pooling": (
        lambda folder: put(folder / "modules.json", [{"type": TYPES + "Transformer", "path": ""}]), "names no pooling"
    ),
    "a module of its own": (
        lambda folder: put(folder / "modules.json", [{"type": TYPES + "CNN", "path": ""}]), "pass a CNN module"
    ),
    "another order": (
        lambda folder: put(folder / "modules.json", [{"type": TYPES + kind} for kind in ("Pooling", "Transformer")]),
        "in this order",
    ),
    "a path out of the folder": (
        lambda folder: put(folder / "modules.json", [
            {"type": TYPES + "Transformer", "path": ""}, {"type": TYPES + "Pooling", "path": "../1_Pooling"},
        ]),
        "leads out of the folder",
    ),
    "lower case": (
        lambda folder: put(folder / "sentence_bert_config.json", {"do_lower_case": True}), "be put in lower case first"
    ),
    "a length that is none": (
        lambda folder: put(folder / "sentence_bert_config.json", {"max_seq_length": "long"}), "max_seq_length"
    ),
    "prompts that are not pooled": (
        lambda folder: spoil(folder, "1_Pooling/config.json", include_prompt=False), "include_prompt"
    ),
    "prompts that are no texts": (
        lambda folder: put(folder / "config_sentence_transformers.json", {"prompts": {"query": 5}}), "prompts"
    ),
    "another activation": (
        lambda folder: spoil(folder, "2_Dense/config.json", activation_function="torch.nn.Softmax"),
        "activation_function",
    ),
    "another width": (lambda folder: spoil(folder, "2_Dense/config.json", out_features=25), "config says .25,"),
}  # fmt: skip


@pytest.mark.parametrize("spoilt", list(SPOILT))
def test_what_limelight_does_not_know_is_refused_by_name(make: Make, spoilt: str) -> None:
    folder, _ = make(dense="Tanh")
    change, why = SPOILT[spoilt]
    change(folder)
    with pytest.raises(LimelightError, match=why) as refused:
        limelight.open(folder)
    assert isinstance(refused.value, ConfigError)

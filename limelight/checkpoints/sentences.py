"""Folders of sentence-transformers (Reimers & Gurevych, 2019): how a text becomes one vector, and which texts.

A classifier whose scores are a layer behind the pooling is such a folder too, which those who know of no labels open as
one whose vectors are scores; ``id2label`` and ``problem_type`` of its config.json say that they are.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from limelight.checkpoints.files import read_json
from limelight.checkpoints.reader import ShardedReader, TensorReader, open_tensors
from limelight.errors import ConfigError
from limelight.models.config import Activation, Head, Hidden, ModelConfig, Pooled, Pooling, SequenceClassifier
from limelight.models.hf import ConfigReader, labels, several
from limelight.models.mapping import Table, WeightMapping

POOLED: dict[str, Pooled] = {"cls_token": "first", "lasttoken": "last", "mean_tokens": "mean", "max_tokens": "max"}
MODULES = "modules.json"
PROMPTS = "config_sentence_transformers.json"
_LAYERS = {Pooling: "head.hidden.dense.", SequenceClassifier: "head.proj."}
"""What the weights of a layer behind the pooling are called, which have a file of their own."""

_TYPES = "sentence_transformers.models."
_ACTIVATIONS: dict[str, Activation] = {
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
    "SiLU": "silu",
    "Identity": "identity",
}


@dataclass(frozen=True)
class Sentences:
    """What such a folder says of texts.

    longest: so many tokens of a text are read, the marks around it counted (None: as many as the network reads).
    prompts: by name, what is put in front of a text for a use of its vector. default: the name of the prompt that is
    used where none is named.
    """

    longest: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None


@dataclass(frozen=True)
class SentenceFolder:
    """head: what stands behind the network. dense: the folder of its layer, if it has one."""

    head: Pooling
    dense: Path | None
    sentences: Sentences

    def answering(self, values: Mapping[str, Any]) -> Head:
        """The head: scores for labels where the network's config.json, `values`, names as many as the layer has."""
        head, keys = self.head, ConfigReader(values)
        if not keys.says("problem_type") or head.hidden is None or len(named := labels(keys)) != head.width:
            return head
        made = SequenceClassifier(named, head.pooled, None, head.hidden.bias, several(keys))
        return made if behind(made) == head else head

    def joined(self, reader: TensorReader, path: Path) -> TensorReader:
        """The network's tensors and those of the layer behind the pooling, as one file."""
        if self.dense is None:
            return reader
        readers = (reader, open_tensors(self.dense))
        return ShardedReader({name: each for each in readers for name in each.names()}, path, reader.metadata)


def network(folder: Path) -> Path:
    """The folder of the network itself: in older ones that of the first module."""
    if (folder / "config.json").exists() or not (folder / MODULES).is_file():
        return folder
    listed = read_json(folder / MODULES, "it says how texts become vectors", list)
    return folder / _inside(listed[0].get("path") if listed and isinstance(listed[0], dict) else None, folder)


def with_dense(table_of: Callable[[ModelConfig], Table]) -> Callable[[ModelConfig], Table]:
    """A family's table with the weights of a layer behind the pooling, too."""

    def table(config: ModelConfig) -> Table:
        made = table_of(replace(config, head=Pooling()))
        return replace(
            made, mappings=(*made.mappings, WeightMapping("linear.{p}", f"{_LAYERS[type(config.head)]}{{p}}"))
        )

    return table


def behind(head: Head) -> Pooling | None:
    """A head as such a folder has it; None for one whose weights stand among the network's."""
    if isinstance(head, SequenceClassifier) and head.hidden is None:
        return Pooling(head.pooled, False, Hidden("identity", None, head.bias), len(head.labels))
    return head if isinstance(head, Pooling) else None


def read(folder: Path) -> SentenceFolder:
    """What a folder with a modules.json says.

    Raises ConfigError, naming the file, for a module that limelight does not know, or modules in an order of their own.
    """
    listed = read_json(folder / MODULES, "it says how texts become vectors", list)
    kinds = [str(step.get("type", "")).rpartition(".")[2] if isinstance(step, dict) else "" for step in listed]
    known = ["Transformer", "Pooling", "Dense", "Normalize"]
    if other := [kind for kind in kinds if kind not in known]:
        raise ConfigError(
            f"{folder}: its vectors pass a {other[0] or 'nameless'} module, which limelight does not know"
        )
    if "Pooling" not in kinds:
        raise ConfigError(f"{folder / MODULES}: names no pooling, so a text has no vector")
    if kinds != [kind for kind in known if kind in kinds] or kinds[0] != "Transformer":
        raise ConfigError(
            f"{folder / MODULES}: lists {', '.join(kinds)}; limelight runs {', '.join(known)}, in this order"
        )
    places = {kind: folder / _inside(step.get("path", ""), folder) for kind, step in zip(kinds, listed, strict=True)}
    pooled, dense = _pooled(places["Pooling"] / "config.json"), places.get("Dense")
    hidden, width = (None, None) if dense is None else _hidden(dense / "config.json")
    head = Pooling(pooled, "Normalize" in kinds, hidden, width)
    return SentenceFolder(head, dense, _sentences(folder, places["Transformer"]))


def write(folder: Path, head: Pooling, width: int, sentences: Sentences | None, weights: Mapping[str, Tensor]) -> None:
    """Writes what `read` reads into a folder that holds a network. width: of its states. weights: of the layer behind
    the pooling, as in `DENSE`."""
    kinds = ["Transformer", "Pooling", *(["Dense"] if weights else []), *(["Normalize"] if head.normalised else [])]
    places = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds) if number)]
    steps = [
        {"idx": i, "name": str(i), "path": place, "type": f"{_TYPES}{kind}"}
        for i, (kind, place) in enumerate(zip(kinds, places, strict=True))
    ]
    for place in places:
        (folder / place).mkdir(exist_ok=True)
    _put(folder / MODULES, steps)
    modes = {f"pooling_mode_{name}": pooled == head.pooled for name, pooled in POOLED.items()}
    _put(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **modes})
    if head.hidden is not None and weights:
        name = next(name for name, activation in _ACTIVATIONS.items() if activation == head.hidden.activation)
        module = f"torch.nn.modules.{'linear' if name == 'Identity' else 'activation'}.{name}"
        sizes = {"in_features": width, "out_features": head.width or width, "bias": head.hidden.bias}
        _put(folder / "2_Dense" / "config.json", {**sizes, "activation_function": module})
        whole = {name: weight.float().contiguous() for name, weight in weights.items()}
        save_file(whole, folder / "2_Dense" / "model.safetensors", metadata={"format": "pt"})
    if sentences is not None:
        if sentences.longest is not None:
            _put(folder / "sentence_bert_config.json", {"max_seq_length": sentences.longest, "do_lower_case": False})
        if sentences.prompts:
            _put(folder / PROMPTS, {"prompts": dict(sentences.prompts), "default_prompt_name": sentences.default})


def _put(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _inside(place: Any, folder: Path) -> PurePosixPath:
    """The path of a module. Raises ConfigError for one that leads out of the folder."""
    path = PurePosixPath(place if isinstance(place, str) else "..")
    if path.is_absolute() or ".." in path.parts:
        raise ConfigError(f"{folder / MODULES}: the path of a module leads out of the folder")
    return path


def _pooled(path: Path) -> Pooled:
    said = read_json(path, "it says how positions become one vector")
    chosen = [key.removeprefix("pooling_mode_") for key, on in said.items() if "pooling_mode_" in key and on is True]
    if len(chosen) != 1 or chosen[0] not in POOLED:
        names = " and ".join(chosen) or "no way"
        raise ConfigError(f"{path}: names {names} of pooling; limelight knows {', '.join(POOLED)}, one at a time")
    if said.get("include_prompt") is False:
        raise ConfigError(
            f"{path}: leaves prompts out of what is pooled ('include_prompt'), which limelight does not do"
        )
    return POOLED[chosen[0]]


def _hidden(path: Path) -> tuple[Hidden, int]:
    """The layer behind the pooling, and how wide its vectors are."""
    keys = ConfigReader(read_json(path, "it says what layer stands behind the pooling"), f"{path}: the key")
    name = str(keys.take("activation_function", "torch.nn.modules.activation.Tanh"))
    if (kind := name.rpartition(".")[2]) not in _ACTIVATIONS:
        raise keys.refused("activation_function", name, f"one of {', '.join(_ACTIVATIONS)}")
    return Hidden(_ACTIVATIONS[kind], None, keys.truth("bias", True)), keys.whole("out_features")


def _sentences(folder: Path, transformer: Path) -> Sentences:
    longest, default = None, None
    prompts: dict[str, str] = {}
    for path in sorted(transformer.glob("sentence_*_config.json")):  # named after the family, in older folders
        keys = ConfigReader(read_json(path, ""), f"{path}: the key")
        longest = keys.whole("max_seq_length", None)
        if keys.truth("do_lower_case", False):
            raise ConfigError(
                f"{path}: asks that texts be put in lower case first ('do_lower_case'); limelight does not"
            )
    if (path := folder / PROMPTS).is_file():
        keys = ConfigReader(read_json(path, ""), f"{path}: the key")
        prompts, default = keys.take("prompts") or {}, keys.take("default_prompt_name")
        if not isinstance(prompts, dict) or not all(isinstance(each, str) for each in prompts.values()):
            raise keys.refused("prompts", prompts, "an object of texts")
        if default is not None and default not in prompts:
            raise keys.refused("default_prompt_name", default, "the name of one of the prompts")
    return Sentences(longest, prompts, default)

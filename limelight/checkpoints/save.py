"""From a model to a Hugging Face folder that transformers itself opens."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from limelight.checkpoints import sentences
from limelight.checkpoints.open import SOURCE_TOKENIZER
from limelight.checkpoints.sentences import Sentences
from limelight.errors import FileError, RequestError
from limelight.models.api import Network
from limelight.models.build import build
from limelight.models.registry import config_to_hf, family
from limelight.models.ties import names
from limelight.quant.linear import LowBitEmbedding, LowBitLinear
from limelight.text.tokenizer import Tokenizer

SHARD = 5_000_000_000  # bytes of weights in one file


def check_folder(folder: Path) -> None:
    """Raises RequestError if something is there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(
            f"{folder} exists and is not an empty folder; name a new one, so that nothing is overwritten"
        )


def save_checkpoint(
    network: Network,
    tokenizer: Tokenizer,
    folder: Path,
    shard: int = SHARD,
    *,
    source: Tokenizer | None = None,
    said: Sentences | None = None,
    generation: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Writes config.json, safetensors (in shards of at most `shard` bytes) and the tokenizer into a new folder.

    source: the tokenizer of a translator's source, where that is another one. said: of texts, by a model that makes
    vectors of them. generation: what generation_config.json says beside the ids of the tokenizer's marks.

    Low-bit layers are written as float32, which holds their values exactly. The folder is made beside its place and
    renamed when it is whole. Raises RequestError if `folder` exists and is not empty, FileError if it cannot be
    written.
    """
    check_folder(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise FileError(f"{folder}: cannot be written ({error.strerror})") from None
    try:
        _write(network, tokenizer, beside, shard, said, generation)
        if source is not None and source is not tokenizer:
            source.save(beside / SOURCE_TOKENIZER)
        beside.chmod(0o755)
        os.replace(beside, folder)
    except (OSError, SafetensorError) as error:  # the second is what a full disk is to safetensors
        raise FileError(f"{folder}: cannot be written ({error})") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def export(network: Network) -> dict[str, Tensor]:
    """The model's weights under its family's own names."""
    config, pooling = network.config, sentences.behind(network.config.head)
    table = family(config.family).table(config if pooling is None else replace(config, head=pooling))
    weights = {name: positions.tensor() for name, positions in table.sinusoids.items()}
    # A layer behind a pooling has a file of its own.
    ours = [name for name in names(build(config, "meta")) if pooling is None or not name.startswith("head.")]
    for move in table.saves(sorted(ours)):
        theirs = move.mapping.save([weight(network, name) for name in move.ours])
        weights.update(zip(move.theirs, theirs, strict=True))
    return weights


def weight(network: nn.Module, name: str) -> Tensor:
    """A weight by its name, unpacked if its layer keeps it in low bits."""
    place, _, leaf = name.rpartition(".")
    module = network.get_submodule(place)
    if isinstance(module, LowBitLinear | LowBitEmbedding) and leaf == "weight":
        return module.packed.dequantize()
    tensor = getattr(module, leaf)
    assert isinstance(tensor, Tensor)
    return tensor.detach()


def _write(
    network: Network,
    tokenizer: Tokenizer,
    folder: Path,
    shard: int,
    said: Sentences | None,
    generation: Mapping[str, Any],
) -> None:
    weights = export(network)
    pooling = sentences.behind(network.config.head)
    config = config_to_hf(network.config if pooling is None else replace(network.config, head=pooling))
    kinds = {w.dtype for w in weights.values()}
    config["torch_dtype"] = str(max(kinds, key=lambda kind: kind.itemsize)).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    files: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in weights.items():
        if size and size + tensor.nbytes > shard:
            files.append({})
            size = 0
        files[-1][name] = tensor.contiguous().cpu()
        size += tensor.nbytes
    if len(files) == 1:
        save_file(files[0], folder / "model.safetensors", metadata={"format": "pt"})
    else:
        places = {}
        for i, part in enumerate(files, 1):
            file = f"model-{i:05d}-of-{len(files):05d}.safetensors"
            save_file(part, folder / file, metadata={"format": "pt"})
            places.update(dict.fromkeys(part, file))
        total = sum(tensor.nbytes for tensor in weights.values())
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    if tokenizer.eos or generation:
        ends = {"eos_token_id": sorted(tokenizer.eos), "bos_token_id": tokenizer.bos, "pad_token_id": tokenizer.pad}
        given = {**generation, **{name: value for name, value in ends.items() if value is not None}}
        (folder / "generation_config.json").write_text(json.dumps(given, indent=2) + "\n", encoding="utf-8")
    if pooling is not None:
        dense = names(network.head) if pooling.hidden is not None else []
        moves = [(f"linear.{name.rpartition('.')[2]}", f"head.{name}") for name in dense]
        behind = {theirs: weight(network, ours) for theirs, ours in moves}
        sentences.write(folder, pooling, network.config.width, said, behind)
    tokenizer.save(folder)

"""From a name, a file or a folder to a model that runs."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from limelight import given
from limelight.checkpoints import sentences
from limelight.checkpoints.cache import Progress
from limelight.checkpoints.files import read_json
from limelight.checkpoints.marian import OPTIONS
from limelight.checkpoints.quantised import widened
from limelight.checkpoints.reader import TensorReader, open_tensors
from limelight.checkpoints.sentences import Sentences
from limelight.checkpoints.source import fetch, resolve
from limelight.errors import ConfigError, FileError, RequestError
from limelight.models import gguf, marian_names, marian_nmt
from limelight.models.api import Decoder, Encoder, Network
from limelight.models.build import build
from limelight.models.config import LMHead, MaskedLMHead, ModelConfig, TransformerStack
from limelight.models.mapping import Move, Sinusoids, Table
from limelight.models.registry import config_from_hf, family
from limelight.models.ties import names, tie, ties
from limelight.quant.linear import LowBitEmbedding, LowBitLinear, fits, low_bit
from limelight.quant.packed import Packed, pack
from limelight.quant.program import fuse
from limelight.text.folder import has_source
from limelight.text.shortlist import Shortlist
from limelight.text.shortlist import read as read_shortlist
from limelight.text.tokenizer import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ROUNDED = {"q8_0": "Q8_0"}  # low-bit formats that float weights can be rounded to while they are read
_GPTQ = "quantize_config.json"  # where AutoGPTQ said what belongs into config.json
SOURCE_TOKENIZER = "tokenizer-source"  # the folder in a translator's folder, where source and target have their own


@dataclass(frozen=True)
class Opened:
    """What a checkpoint holds, ready to run. path: the file or folder that was read. source: a translator's tokenizer
    for the text that it reads; mostly the same one. sentences: what a folder of sentence-transformers says of texts.
    shortlist: what a translation may be made of, where a file says it. generation: what generation_config.json says."""

    network: Network
    tokenizer: Tokenizer
    path: Path
    source: Tokenizer
    sentences: Sentences | None = None
    shortlist: Shortlist | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contents:
    """A checkpoint whose weights have not been read, and fit its config. network: its modules, without weights (on
    "meta"). moves: how the file's tensors become the network's. source: the tokenizer of a translator's source, where
    that is another one."""

    config: ModelConfig
    network: Network
    moves: Sequence[Move]
    reader: TensorReader
    tokenizer: Tokenizer
    path: Path
    sentences: Sentences | None = None
    source: Tokenizer | None = None
    shortlist: Shortlist | None = None


def open_checkpoint(
    model: str | Path, *, dtype: str | None = None, device: str = "cpu", progress: Progress | None = None
) -> Opened:
    """Opens a model by short name, folder, file or hub id, fetching it first if it is not on this machine.

    dtype: "float32", "bfloat16" or "float16". Without it weights keep the type they have in the file: low-bit layers
    stay packed on a CPU (with float32 between the layers), and float16, which CPUs multiply slowly, becomes float32
    there. "q8_0", on a CPU, is the same but rounds float weights to 8 bits as they are read, which makes a model a
    quarter of its float32 size and faster (`quant.quantise`). Raises SourceError, FileError, ConfigError, TextError or
    RequestError, each saying what to do.
    """
    place = usable_device(device)
    if dtype is not None and dtype not in DTYPES and dtype not in ROUNDED:
        raise RequestError(f"the number type {given.shown(dtype)} is not one of {', '.join([*DTYPES, *ROUNDED])}")
    rounded = ROUNDED.get(dtype or "")
    if rounded and place.type != "cpu":
        raise RequestError(f"{dtype} is a number type for the CPU alone; on {device} use bfloat16")
    found = contents(fetch(resolve(model), progress))
    network = found.network
    repeated = ties(network)
    number = torch.float32 if rounded else _dtype(found.reader, dtype, place)
    rounds = {f"{name}.weight" for name, layer in network.named_modules() if rounded and fits(layer, rounded)}
    packed: dict[str, Packed] = {}
    for move in found.moves:
        weights = move.mapping.load([found.reader.read(name) for name in move.theirs])
        for name, weight in zip(move.ours, weights, strict=True):
            if isinstance(weight, Tensor) and rounded and name in rounds:
                packed[name] = pack(weight, rounded)
            elif isinstance(weight, Tensor):
                _assign(network, name, weight.to(place, number))
            elif isinstance(weight, Packed) and dtype not in DTYPES and place.type == "cpu":
                packed[name] = weight
            elif isinstance(weight, Packed):
                _assign(network, name, weight.dequantize(number).to(place))
    for name, constant in list(network.named_buffers()):  # which no file holds
        _set(network, name, constant.to(place, number))
    _swap(network, packed, number)
    _tie(network, repeated)
    folder = found.path if found.path.is_dir() else found.path.parent
    fuse(network.eval())
    if place.type != "meta":
        _computes(network, found.path, dtype)
    said = folder / "generation_config.json"
    generation = read_json(said, "it says how texts begin and end") if said.exists() else {}
    source = found.source or found.tokenizer
    return Opened(network, found.tokenizer, found.path, source, found.sentences, found.shortlist, generation)


def contents(path: Path) -> Contents:
    """Reads a checkpoint's config, names and tokenizer, and leaves the weights where they are.

    Whatever the config claims is held against the shapes of the file's tensors before anything of that size is made.
    """
    whole = path if path.is_dir() else path.parent
    path = sentences.network(path) if path.is_dir() else path
    reader = open_tensors(path)
    if "general.architecture" in reader.metadata:
        shapes = {name: reader.shape(name) for name in reader.names()}
        config = gguf.config_from_gguf(reader.metadata, shapes)
        if "rope_freqs.weight" in shapes:
            factors = reader.read("rope_freqs.weight")
            config = gguf.rope_factors(config, factors.tolist() if isinstance(factors, Tensor) else [])
        config, network, moves = _fitted(config, gguf.table, reader, path)
        return Contents(config, network, moves, reader, Tokenizer.from_gguf(reader.metadata), path)
    folder = path if path.is_dir() else path.parent
    if OPTIONS in reader.metadata:
        config = marian_nmt.config_from_marian(reader.metadata[OPTIONS])
        config, network, moves = _fitted(config, marian_names.table, reader, path)
        target, source = (Tokenizer.from_marian(folder, source=side) for side in (False, True))
        listed = sorted(folder.glob("lex*.bin"))
        shortlist = read_shortlist(listed[0], config.vocab - 1) if len(listed) == 1 else None
        return Contents(config, network, moves, reader, target, path, source=source, shortlist=shortlist)
    values = read_json(folder / "config.json", "a model's folder needs one beside its weights")
    if "quantization_config" not in values and (folder / _GPTQ).is_file():
        values = {**values, "quantization_config": {"quant_method": "gptq", **read_json(folder / _GPTQ, "it says how")}}
    try:
        reader, values = widened(reader, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    config = config_from_hf(values)
    table_of, said = family(config.family).table, None
    if config.decoder is None and (whole / sentences.MODULES).is_file():
        found = sentences.read(whole)
        config, reader, said = (
            replace(config, head=found.answering(values)),
            found.joined(reader, path),
            found.sentences,
        )
        table_of = sentences.with_dense(table_of)
    config, network, moves = _fitted(config, table_of, reader, path)
    return Contents(config, network, moves, reader, Tokenizer.from_folder(folder), path, said, _source(folder))


def _source(folder: Path) -> Tokenizer | None:
    """The tokenizer of what a translator reads, where it is not that of what it writes."""
    if (folder / SOURCE_TOKENIZER).is_dir():
        return Tokenizer.from_folder(folder / SOURCE_TOKENIZER)
    return Tokenizer.from_folder(folder, source=True) if has_source(folder) else None


def _fitted(
    config: ModelConfig, table_of: Callable[[ModelConfig], Table], reader: TensorReader, path: Path
) -> tuple[ModelConfig, Network, list[Move]]:
    """The config, without weights its modules, and how the file's tensors become theirs.

    Raises ConfigError where the file does not hold what the config says, before anything as large as that is made.
    """
    there = reader.names()
    stacks = [stack for stack in (config.encoder, config.decoder) if stack is not None]
    layers = sum(len(set(s.shared) or s.blocks) if isinstance(s, TransformerStack) else s.layers for s in stacks)
    if layers > len(there):
        raise ConfigError(f"{path}: the config describes {layers:,} layers, but the file holds {len(there):,} tensors")
    network = build(config, "meta")
    held = sum(math.prod(reader.shape(name)) for name in there)
    sizes = {name: weight.numel() for name, weight in network.named_parameters()}  # those that are tied once
    table = table_of(config) if sum(sizes.values()) <= 2 * held else None  # which may hold orders of all rows
    claimed = sum(size for name, size in sizes.items() if table is None or name not in table.zero)
    if table is None or claimed - table.spare > held:
        raise ConfigError(
            f"{path}: the config describes a model of {claimed:,} numbers, but the file's tensors hold {held:,}"
        )
    shapes = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    moves = table.loads(there, names(network))
    for move in moves:
        _check_move(move, shapes, reader, path)
    for name, positions in table.sinusoids.items():
        for found in {name, name.removeprefix(table.prefix)} & {*there}:
            _check_sinusoids(positions, found, reader, path)
    _check_repeated(table, moves, reader, path)
    if isinstance(config.head, LMHead | MaskedLMHead) and (other := _another_head(table, moves, reader)):
        warnings.warn(
            f"{path}: the config says that embeddings and head are tied, but {other!r} differs and is used",
            stacklevel=3,
        )
        return _fitted(replace(config, head=replace(config.head, tied=False)), table_of, reader, path)
    return config, network, moves


def _check_move(move: Move, shapes: Mapping[str, tuple[int, ...]], reader: TensorReader, path: Path) -> None:
    """Tries a move on shapes alone. Raises ConfigError where a tensor is not what the model needs."""
    for name in move.theirs:
        if reader.dtype(name) in {"I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}:
            raise ConfigError(
                f"{path}: the tensor {name!r} holds whole numbers ({reader.dtype(name)}), as quantised models do; "
                "its config does not say by which of the methods that limelight reads"
            )
    theirs = ", ".join(map(repr, move.theirs))
    try:
        made = move.mapping.load([torch.empty(reader.shape(name), device="meta") for name in move.theirs])
    except ConfigError as error:
        raise ConfigError(f"{path}: the tensor {theirs} does not fit the config: {error}") from None
    for name, tensor in zip(move.ours, made, strict=True):
        if tuple(tensor.shape) != shapes[name]:
            found = " and ".join(str(reader.shape(name)) for name in move.theirs)
            raise ConfigError(
                f"{path}: the tensor {theirs} has the shape {found}; for {name!r} the config says {shapes[name]}"
            )


def _check_sinusoids(positions: Sinusoids, name: str, reader: TensorReader, path: Path) -> None:
    """Raises ConfigError where a file's sinusoidal positions are none."""
    held = reader.read(name) if reader.shape(name) == positions.shape else None
    rounding = 4e-3  # of bfloat16
    if not isinstance(held, Tensor) or not torch.allclose(held.float(), positions.tensor(), rtol=0, atol=rounding):
        raise ConfigError(
            f"{path}: the tensor {name!r} holds no sinusoidal positions of the shape {positions.shape}; "
            "this family has no others"
        )


def _another_head(table: Table, moves: Sequence[Move], reader: TensorReader) -> str | None:
    """The tensor for the head in a file whose config says that it is tied, where it is not the embeddings."""
    embedding = _read_for("embed.weight", moves)
    heads = [name for name, ours in table.tied.items() if ours == "embed.weight" and name in reader.names()]
    return next((name for name in heads if not _equal(reader, name, embedding)), None)


def _check_repeated(table: Table, moves: Sequence[Move], reader: TensorReader, path: Path) -> None:
    """Raises ConfigError where a tensor that repeats another one differs from it."""
    for name, ours in table.repeated.items():
        first = _read_for(ours, moves)
        for found in {name, name.removeprefix(table.prefix)} & {*reader.names()}:
            if not _equal(reader, found, first):
                raise ConfigError(f"{path}: the tensor {found!r} differs from {first!r}, which it can only repeat")


def _read_for(ours: str, moves: Sequence[Move]) -> str:
    """The tensor of a file that becomes a weight of ours."""
    return next(move.theirs[0] for move in moves if move.ours == (ours,))


def _equal(reader: TensorReader, name: str, other: str) -> bool:
    if name == other:
        return True
    one, two = reader.read(name), reader.read(other)
    return isinstance(one, Tensor) and isinstance(two, Tensor) and torch.equal(one, two)


def _computes(network: Network, path: Path, dtype: str | None) -> None:
    """Runs one token: a model whose numbers are damaged would answer everything with NaN. Raises FileError."""
    token = torch.zeros(1, 1, dtype=torch.int64, device=network.device)
    with torch.inference_mode():
        if isinstance(network, Encoder):
            scores = network(token)
        else:
            state = network.start(1, 1) if isinstance(network, Decoder) else network.start(network.encode(token), 1)
            scores = network.step(token, state, last=True)
        found = [scores.max()]  # NaN if any is; −∞ is a token that cannot be
        if isinstance(network.embed, nn.Embedding):  # of which the step has read one row
            found += torch.aminmax(network.embed.weight)
    if not all(number.isfinite() for number in found):
        why = f"; perhaps {dtype} is too narrow for it" if dtype == "float16" else ""
        raise FileError(f"{path}: the model computes no numbers (NaN or infinite): its weights are damaged{why}")


def usable_device(device: str) -> torch.device:
    """The device by that name. Raises RequestError if torch does not know it or it is not on this machine."""
    try:
        place = torch.device(device)
    except RuntimeError:
        raise RequestError(
            f"the device {given.shown(device)} is not one that torch knows; use cpu, cuda or mps"
        ) from None
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "meta": True}
    if not there.get(place.type, False):
        usable = ", ".join(name for name, yes in there.items() if yes and name != "meta")
        raise RequestError(f"the device {given.shown(device)} is not available on this machine; use {usable}")
    return place


def _dtype(reader: TensorReader, asked: str | None, device: torch.device) -> torch.dtype:
    """The number type between the layers: as asked, or that of most bytes in the file."""
    if asked is not None:
        return DTYPES[asked]
    sizes: dict[str, int] = {}
    for name in reader.names():
        sizes[reader.dtype(name)] = sizes.get(reader.dtype(name), 0) + reader.nbytes(name)
    most = max(sizes, key=lambda kind: sizes[kind])
    if device.type == "cpu":
        return torch.bfloat16 if most == "BF16" else torch.float32
    return {"F32": torch.float32, "BF16": torch.bfloat16}.get(most, torch.float16)


def _assign(network: nn.Module, name: str, tensor: Tensor) -> None:
    _set(network, name, nn.Parameter(tensor, requires_grad=False))


def _set(network: nn.Module, name: str, tensor: Tensor) -> None:
    place, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(place), leaf, tensor)


def _swap(network: Network, packed: Mapping[str, Packed], dtype: torch.dtype) -> None:
    """Puts low-bit layers where packed weights belong."""
    for name, weight in packed.items():
        place, _, _ = name.rpartition(".")
        module = network.get_submodule(place)
        if isinstance(module, nn.Linear | nn.Embedding):
            network.set_submodule(place, low_bit(module, weight, dtype))
        else:
            _assign(network, name, weight.dequantize(dtype))


def _tie(network: nn.Module, repeated: Mapping[str, str]) -> None:
    """Makes one again of the weights that `ties` found to be one, packed or not."""
    plain = {}
    for name, first in repeated.items():
        place, owner = name.rpartition(".")[0], network.get_submodule(first.rpartition(".")[0])
        module = network.get_submodule(place)
        if isinstance(owner, LowBitEmbedding | LowBitLinear) and isinstance(module, nn.Linear):
            network.set_submodule(place, LowBitLinear(owner.matrix, module.bias))
        else:
            plain[name] = first
    tie(network, plain)

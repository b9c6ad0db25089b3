"""From a language model to a GGUF file that llama.cpp opens."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from gguf import GGUFWriter, quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, LlamaFileType
from torch import Tensor

from limelight.checkpoints.save import weight
from limelight.errors import FileError, RequestError
from limelight.models import gguf
from limelight.models.api import Decoder
from limelight.models.build import build
from limelight.models.registry import family
from limelight.models.ties import names
from limelight.text.tokenizer import Tokenizer, to_gguf

Kind = Literal["f32", "f16", "q8_0", "q4_0"]
"""The number type of the matrices; vectors and positions are float32."""

KINDS: tuple[Kind, ...] = get_args(Kind)
FILE_TYPES: dict[Kind, LlamaFileType] = {
    "f32": LlamaFileType.ALL_F32,
    "f16": LlamaFileType.MOSTLY_F16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
    "q4_0": LlamaFileType.MOSTLY_Q4_0,
}


def check_file(path: Path, kind: str) -> Kind:
    """The kind, if a file of it can be made. Raises RequestError for one that is none, and for a file that exists."""
    of = next((each for each in KINDS if each == kind), None)
    if of is None:
        raise RequestError(f"the type {kind!r} is not one of {', '.join(KINDS)}")
    if path.exists():
        raise RequestError(f"{path} exists; name a new file, so that nothing is overwritten")
    return of


def save_gguf(network: Decoder, tokenizer: Tokenizer, path: Path, kind: str) -> None:
    """Writes the model, its tokenizer and its chat template. kind: one of `Kind`.

    The file is made beside its place and renamed when it is whole. In a file of 4 bits the embeddings have 8. Raises
    RequestError if the file exists, or if the model or its tokenizer has something that GGUF or limelight's reader of
    it cannot say; FileError if it cannot be written.
    """
    of = check_file(path, kind)
    config, row = network.config, family(network.config.family).gguf
    if row is None or config.transformer.recurrent:
        raise RequestError(f"limelight does not write the family {config.family!r} as GGUF")
    metadata = gguf.metadata(config)
    tensors: dict[str, Tensor] = {}
    for move in gguf.table(config).saves(sorted(names(build(config, "meta")))):
        theirs = move.mapping.save([weight(network, name) for name in move.ours])
        tensors.update(zip(move.theirs, (tensor.float().contiguous() for tensor in theirs), strict=True))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if replace(gguf.config_from_gguf(metadata, shapes), extra={}) != replace(config, extra={}):
        raise RequestError(f"this model of the family {config.family!r} has something that GGUF does not say")
    metadata |= to_gguf(tokenizer, config.vocab)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        _write(Path(beside), row.architecture, metadata, tensors, of)
        Path(beside).chmod(0o644)
        os.replace(beside, path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        Path(beside).unlink(missing_ok=True)


def _write(path: Path, architecture: str, metadata: dict[str, Any], tensors: dict[str, Tensor], kind: Kind) -> None:
    writer = GGUFWriter(path, architecture)
    writer.add_file_type(FILE_TYPES[kind])
    writer.add_quantization_version(2)
    for key, value in metadata.items():
        if key == "general.architecture":
            continue  # which the writer has written
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_key_value(key, value, TYPES[type(value)])
    for name, tensor in tensors.items():
        of = _type(name, tensor, kind)
        if of == GGMLQuantizationType.F32:
            writer.add_tensor(name, tensor.numpy())
        elif of == GGMLQuantizationType.F16:
            writer.add_tensor(name, tensor.half().numpy())
        else:
            writer.add_tensor(name, quants.quantize(tensor.numpy(), of), raw_dtype=of)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


TYPES = {
    bool: GGUFValueType.BOOL,
    int: GGUFValueType.UINT32,
    float: GGUFValueType.FLOAT32,
    str: GGUFValueType.STRING,
}


def _type(name: str, tensor: Tensor, kind: Kind) -> GGMLQuantizationType:
    """That of a tensor in a file of some type: vectors stay exact, and rows that blocks do not fill have 16 bits."""
    if tensor.dim() < 2 or name.startswith("position_embd") or kind == "f32":
        return GGMLQuantizationType.F32
    wanted = GGMLQuantizationType[kind.upper()]
    if kind == "q4_0" and name.startswith(("token_embd", "output.")):
        wanted = GGMLQuantizationType.Q8_0
    return GGMLQuantizationType.F16 if tensor.shape[-1] % GGML_QUANT_SIZES[wanted][0] else wanted

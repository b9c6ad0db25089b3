"""Quantised models of Hugging Face folders, read as if their weights had been stored as they are multiplied.

Each method keeps a weight as several tensors: integers or floats of few bits, scales, zeros, tables. ``widened`` puts a
reader in front of the file's that has the weight itself. Integers of 4 and 8 bits whose groups fit become low-bit
blocks of ours, which hold exactly what they say; everything else becomes float32. Scales of activations are left out:
inputs are not rounded as the methods' own kernels do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from limelight.checkpoints.bitsandbytes import bitsandbytes
from limelight.checkpoints.floats import float4, gpt_oss, modelopt, scaled
from limelight.checkpoints.integers import awq, gptq, words
from limelight.checkpoints.made import Held, Made, Weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from limelight.checkpoints.reader import TensorReader
    from limelight.quant.packed import Packed


class QuantisedReader:
    """A ``TensorReader`` with the weights that are `made` in place of what they are made of, and without `hidden`."""

    def __init__(self, reader: TensorReader, made: Mapping[str, Made], hidden: set[str]) -> None:
        self._reader = reader
        self._made = made
        used = {part for each in made.values() for part in each.parts} | hidden
        self._names = (*(name for name in reader.names() if name not in used), *made)
        self.metadata = reader.metadata

    def names(self) -> tuple[str, ...]:
        return self._names

    def shape(self, name: str) -> tuple[int, ...]:
        return self._made[name].shape if name in self._made else self._reader.shape(name)

    def dtype(self, name: str) -> str:
        return self._made[name].dtype if name in self._made else self._reader.dtype(name)

    def nbytes(self, name: str) -> int:
        return sum(map(self._reader.nbytes, self._made[name].parts if name in self._made else (name,)))

    def read(self, name: str) -> Tensor | Packed:
        if name not in self._made:
            return self._reader.read(name)
        return self._made[name].make(*map(self._reader.read, self._made[name].parts))


def widened(reader: TensorReader, config: Mapping[str, Any]) -> tuple[TensorReader, Mapping[str, Any]]:
    """The reader of a quantised model's weights, and its config without a word of that; what is not quantised, or by a
    method that is not known, stays as it is.

    Raises ConfigError naming the tensor that does not fit the method.
    """
    said = config.get("quantization_config")
    method = said.get("quant_method") if isinstance(said, dict) else None
    known = METHODS.get(method) if isinstance(method, str) else None
    if known is None or not isinstance(said, dict):
        return reader, config
    made = known(Held(reader), said)
    names = {*reader.names()}
    stems = {name.removesuffix("weight") for name in made}
    hidden = {name for name in names if name.rpartition(".")[2] in _HIDDEN}
    # A method that gave every projection a bias left zeros in most.
    hidden |= {bias for stem in stems if (bias := f"{stem}bias") in names and method == "gptq" and _zero(reader, bias)}
    return QuantisedReader(reader, made, hidden), {k: v for k, v in config.items() if k != "quantization_config"}


_HIDDEN = {f"{part}_scale" for part in ("input", "output", "input_global", "q", "k", "v", "kv")}
_HIDDEN |= {"input_zero_point", "weight_format"}


def _zero(reader: TensorReader, name: str) -> bool:
    bias = reader.read(name)
    return isinstance(bias, Tensor) and not bool(bias.any())


def _compressed(file: Held, said: Mapping[str, Any]) -> Weights:
    """What compressed-tensors (vLLM) writes: integers in words, 8-bit weights, 4-bit floats."""
    return {**scaled(file, said), **words(file), **float4(file)}


METHODS: dict[str, Callable[[Held, Mapping[str, Any]], Weights]] = {
    "fp8": scaled,
    "fbgemm_fp8": scaled,
    "compressed-tensors": _compressed,
    "gptq": gptq,
    "awq": awq,
    "bitsandbytes": bitsandbytes,
    "mxfp4": gpt_oss,
    "modelopt": modelopt,
}
"""The methods that are read, by the names that configs have for them."""

"""Layers over low-bit weights, called as ``nn.Linear`` and ``nn.Embedding`` are."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from limelight.nn.stack import Stack
from limelight.quant.kernels import ExactMatrix, Matrix, NativeMatrix, prepare
from limelight.quant.packed import pack, packable

if TYPE_CHECKING:
    from limelight.quant.packed import Packed

M = TypeVar("M", bound=nn.Module)


class LowBitLinear(nn.Module):
    """``y = x · Wᵀ + bias``, x ``[..., in]`` to ``[..., out]`` in x's type, over low-bit weights that do not train.

    Gradients flow to ``x`` and to ``bias``.
    """

    def __init__(self, weights: Packed | Matrix, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.matrix = prepare(weights)
        self.register_parameter("bias", bias)

    @property
    def in_features(self) -> int:
        return self.matrix.columns

    @property
    def out_features(self) -> int:
        return self.matrix.rows

    @property
    def batch_invariant(self) -> bool:
        """Whether a row's product is the same, to the bit, alone and among others."""
        return isinstance(self.matrix, NativeMatrix) and self.matrix.data.device.type == "cpu"

    @property
    def packed(self) -> Packed:
        """The weights' original blocks, bit for bit; ``packed.dequantize()`` widens them."""
        return self.matrix.packed()

    def forward(self, x: Tensor) -> Tensor:
        return self.matrix(x, self.bias)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"{self.in_features} → {self.out_features}, {self.matrix.format}, {self.matrix.path}"


class LowBitEmbedding(nn.Module):
    """Rows of a low-bit table, index ``[...]`` to ``[..., width]`` in ``dtype``; widens only the rows asked for.

    May share its ``matrix`` with the output head: ``LowBitLinear(embedding.matrix)``.
    """

    def __init__(self, weights: Packed | Matrix, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.matrix = prepare(weights)
        self.dtype = dtype

    @property
    def num_embeddings(self) -> int:
        return self.matrix.rows

    @property
    def embedding_dim(self) -> int:
        return self.matrix.columns

    @property
    def packed(self) -> Packed:
        """The table's original blocks, bit for bit; ``packed.dequantize()`` widens them."""
        return self.matrix.packed()

    def forward(self, index: Tensor) -> Tensor:
        return self.matrix.lookup(index, self.dtype)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings} × {self.embedding_dim}, {self.matrix.format}, {self.dtype}"


def low_bit(layer: nn.Linear | nn.Embedding, weights: Packed | Matrix, dtype: torch.dtype) -> nn.Module:
    """What stands for `layer` over low-bit weights; an embedding gives its rows in `dtype`."""
    if isinstance(layer, nn.Linear):
        return LowBitLinear(weights, layer.bias)
    return LowBitEmbedding(weights, dtype)


def fits(layer: nn.Module, format: str) -> TypeGuard[nn.Linear | nn.Embedding]:
    """Whether `quantise` rounds the layer's weights: those of projections and tables whose rows are whole blocks."""
    return isinstance(layer, nn.Linear | nn.Embedding) and packable(layer.weight.shape, format)


def quantise(network: M, format: str = "Q8_0") -> M:
    """Rounds the weights of every projection and embedding table to low-bit blocks, in place.

    Weights that layers share, as embeddings and head often do, stay shared. Layers whose rows are not whole blocks
    keep their weights, and so does all that is neither: norms, biases, learned positions, recurrent cells. Raises
    ``ConfigError`` where ``pack`` does.
    """
    matrices: dict[Tensor, Matrix] = {}
    for name, layer in list(network.named_modules(remove_duplicate=False)):
        if fits(layer, format):
            weight = layer.weight
            if weight not in matrices:
                matrices[weight] = prepare(pack(weight, format))
            network.set_submodule(name, low_bit(layer, matrices[weight], weight.dtype))
    return network


def exactly(network: M) -> M:
    """Makes all low-bit layers of `network` multiply exactly and its stacks remember exactly, in place; meant for a
    twin of a model in use."""
    for module in list(network.modules()):
        if isinstance(module, LowBitLinear):
            module.matrix = ExactMatrix(module.matrix)
        elif isinstance(module, Stack):
            module.cache_dtype = None
    return network

"""Layers over low-bit weights, called as ``nn.Linear`` and ``nn.Embedding`` are."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from limelight.quant.kernels import ExactMatrix, Matrix, prepare

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


def exactly(network: M) -> M:
    """Makes all low-bit layers of `network` multiply exactly, in place; meant for a twin of a model in use."""
    for module in list(network.modules()):
        if isinstance(module, LowBitLinear):
            module.matrix = ExactMatrix(module.matrix)
    return network

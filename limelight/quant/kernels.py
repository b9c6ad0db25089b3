"""Ways to multiply by low-bit weights; ``prepare`` picks the best one for the machine when a layer is made.

=================  =======================================================  ==========================================
``NativeMatrix``   the compiled kernels, inputs rounded to 8 bits           wherever they are built
``Int4Matrix``     torch's own int4 product, inputs and scales in bfloat16  4-bit formats, without compiled kernels
``WideMatrix``     weights rounded once to bfloat16                         other formats, without compiled kernels
``PlainMatrix``    weights widened at each call to the inputs' type         the twin that the others are tested against
``ExactMatrix``    any other's weights as they are, inputs not rounded      on a model that is looked at
=================  =======================================================  ==========================================
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.quant import native
from limelight.quant.packed import Packed, groups

if TYPE_CHECKING:
    from collections.abc import Sequence

# Up to so many rows torch's int4 product is faster than widening the weights for `F.linear`.
FEW_ROWS = 16


class Matrix(nn.Module, ABC):
    """Low-bit weights ``[rows, columns]``, prepared for one way of multiplying.

    A module so that its tensors move and are saved with the layer; several layers may share one. They are of integer
    types, whatever they hold, for ``module.to(dtype)`` leaves those as they are.
    """

    format: str
    rows: int
    columns: int

    def __init__(self, like: Packed | Matrix) -> None:
        super().__init__()
        self.format = like.format
        self.rows, self.columns = math.prod(like.shape[:-1]), like.shape[-1]

    @property
    def shape(self) -> tuple[int, int]:
        """Output rows and input columns."""
        return self.rows, self.columns

    @property
    @abstractmethod
    def path(self) -> str:
        """What multiplies, for ``limelight doctor``."""

    @abstractmethod
    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """``x · Wᵀ + bias``, ``[..., columns]`` to ``[..., rows]``, in x's type."""

    def exact(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """The same product, with the weights widened to x's type and the inputs not rounded."""
        return F.linear(x, self.lookup(torch.arange(self.rows, device=x.device), x.dtype), bias)

    @abstractmethod
    def lookup(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """The rows named by ``index``, ``[*index.shape, columns]``."""

    @abstractmethod
    def packed(self) -> Packed:
        """The original blocks, bit for bit."""


class PlainMatrix(Matrix):
    """Weights as they came, widened at each call: slow, exact, and everywhere."""

    data: Tensor

    def __init__(self, packed: Packed) -> None:
        super().__init__(packed)
        self.register_buffer("data", packed.data)

    @property
    def path(self) -> str:
        return "plain torch"

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, self.packed().dequantize(x.dtype), bias)

    def lookup(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return _lookup(self.packed(), index, dtype)

    def packed(self) -> Packed:
        return Packed(self.data, self.format, (self.rows, self.columns))


class WideMatrix(Matrix):
    """Weights rounded once to bfloat16, and the blocks they came from."""

    data: Tensor
    weight: Tensor

    def __init__(self, packed: Packed) -> None:
        super().__init__(packed)
        self.register_buffer("data", packed.data)
        self.register_buffer("weight", packed.dequantize(torch.bfloat16).view(torch.int16))

    @property
    def path(self) -> str:
        return "torch bfloat16"

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        y = F.linear(x.to(torch.bfloat16), self.weight.view(torch.bfloat16)).to(x.dtype)
        return y if bias is None else y + bias

    def lookup(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return _lookup(self.packed(), index, dtype)

    def packed(self) -> Packed:
        return Packed(self.data, self.format, (self.rows, self.columns))


class Int4Matrix(Matrix):
    """torch's int4 product for few rows, and for many the weights widened to bfloat16."""

    data: Tensor
    codes: Tensor
    scales: Tensor

    def __init__(self, packed: Packed) -> None:
        super().__init__(packed)
        self.register_buffer("data", packed.data)
        q, scale, minimum = groups(packed)
        zero = native.LAYOUTS[packed.format].zero
        codes = (q.view(torch.uint8) + zero).flatten(1).to(torch.int32)
        self.register_buffer("codes", torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1))
        # The product computes (code - 8) * scale + offset.
        offset = minimum + (8 - zero) * scale
        scales = torch.stack((scale, offset), dim=-1).transpose(0, 1).to(torch.bfloat16)  # [G, rows, 2]
        self.register_buffer("scales", scales.contiguous().view(torch.int16))

    @staticmethod
    def fits(packed: Packed) -> bool:
        """Whether torch has such a product for these weights."""
        return native.LAYOUTS[packed.format].bits == 4 and packed.data.shape[0] % 16 == 0

    @property
    def path(self) -> str:
        return "torch int4"

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        flat = x.reshape(-1, self.columns).to(torch.bfloat16)
        if len(flat) <= FEW_ROWS and not x.requires_grad:
            scales = self.scales.view(torch.bfloat16)
            y: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(flat, self.codes, 32, scales)
        else:
            y = F.linear(flat, self.packed().dequantize(torch.bfloat16))
        y = y.view(*x.shape[:-1], self.rows).to(x.dtype)
        return y if bias is None else y + bias

    def lookup(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return _lookup(self.packed(), index, dtype)

    def packed(self) -> Packed:
        return Packed(self.data, self.format, (self.rows, self.columns))


class NativeMatrix(Matrix):
    """The compiled kernels; ``kernel`` is an index into ``native.KERNELS``.

    The blocks are reordered, not kept. Away from the CPU the weights are widened from their new order at each call.
    """

    data: Tensor
    header: Tensor

    def __init__(self, packed: Packed, kernel: int = 0) -> None:
        super().__init__(packed)
        self.kernel = kernel
        self.register_buffer("data", native.repack(packed))
        self.register_buffer("header", native.header(packed))

    @property
    def path(self) -> str:
        return f"native ({native.KERNELS[self.kernel]})"

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        if x.device.type != "cpu":
            return F.linear(x, _widen(self.data, self.format, self.rows, x.dtype), bias)
        if x.dtype not in (torch.float32, torch.bfloat16):
            return self(x.to(torch.float32), bias).to(x.dtype)  # type: ignore[no-any-return]
        traced = torch.compiler.is_compiling() or torch.is_grad_enabled()
        product = torch.ops.limelight.linear if traced else native.linear  # the dispatcher costs 3 µs
        result: Tensor = product(x, self.data, bias, self.format, self.rows, self.kernel)
        return result

    def exact(self, x: Tensor, bias: Tensor | None) -> Tensor:
        needs_graph = torch.is_grad_enabled() and x.requires_grad
        if x.device.type != "cpu" or x.dtype is not torch.float32 or needs_graph:
            return super().exact(x, bias)
        return native.linear(x, self.data, bias, self.format, self.rows, self.kernel, rounded=False)

    def lookup(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        if index.device.type != "cpu":
            return F.embedding(index, _widen(self.data, self.format, self.rows, dtype))
        exact = dtype if dtype in (torch.float32, torch.bfloat16) else torch.float32
        rows = torch.ops.limelight.rows if torch.compiler.is_compiling() else native.rows
        result: Tensor = rows(self.data, index, self.format, (self.rows, self.columns), exact)
        return result.to(dtype)

    def packed(self) -> Packed:
        return native.restore(self.data.cpu(), self.header.cpu(), self.format, (self.rows, self.columns))


class ExactMatrix(Matrix):
    """Another matrix, multiplied exactly; for looking, where what is measured is smaller than what rounding adds."""

    def __init__(self, matrix: Matrix) -> None:
        super().__init__(matrix)
        self.matrix = matrix

    @property
    def path(self) -> str:
        return "exact"

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return self.matrix.exact(x, bias)

    def lookup(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return self.matrix.lookup(index, dtype)

    def packed(self) -> Packed:
        return self.matrix.packed()


def prepare(packed: Packed | Matrix) -> Matrix:
    """Prepares weights, unless they are already, for the fastest way of multiplying that this machine has."""
    if isinstance(packed, Matrix):
        return packed
    if packed.data.device.type != "cpu":
        return PlainMatrix(packed)
    if native.KERNELS:
        return NativeMatrix(packed)
    return Int4Matrix(packed) if Int4Matrix.fits(packed) else WideMatrix(packed)


def describe() -> list[str]:
    """What multiplies by low-bit weights on this machine and why, a sentence each."""
    if native.KERNELS:
        return [
            f"Low-bit weights are multiplied by the compiled kernels, path {native.KERNELS[0]}, whole stacks at once."
        ]
    if native.LIBRARY.exists():
        reason = (
            "The compiled kernels are there but not used: they are turned off by LIMELIGHT_NATIVE=0, or were built for "
            "another machine or from another version of the source; reinstall limelight."
        )
    else:
        reason = (
            "The compiled kernels are missing, for there was no C++ compiler when limelight was installed: "
            "install one (g++ or clang++) and install limelight again from its source."
        )
    return ["Low-bit weights are multiplied by torch: 4-bit ones as int4, others widened to bfloat16.", reason]


def _lookup(packed: Packed, index: Tensor, dtype: torch.dtype) -> Tensor:
    return packed.rows(index.flatten()).dequantize(dtype).view(*index.shape, packed.shape[-1])


def _widen(data: Tensor, format: str, rows: int, dtype: torch.dtype) -> Tensor:
    """The weights that ``data`` holds in the kernels' order, ``[rows, columns]``: the twin of ``native.rows``."""
    q, scale, minimum = native.unpack(data, format, rows)
    return torch.addcmul(minimum.unsqueeze(-1), q.to(torch.float32), scale.unsqueeze(-1)).flatten(1).to(dtype)


# ---- the kernels as torch operators, for `torch.compile` and for gradients

torch.library.define(
    "limelight::linear", "(Tensor x, Tensor data, Tensor? bias, str format, int rows, int kernel) -> Tensor"
)
torch.library.define(
    "limelight::rows", "(Tensor data, Tensor index, str format, int[] shape, ScalarType dtype) -> Tensor"
)
torch.library.impl("limelight::linear", "cpu", native.linear)
torch.library.impl("limelight::rows", "cpu", native.rows)


def _linear_shape(x: Tensor, data: Tensor, bias: Tensor | None, format: str, rows: int, kernel: int) -> Tensor:
    return x.new_empty(*x.shape[:-1], rows)


def _rows_shape(data: Tensor, index: Tensor, format: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return data.new_empty(*index.shape, shape[1], dtype=dtype)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, data, _, ctx.format, ctx.rows, _ = inputs
    ctx.save_for_backward(data)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The gradient of the exact product, as if the inputs were not rounded: rounding has none."""
    (data,) = ctx.saved_tensors
    inputs = grad @ _widen(data, ctx.format, ctx.rows, grad.dtype) if ctx.needs_input_grad[0] else None
    bias = grad.flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None
    return inputs, None, bias, None, None, None


torch.library.register_autograd("limelight::linear", _backward, setup_context=_keep)
torch.library.register_fake("limelight::linear", _linear_shape)
torch.library.register_fake("limelight::rows", _rows_shape)

"""The list of steps that a stack of blocks comes to, made from its modules; ``native/program.h`` runs it."""

from __future__ import annotations

import ctypes
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.nn.attention import Attention, Clip, attention_weights, dropping, explicit, fused
from limelight.nn.bias import NoBias, OffsetBias
from limelight.nn.block import Block, Join, Scaled
from limelight.nn.feedforward import FeedForward, GatedFeedForward, gelu_tanh, relu_squared
from limelight.nn.norm import AcrossHeads, Norm
from limelight.nn.positions import NoRotary, Rotary
from limelight.quant import native
from limelight.quant.kernels import NativeMatrix
from limelight.quant.linear import LowBitLinear

if TYPE_CHECKING:
    from collections.abc import Iterable

    from limelight.nn.stack import Stack

PRODUCT, NORM, TURN, ATTENTION, ACTIVATION = range(5)
NOWHERE, STREAM = -1, -2
NO_NORM, RMS, LAYER, SCALED, CLIPPED = range(5)
ACTIVATIONS: dict[Any, int] = {F.relu: 0, F.gelu: 1, gelu_tanh: 2, F.silu: 3, relu_squared: 4}


class NormOf(ctypes.Structure):
    """As ``Norm`` in tiles.h."""

    _fields_ = (
        ("kind", ctypes.c_int32),
        ("eps", ctypes.c_float),
        ("shift", ctypes.c_float),
        ("weight", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class Step(ctypes.Structure):
    """As ``Step`` in program.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("kind", "joined", "add", "group", "activate", "heads", "kv_heads")),
        *((name, ctypes.c_int32) for name in ("rotary", "biased", "own", "layer")),
        ("scale", ctypes.c_float),
        ("cap", ctypes.c_float),
        *((name, ctypes.c_int64) for name in ("width", "rows", "window", "first", "second", "third", "to", "codes")),
        ("norm_of", NormOf),
        ("norm_of_keys", NormOf),
        ("layout", ctypes.c_int32 * 5),
        ("data", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
    )


class UnfitError(Exception):
    """A stack holds something that the kernels do not know; the message names it."""


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise UnfitError(what)


Codes = dict[int, int]
"""Where a row's 8-bit codes are, for each size of a group that some product wants."""


class Compiler:
    """The list of steps as it is made, block by block.

    A place is an offset, in bytes for each row of the stream, into memory that the steps of a call share; every block
    uses the same places. Raises UnfitError.
    """

    def __init__(self, stack: Stack) -> None:
        self.made: list[Step] = []
        self.kept: list[Any] = []
        self.rotaries: list[Rotary] = []
        self.biases: list[OffsetBias] = []
        self.size = 0
        self.kernel = -1
        _need(not stack.training, "training")
        _need(not any(map(hooked, (*stack.blocks.modules(), stack.norm))), "hooks")
        for block in stack.blocks:
            _need(type(block.attention) is Attention, type(block.attention).__name__)
        first = cast("Attention", stack.blocks[0].attention)
        for layer, block in enumerate(stack.blocks):
            self._taken = 0
            attention = cast("Attention", block.attention)
            same = (attention.kv_heads, attention.head_width) == (first.kv_heads, first.head_width)
            _need(same, "heads that differ from layer to layer")
            self._block(cast("Block", block), layer)
        if not isinstance(stack.norm, nn.Identity):
            self._norm(stack.norm, STREAM, (), to=STREAM)

    def _block(self, block: Block, layer: int) -> None:
        joins = block.joins
        if block.parallel:  # all parts read the stream before the first of them adds to it
            read = [self._read(block, join) for join in joins]
            for join, codes in zip(joins, read, strict=True):
                self._part(block, join, codes, layer)
        else:
            for join in joins:
                self._part(block, join, self._read(block, join), layer)

    def _read(self, block: Block, join: Join) -> Codes:
        part = join.part
        crosses = isinstance(part, Attention) and part is not block.attention
        readers = (cast("nn.Module", part.q),) if crosses else _readers(part)
        return self._norm(join.before, STREAM, readers)

    def _part(self, block: Block, join: Join, codes: Codes, layer: int) -> None:
        if isinstance(join.part, Attention):
            codes = self._attention(join.part, codes, layer, own=join.part is block.attention)
            self._join(join.part.out, codes, join.inner)
        else:
            self._join(*self._feedforward(join.part, codes), join.inner)
        if not isinstance(join.outer, nn.Identity):
            self._norm(join.outer, STREAM, (), to=STREAM)

    def _attention(self, attention: Attention, codes: Codes, layer: int, *, own: bool) -> Codes:
        core = attention.core
        if isinstance(core, partial) and core.func is dropping:
            core = core.args[0]
        _need(attention.sinks is None, "sinks")
        _need(attention.gate is None, "gated attention")
        _need(core in (fused, explicit) and attention.weigh is attention_weights, "another core of attention")
        _need(attention.head_width % 16 == 0, "heads whose width is no multiple of 16")
        q, k, v = self._product(attention.q, codes, joined=own), NOWHERE, NOWHERE
        if own:
            k, v = self._product(attention.k, codes, joined=True), self._product(attention.v, codes)
        q_norm, k_norm = self._within(attention.q_norm, q), self._within(attention.k_norm, k)
        if isinstance(attention.clip, Clip):
            _need(isinstance(q_norm, nn.Identity), "heads that are normalised and then cut off")
            for place, linear in ((q, attention.q), (k, attention.k), (v, attention.v)):
                if place != NOWHERE:
                    self._norm(attention.clip, place, (), to=place, width=_matrix(linear).rows)
        shape = {
            "heads": _matrix(attention.q).rows // attention.head_width,
            "kv_heads": attention.kv_heads,
            "width": attention.head_width,
            "own": own,
            "layer": layer,
        }
        self._add(
            TURN,
            first=q,
            second=k,
            third=v,
            rotary=self._rotary(attention.rotary),
            norm_of=self._norm_of(q_norm),
            norm_of_keys=self._norm_of(k_norm),
            **shape,
        )
        mixed = self._room(4 * _matrix(attention.q).rows)
        cap, window = attention.cap or 0.0, attention.window or 0
        biased = self._bias(attention.score_bias)
        self._add(ATTENTION, first=q, to=mixed, scale=attention.scale, cap=cap, window=window, biased=biased, **shape)
        return self._codes(mixed, (attention.out,))

    def _within(self, norm: nn.Module, place: int) -> nn.Module:
        """The norm of each head of what is at `place`; one across all heads is made here, and none is left."""
        if not isinstance(norm, AcrossHeads):
            return norm
        if place != NOWHERE:
            self._norm(norm.norm, place, (), to=place)
        return nn.Identity()

    def _feedforward(self, feedforward: nn.Module, codes: Codes) -> tuple[nn.Module, Codes]:
        """Returns the last layer as well, and what it reads."""
        match feedforward:
            case GatedFeedForward():
                first, second = (
                    self._product(feedforward.gate, codes, joined=True),
                    self._product(feedforward.up, codes),
                )
            case FeedForward():
                first, second = self._product(feedforward.up, codes), NOWHERE
            case _:
                raise UnfitError(type(feedforward).__name__)
        _need(feedforward.activation in ACTIVATIONS, "another activation")
        down = _matrix(feedforward.down)
        hidden = self._codes_room(down)
        self._add(
            ACTIVATION,
            activate=ACTIVATIONS[feedforward.activation],
            first=first,
            second=second,
            to=self._room(4 * down.columns),
            width=down.columns,
            codes=hidden,
            group=_group(down),
        )
        return feedforward.down, {_group(down): hidden}

    def _join(self, linear: nn.Module, codes: Codes, after: nn.Module) -> None:
        """Adds a product to the stream, through `after`."""
        if isinstance(after, nn.Identity | nn.Dropout):
            self._product(linear, codes, to=STREAM)
        else:
            place = self._product(linear, codes)
            self._norm(after, place, (), to=STREAM, width=_matrix(linear).rows, add=True)

    def _product(self, linear: nn.Module, codes: Codes, *, to: int | None = None, joined: bool = False) -> int:
        """Adds to what is at `to`, or writes to a new place; returns where."""
        matrix, bias = _matrix(linear), cast("Tensor | None", linear.bias)
        _need(self.kernel in (-1, matrix.kernel), "matrices of several kernels")
        _need(bias is None or bias.dtype is torch.float32, "biases that are not float32")
        self.kernel = matrix.kernel
        self.kept += [matrix.data, bias]
        place = self._room(4 * matrix.rows) if to is None else to
        self._add(
            PRODUCT,
            joined=joined,
            add=to is not None,
            first=codes[_group(matrix)],
            to=place,
            width=matrix.columns,
            rows=matrix.rows,
            layout=native.LAYOUT_ARGUMENTS[matrix.format],
            data=matrix.data.data_ptr(),
            bias=None if bias is None else bias.data_ptr(),
        )
        return place

    def _codes(self, place: int, readers: Iterable[nn.Module]) -> Codes:
        """Rounds what is at `place` to 8 bits for its readers."""
        return self._norm(nn.Identity(), place, readers)

    def _norm(
        self,
        norm: nn.Module,
        place: int,
        readers: Iterable[nn.Module],
        to: int = NOWHERE,
        width: int | None = None,
        add: bool = False,
    ) -> Codes:
        """Normalises what is at `place`, writes or adds it to `to`, and rounds it to 8 bits for its readers.

        width: of its rows, where neither readers nor a norm tell.
        """
        wanted = {_group(matrix): matrix for matrix in map(_matrix, readers)}
        made = self._norm_of(norm)
        if width is None:
            width = self._width(norm, wanted)
        if made.kind != NO_NORM and to == NOWHERE:
            to = self._room(4 * width)
        codes = {group: self._codes_room(matrix) for group, matrix in wanted.items()}
        for group, codes_place in codes.items() or ((32, NOWHERE),):
            self._add(NORM, first=place, to=to, width=width, add=add, norm_of=made, codes=codes_place, group=group)
        return codes

    def _norm_of(self, norm: nn.Module) -> NormOf:
        match norm:
            case nn.Identity():
                return NormOf(NO_NORM)
            case Scaled():
                return NormOf(SCALED, shift=norm.scale)
            case Clip():
                return NormOf(CLIPPED, shift=norm.limit)
            case Norm() if type(norm).gain is Norm.gain:
                weight, bias = norm.weight.detach(), None if norm.bias is None else norm.bias.detach()
            case _:
                raise UnfitError(type(norm).__name__)
        _need(weight.dtype is torch.float32 and weight.is_contiguous(), "norms that are not float32")
        self.kept += [weight, bias]
        kind = LAYER if norm.centred else RMS
        return NormOf(kind, norm.eps, norm.shift, weight.data_ptr(), None if bias is None else bias.data_ptr())

    def _width(self, norm: nn.Module, readers: dict[int, NativeMatrix]) -> int:
        if readers:
            return next(iter(readers.values())).columns
        return len(cast("Norm", norm).weight)

    def _rotary(self, rotary: nn.Module) -> int:
        match rotary:
            case NoRotary():
                return -1
            case Rotary():
                if rotary not in self.rotaries:
                    self.rotaries.append(rotary)
                return self.rotaries.index(rotary)
            case _:
                raise UnfitError(type(rotary).__name__)

    def _bias(self, bias: nn.Module) -> int:
        match bias:
            case NoBias():
                return -1
            case OffsetBias():
                if bias not in self.biases:
                    self.biases.append(bias)
                return self.biases.index(bias)
            case _:
                raise UnfitError(type(bias).__name__)

    def _codes_room(self, matrix: NativeMatrix) -> int:
        groups = matrix.columns // _group(matrix)
        return self._room(matrix.columns + 12 * groups)  # `Group` in tiles.h: three numbers of 4 bytes

    def _room(self, size: int) -> int:
        place = self._taken
        self._taken += -(-size // 64) * 64
        self.size = max(self.size, self._taken)
        return place

    def _add(self, kind: int, **values: Any) -> None:
        places = {"first": NOWHERE, "second": NOWHERE, "third": NOWHERE, "to": NOWHERE, "codes": NOWHERE}
        self.made.append(Step(kind=kind, **{**places, **values}))


def hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _readers(part: nn.Module) -> tuple[nn.Module, ...]:
    """The layers that read what a part of a block is given."""
    match part:
        case Attention():
            return part.q, part.k, part.v
        case GatedFeedForward():
            return part.gate, part.up
        case FeedForward():
            return (part.up,)
        case _:
            raise UnfitError(type(part).__name__)


def _matrix(linear: nn.Module) -> NativeMatrix:
    if isinstance(linear, LowBitLinear) and isinstance(linear.matrix, NativeMatrix):
        return linear.matrix
    raise UnfitError("matrices that the kernels do not multiply")


def _group(matrix: NativeMatrix) -> int:
    return native.LAYOUTS[matrix.format].group

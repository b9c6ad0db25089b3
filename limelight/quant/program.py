"""A stack of blocks run by one call of the compiled kernels.

For one token, a small block's products take a third of the time that torch needs to call the thirty operators of the
block. Where every product of a stack is a ``NativeMatrix``, ``Fused`` makes a list of steps of the blocks' modules
(``limelight.quant.compiler``) and runs that in place of the blocks. It computes what they would, except that sums are
added up in another order; where it does not apply, the blocks run one after another as ever.
"""

from __future__ import annotations

import ctypes
from array import array
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limelight.nn.attention import Attention
from limelight.nn.cache import KVCache
from limelight.nn.mask import CausalMasks, Masks
from limelight.nn.positions import Positions, Rotary
from limelight.nn.stack import Stack, in_turn
from limelight.quant import native
from limelight.quant.compiler import Compiler, Step, UnfitError, hooked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from limelight.nn.state import Source


CHUNK = 64
"""Keys that the kernels score at a time (``KEYS`` in attention.h), behind the last ones, too."""


class Memory(ctypes.Structure):
    """As ``Memory`` in program.h."""

    _fields_ = (
        ("layers", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("bytes", "row", "head", "step")),
        ("lengths", ctypes.c_void_p),
        ("origin", ctypes.c_void_p),
    )


class Call(ctypes.Structure):
    """As ``Call`` in program.h."""

    _fields_ = (
        ("stream", ctypes.c_void_p),
        ("arena", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("begins", ctypes.c_void_p),
        ("causal", ctypes.c_int64),
        ("own", Memory),
        ("heard", Memory),
        ("tables", ctypes.c_void_p),
        ("biases", ctypes.c_void_p),
    )


class Fused:
    """A way to run one stack's blocks (`nn.stack.Run`): at once where it can, otherwise in turn.

    A stack is inspected whenever it begins a text, so layers may be replaced, their settings changed and hooks
    registered between texts. Its program lives and dies with it: another stack that was given this one, as that of a
    twin is, gets its own, and so does a copy that was unpickled.
    """

    def __init__(self) -> None:
        self.batch_invariant = False  # whether the stack last ran at once, where a row's bits depend on that row alone
        self._stack: ref[Stack] | None = None
        self._made: tuple[list[Any], Program | None] | None = None

    def __reduce__(self) -> tuple[type[Fused], tuple[()]]:
        return Fused, ()

    def __call__(
        self,
        stack: Stack,
        x: Tensor,
        positions: Positions,
        masks: Masks,
        caches: Sequence[KVCache],
        source: Source | None,
    ) -> Tensor:
        self.batch_invariant = False
        usable = x.device.type == "cpu" and x.dtype is torch.float32 and not torch.is_grad_enabled()
        if not usable or torch.compiler.is_compiling():
            return in_turn(stack, x, positions, masks, caches, source)
        lengths = _lengths(masks)
        if lengths is None or not _readable(x.shape[1], masks, caches, source):
            return in_turn(stack, x, positions, masks, caches, source)
        if self._stack is None:
            self._stack = ref(stack)
        elif self._stack() is not stack:
            stack.run = Fused()
            return stack.run(stack, x, positions, masks, caches, source)
        program = self._program(stack, begins=masks.keys == x.shape[1])
        if program is None or not all(cache.keys.dtype in program.kept_in for cache in caches[:1]):
            return in_turn(stack, x, positions, masks, caches, source)
        self.batch_invariant = True
        return program(x, lengths, positions, isinstance(masks, CausalMasks), caches, source)

    def _program(self, stack: Stack, begins: bool) -> Program | None:
        """The stack's program, if there is one for it; where a text begins it is made anew, which takes as long as a
        token, if anything of the stack is not what it was."""
        made = self._made
        if made is None or begins:
            holds = _holds(stack)
            if made is None or made[0] != holds:
                try:
                    made = holds, Program(stack)
                except UnfitError:
                    made = holds, None
                self._made = made
            elif made[1] is not None:
                made[1].begin()
        return made[1]


def _holds(stack: Stack) -> list[Any]:
    """All that a program is made from: modules and their settings, hooks, where tensors are."""
    modules = [*stack.blocks.modules(), stack.norm]
    places = [
        tensor.data_ptr()
        for module in modules
        for tensor in (*module._parameters.values(), *module._buffers.values())
        if tensor is not None
    ]
    settings = [
        value
        for module in modules
        for name, value in vars(module).items()
        if not name.startswith("_") and (value is None or callable(value) or isinstance(value, int | float))
    ]
    return [modules, places, settings, any(map(hooked, modules)), stack.training, stack.cache_dtype]


def _lengths(masks: Masks) -> Tensor | None:
    """How many positions of each row there are before the step; None where something else is hidden, too."""
    if isinstance(masks, CausalMasks):
        return masks.starts if masks.visible is None else None
    return masks.mask.lengths


def _readable(steps: int, masks: Masks, caches: Sequence[KVCache], source: Source | None) -> bool:
    """Whether all keys and values are where and how the kernels can read them, and there is room for new ones."""
    if source is not None and (source.mask.lengths is None or source.layers[0].k.dtype is not torch.float32):
        return False
    if not caches:
        return masks.keys == steps
    if not isinstance(caches[0], KVCache):  # a recurrent unit carries something else
        return False
    keys = caches[0].keys
    return keys.is_contiguous() and masks.keys <= keys.shape[2]


class Program:
    """The steps of a stack, ready to run."""

    def __init__(self, stack: Stack) -> None:
        """Raises UnfitError if the stack holds anything that the kernels do not know."""
        compiled = Compiler(stack)
        self._steps = (Step * len(compiled.made))(*compiled.made)
        self._size = compiled.size
        self._rotaries = tuple(compiled.rotaries)
        self._kept = compiled.kept
        self._layers = len(stack.blocks)
        self._kernel = compiled.kernel
        self.kept_in = torch.float32, native.half(compiled.kernel)  # number types of keys and values
        attention = cast("Attention", stack.blocks[0].attention)
        self._kv_heads, self._head_width = attention.kv_heads, attention.head_width
        self._cache_dtype = stack.cache_dtype
        self._last: tuple[ref[KVCache], array[int]] | None = None
        self._score_biases = compiled.biases
        self._added: list[Tensor] = []

    def begin(self) -> None:
        """Forgets what was made of weights that may have changed since."""
        self._added = []

    def __call__(
        self,
        x: Tensor,
        lengths: Tensor,
        positions: Positions,
        causal: bool,
        caches: Sequence[KVCache],
        source: Source | None,
    ) -> Tensor:
        """x [B, T, W] → [B, T, W], as `Stack.forward` has them. lengths: [B], see `_lengths`.

        Nothing is computed behind the end of a row.
        """
        B, T, _ = x.shape
        counts = positions.counts if causal else lengths
        if counts is not None and bool((counts < T).any()):
            real = torch.arange(T) < counts[:, None]  # [B, T]
            begins: Tensor | None = F.pad(counts.cumsum(0), (1, 0))
            stream = x[real]  # [N, W]
        else:
            begins, stream = None, x.clone(memory_format=torch.contiguous_format)
        count = stream.numel() // x.shape[-1]
        # For a single position each thread makes for itself what all of them read.
        arena = torch.empty((count if count > 1 else torch.get_num_threads()) * self._size, dtype=torch.uint8)
        lengths = lengths.contiguous()
        if not caches:  # layers need them one after another, so all may write to the same place
            keys, values = torch.empty(2, B, self._kv_heads, T, self._head_width, dtype=self._cache_dtype).unbind()
            own, layers = _memory([(keys, values)] * self._layers, lengths)
        else:
            own, layers = self._own(caches, lengths)
        heard, kept = Memory(), None
        if source is not None:
            assert source.mask.lengths is not None
            heard, kept = _memory([(layer.k, layer.v) for layer in source.layers], source.mask.lengths)
            heard.origin = source.origin.data_ptr()
        tables, turned = array("q"), [_turning(rotary, positions, x.device) for rotary in self._rotaries]
        for cos, sin in turned:
            tables.extend((cos.data_ptr(), sin.data_ptr(), cos.shape[-1], cos.stride(0) if cos.dim() == 4 else 0))
        biases = self._biases(positions.longest)
        packed = None if begins is None else begins.data_ptr()
        places = stream.data_ptr(), arena.data_ptr()
        call = Call(
            *places, self._size, B, T, packed, causal, own, heard, tables.buffer_info()[0], biases.buffer_info()[0]
        )
        native.run(self._kernel, self._steps, call)
        del layers, kept, turned  # the call has pointers to what they hold
        if causal:
            end = positions.longest
            for cache in caches:
                cache.written = max(cache.written, end)
        return stream if begins is None else torch.zeros_like(x).masked_scatter_(real[..., None], stream)

    def _biases(self, longest: int) -> array[int]:
        """Where the kernels find what is added to scores, which is made for more positions than there are yet."""
        reach = longest + CHUNK
        if self._score_biases and (not self._added or self._added[0].shape[1] < 2 * reach):
            offset = torch.arange(2 * (1 << (reach - 1).bit_length()))
            offset -= len(offset) // 2
            self._added = [
                bias.at(offset).float().t().contiguous() for bias in self._score_biases
            ]  # [H, 2 · reach] each
        return array("q", [number for added in self._added for number in (added.data_ptr(), added.shape[1] // 2)])

    def _own(self, caches: Sequence[KVCache], lengths: Tensor) -> tuple[Memory, array[int]]:
        """Where the caches are; asked for once for each token, and mostly of the same caches."""
        last = self._last
        if last is None or last[0]() is not caches[0]:
            layers = _memory([(cache.keys, cache.values) for cache in caches], lengths)[1]
            self._last = last = ref(caches[0]), layers
        keys = caches[0].keys
        return Memory(last[1].buffer_info()[0], keys.itemsize, *keys.stride()[:3], lengths.data_ptr()), last[1]


def _turning(rotary: Rotary, positions: Positions, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of a step; those of one token, whose place is the last, are not copied out of the table."""
    if positions.index.numel() > 1 or rotary.following is not None:
        return positions.rotation(rotary, torch.float32)
    cos, sin = rotary.whole(positions.longest, torch.float32, device)
    return cos[positions.longest - 1 :], sin[positions.longest - 1 :]


def _memory(layers: Sequence[tuple[Tensor, Tensor]], lengths: Tensor) -> tuple[Memory, array[int]]:
    """Where the kernels find keys and values, which lie alike in all layers, and what must outlive the call."""
    pointers = array("q", [tensor.data_ptr() for pair in layers for tensor in pair])
    keys = layers[0][0]
    row, head, step, _ = keys.stride()
    return Memory(pointers.buffer_info()[0], keys.itemsize, row, head, step, lengths.data_ptr()), pointers


def fuse(network: nn.Module) -> None:
    """Lets every stack of `network` run at once, now or after a change of its layers, where the kernels can do it.

    Stacks that can keep their keys and values in 16 bits: on a long text, reading them is most of the work.
    """
    for stack in network.modules():
        if native.KERNELS and isinstance(stack, Stack):
            stack.run = Fused()
            try:
                stack.cache_dtype = Program(stack).kept_in[1]
            except UnfitError:
                continue

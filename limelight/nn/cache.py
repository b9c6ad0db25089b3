"""The keys and values of one attention layer, kept from step to step in memory that is set aside once."""

import numpy as np
import torch
from torch import Tensor

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By size: what stands for any numbers while they are copied."""


def copy(to: Tensor, of: Tensor) -> None:
    """Writes the numbers of one tensor over those of another of the same shape, by the calling thread alone.

    Memory sets the pace, so that torch's threads gain little here; and where another program has one of the cores they
    wait for each other at every layer, which took up to thirty times as long.
    """
    if to.device.type == of.device.type == "cpu" and to.dtype == of.dtype:
        np.copyto(_numbers(to), _numbers(of))
    else:
        to.copy_(of)


def clear(tensor: Tensor) -> None:
    """Writes zeros, as `copy` does."""
    if tensor.device.type == "cpu":
        _numbers(tensor)[...] = 0
    else:
        tensor.zero_()


def _numbers(tensor: Tensor) -> "np.ndarray[tuple[int, ...], np.dtype[np.generic]]":
    """A tensor's own memory."""
    return tensor.detach().view(_INTEGERS[tensor.element_size()]).numpy()


class KVCache:
    """Preallocated keys and values [B, K, capacity, D] of one layer.

    Which part of a row is in use is not known here: the state's `lengths` say it, the mask hides the rest.
    """

    def __init__(self, keys: Tensor, values: Tensor, written: int = 0) -> None:
        self.keys = keys
        self.values = values
        self.written = written  # no row has anything behind this position

    @classmethod
    def empty(cls, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> "KVCache":
        """Room for `shape` = (B, K, capacity, D)."""
        with torch.inference_mode(False):  # or it could be written to in that mode alone
            return cls(torch.zeros(shape, dtype=dtype, device=device), torch.zeros(shape, dtype=dtype, device=device))

    def append(
        self, keys: Tensor, values: Tensor, starts: int | Tensor, end: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Writes T new positions behind `starts` and returns all keys and values up to the longest row.

        keys, values: [B, K, T, D], in whose number type all are returned.
        starts: one number for all rows, or [B] int64 on the cache's device. end: where the longest row then ends; where
        it is not given a tensor is asked for it, which on a device means to wait.
        """
        steps = keys.shape[2]
        if isinstance(starts, int):
            end = starts + steps
            self.keys[:, :, starts:end] = keys
            self.values[:, :, starts:end] = values
        else:
            place = (starts[:, None] + torch.arange(steps, device=starts.device))[:, None, :, None]
            self.keys.scatter_(2, place.expand_as(keys), keys.to(self.keys.dtype))
            self.values.scatter_(2, place.expand_as(values), values.to(self.values.dtype))
            end = int(starts.max()) + steps if end is None else end
        self.written = max(self.written, end)
        return self.keys[:, :, :end].to(keys.dtype), self.values[:, :, :end].to(values.dtype)

    def select(self, rows: Tensor) -> "KVCache":
        """A cache of the given rows, in that order; rows may repeat."""
        return KVCache(self._rows(self.keys, rows), self._rows(self.values, rows), self.written)

    def _rows(self, kept: Tensor, rows: Tensor) -> Tensor:
        # What was never written need not be copied, but must be numbers: a row may be shorter than others.
        with torch.inference_mode(False):
            selected = kept.new_empty(len(rows), *kept.shape[1:])
        torch.index_select(kept[:, :, : self.written], 0, rows.to(kept.device), out=selected[:, :, : self.written])
        selected[:, :, self.written :] = 0
        return selected

    def narrow(self, start: int, stop: int) -> "KVCache":
        """The rows from `start` up to `stop`, in the same memory."""
        return KVCache(self.keys[start:stop], self.values[start:stop], self.written)

    def put(self, row: int, other: "KVCache", length: int) -> None:
        """Replaces the rows from `row` on by the first `length` positions of the other's, unless they are the same."""
        last = row + len(other.keys)
        if self.keys[row:last].data_ptr() == other.keys.data_ptr():
            self.written = max(self.written, other.written)
            return
        for kept, new in ((self.keys, other.keys), (self.values, other.values)):
            copy(kept[row:last, :, :length], new[:, :, :length])
            clear(kept[row:last, :, length : self.written])  # what another text left there may not be numbers
        self.written = max(self.written, length)

    def clean(self, row: int, start: int) -> None:
        """Writes zeros over what a row holds from a position on."""
        if start < self.written:
            for kept in (self.keys, self.values):
                clear(kept[row, :, start : self.written])

    @property
    def nbytes(self) -> int:
        """Bytes set aside."""
        return self.keys.nbytes + self.values.nbytes

"""Packed weights stand side by side in large pages, and each is still a tensor of its own."""

import gc
import mmap
import pickle
import weakref

import pytest
import torch

from limelight.quant import pages
from limelight.quant.pages import ARENA, LINE, SMALL, Arenas

pytestmark = pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="only Linux has pages to ask for")


def test_matrices_stand_side_by_side_and_share_no_byte() -> None:
    empty = Arenas().empty
    one, other, large = empty(3, SMALL + 1), empty(SMALL, 2), empty(ARENA // 2 + 1)
    assert other.data_ptr() - one.data_ptr() == -(-one.numel() // LINE) * LINE
    for value, tensor in enumerate((one, other, large)):
        tensor.fill_(value)
    assert [tensor.unique().tolist() for tensor in (one, other, large)] == [[0], [1], [2]]
    assert one.shape == (3, SMALL + 1)


def test_a_full_arena_is_followed_by_another_and_goes_with_its_last_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[mmap.mmap]] = []
    mapped = pages._mapped

    def counted(size: int) -> mmap.mmap:
        memory = mapped(size)
        made.append(weakref.ref(memory))
        return memory

    monkeypatch.setattr(pages, "_mapped", counted)
    arenas = Arenas()
    first = [arenas.empty(ARENA // 2), arenas.empty(ARENA // 2)]
    second = arenas.empty(SMALL)
    assert len(made) == 2
    del first[0]
    gc.collect()
    assert made[0]() is not None
    first.clear()
    gc.collect()
    assert made[0]() is None
    assert made[1]() is not None
    second.fill_(1)


def test_a_tensor_is_copied_without_its_neighbours() -> None:
    arenas = Arenas()
    tensor = arenas.empty(SMALL).fill_(7)
    arenas.empty(SMALL)
    data = pickle.dumps(tensor)
    assert len(data) < 2 * SMALL
    assert torch.equal(pickle.loads(data), tensor)

"""Keys and values stand where they were written, and nowhere else."""

import torch
from torch import Tensor

from limelight.nn.cache import KVCache


def cache(rows: list[list[float]]) -> KVCache:
    """One head of width 1; values are ten times the keys."""
    keys = torch.tensor(rows)[:, None, :, None]
    return KVCache(keys, keys * 10, 3)


def flat(tensor: Tensor) -> list[list[float]]:
    return tensor[:, 0, :, 0].tolist()


def test_new_positions_are_written_behind_each_rows_start() -> None:
    made = KVCache.empty((2, 1, 5, 1), torch.float64, torch.device("cpu"))
    assert (made.keys.dtype, made.values.dtype, made.written, made.nbytes) == (torch.float64, torch.float64, 0, 160)
    new = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[:, None, :, None]
    keys, values = made.append(new, -new, 0)
    assert (flat(keys), flat(values)) == ([[1, 2], [3, 4]], [[-1, -2], [-3, -4]])
    assert keys.dtype is values.dtype is torch.float32
    keys, values = made.append(new, -new, torch.tensor([2, 1]))
    assert flat(keys) == [[1, 2, 1, 2], [3, 3, 4, 0]]
    assert flat(values) == [[-1, -2, -1, -2], [-3, -3, -4, 0]]
    assert made.written == 4
    keys, values = made.append(new, -new, torch.tensor([0, 0]), 3)
    assert keys.shape == values.shape == (2, 1, 3, 1)
    assert made.written == 4


def test_selected_rows_are_copies_with_zeros_behind_what_was_written() -> None:
    made = cache([[1, 2, 3, 9], [4, 5, 6, 9]])
    picked = made.select(torch.tensor([1, 1, 0]))
    assert flat(picked.keys) == [[4, 5, 6, 0], [4, 5, 6, 0], [1, 2, 3, 0]]
    assert flat(picked.values) == [[40, 50, 60, 0], [40, 50, 60, 0], [10, 20, 30, 0]]
    assert picked.written == 3


def test_a_put_row_leaves_nothing_of_the_text_before() -> None:
    made, other = cache([[1, 2, 3, 0], [4, 5, 6, 0]]), cache([[7, 8, 9, 0]])
    made.put(1, other, 1)
    assert flat(made.keys) == [[1, 2, 3, 0], [7, 0, 0, 0]]
    assert flat(made.values) == [[10, 20, 30, 0], [70, 0, 0, 0]]
    assert made.written == 3
    made.put(0, cache([[5, 6, 7, 8]]), 4)
    assert (flat(made.keys), made.written) == ([[5, 6, 7, 8], [7, 0, 0, 0]], 4)


def test_rows_in_the_same_memory_are_put_by_saying_how_far_they_reach() -> None:
    made = cache([[1, 2, 3, 0], [4, 5, 6, 0]])
    part = made.narrow(1, 2)
    assert (flat(part.keys), flat(part.values), part.written) == ([[4, 5, 6, 0]], [[40, 50, 60, 0]], 3)
    one = torch.ones(1, 1, 1, 1)
    part.append(one, one, 3)
    made.put(1, part, 1)
    assert (flat(made.keys), made.written) == ([[1, 2, 3, 0], [4, 5, 6, 1]], 4)


def test_cleaning_a_row_writes_zeros_from_a_position_on() -> None:
    made = cache([[1, 2, 3, 9], [4, 5, 6, 9]])
    made.clean(0, 1)
    made.clean(1, 3)
    assert flat(made.keys) == [[1, 0, 0, 9], [4, 5, 6, 9]]
    assert flat(made.values) == [[10, 0, 0, 90], [40, 50, 60, 90]]

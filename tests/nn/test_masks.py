"""What each query may see, worked out by hand."""

import pytest
import torch

from limelight.errors import RequestError
from limelight.nn.mask import CAUSAL, OPEN, SPARED, CausalMasks, FullMasks, Mask

CPU = torch.device("cpu")


def seen(mask: Mask) -> list[list[list[int]]]:
    """Of each row and query, the keys that it sees."""
    assert mask.allowed is not None
    return [[query.nonzero().flatten().tolist() for query in row[0]] for row in mask.allowed]


def test_a_whole_text_is_seen_within_its_length_and_window() -> None:
    lengths = torch.tensor([4, 2])
    masks = FullMasks(lengths, 4, None, CPU)
    assert (masks.place, masks.keys, masks.index.tolist()) == (0, 4, [0, 1, 2, 3])
    assert seen(masks.mask) == [[[0, 1, 2, 3]], [[0, 1]]]
    assert masks.mask.lengths is lengths
    assert masks.mask.keys == 4
    assert masks.for_window(None) is masks.for_window(4) is masks.for_window(5) is masks.mask
    near = masks.for_window(2)
    # Position 3 of the short row sees nothing real nearby, so it sees itself.
    assert seen(near) == [[[0, 1], [0, 1, 2], [1, 2, 3], [2, 3]], [[0, 1], [0, 1], [1], [3]]]
    assert near.lengths is lengths
    assert masks.for_window(2) is near


def test_texts_of_one_length_need_no_tensor_without_a_window() -> None:
    masks = FullMasks(torch.tensor([3, 3]), 3, None, CPU)
    assert masks.mask.allowed is None
    assert masks.mask.keys is None
    assert masks.mask.lengths is not None
    near = masks.for_window(2).allowed
    assert near is not None
    assert near.tolist() == [
        [True, True, False],
        [True, True, True],
        [False, True, True],
    ]


def test_hidden_positions_are_no_longer_a_matter_of_length() -> None:
    visible = torch.tensor([[True, False, True], [False, True, True]])
    masks = FullMasks(torch.tensor([3, 2]), 3, visible, CPU)
    assert seen(masks.mask) == [[[0, 2]], [[1]]]
    assert masks.mask.lengths is None


@pytest.mark.parametrize(
    ("lengths", "visible"),
    [([2, 0], None), ([2, 0], [[True, True]] * 2), ([2, 1], [[True, True], [False, True]])],
    ids=["no length", "no length though visible", "all hidden within the length"],
)
def test_a_row_with_nothing_to_see_is_refused(lengths: list[int], visible: list[list[bool]] | None) -> None:
    with pytest.raises(RequestError, match=r"^a source text has no word left that the model may see; leave at least"):
        FullMasks(torch.tensor(lengths), 2, None if visible is None else torch.tensor(visible), CPU)


def test_steps_of_a_growing_text_see_what_came_before() -> None:
    assert CausalMasks(torch.tensor([0, 0]), 3, None, CPU).for_window(None) is CAUSAL
    assert CausalMasks(torch.tensor([5, 5]), 1, None, CPU).for_window(None) is OPEN
    even = CausalMasks(torch.tensor([2, 2]), 2, None, CPU)
    assert (even.place, even.keys, even.index.tolist()) == (2, 4, [2, 3])
    assert seen(even.for_window(None)) == [[[0, 1, 2], [0, 1, 2, 3]]]
    assert even.for_window(4) is even.for_window(None)
    assert seen(even.for_window(3)) == [[[0, 1, 2], [1, 2, 3]]]
    uneven = CausalMasks(torch.tensor([2, 0]), 2, None, CPU)
    assert isinstance(uneven.place, torch.Tensor)
    assert (uneven.place.tolist(), uneven.keys, uneven.index.tolist()) == ([2, 0], 4, [[2, 3], [0, 1]])
    assert seen(uneven.for_window(None)) == [[[0, 1, 2], [0, 1, 2, 3]], [[0], [0, 1]]]
    assert seen(uneven.for_window(2)) == [[[1, 2], [2, 3]], [[0], [0, 1]]]
    assert uneven.for_window(2).spans is None


def test_what_is_hidden_besides_is_hidden_in_a_single_step_too() -> None:
    visible = torch.tensor([[[False, True, True]]])
    mask = CausalMasks(torch.tensor([2]), 1, visible, CPU).for_window(None)
    assert seen(mask) == [[[1, 2]]]
    assert mask.spans is None


def test_rows_are_read_by_their_spans_where_that_spares_enough_keys() -> None:
    def spans(*starts: int, window: int | None = None) -> object:
        return CausalMasks(torch.tensor(starts), 1, None, CPU).for_window(window).spans

    # More than 2 · SPARED keys of the two rows must be spared: the short one spares 2 · SPARED + 1, then one fewer.
    assert spans(2 * SPARED + 1, 0) == ((0, 2 * SPARED + 2), (0, 1))
    assert spans(2 * SPARED, 0) is None
    assert spans(2 * SPARED, 1, window=3) == ((2 * SPARED - 2, 2 * SPARED + 1), (0, 2))


def test_rows_of_a_mask_are_cut_only_where_each_query_has_its_own() -> None:
    own = torch.ones(4, 4).tril().bool()[None, None]
    assert seen(Mask(allowed=own).rows(1, 3, 2)) == [[[0, 1], [0, 1]]]
    shared = torch.tensor([True, False, True, True]).view(1, 1, 1, 4)
    assert seen(Mask(allowed=shared).rows(1, 3, 3)) == [[[0, 2]]]
    assert CAUSAL.rows(1, 3, 3) == CAUSAL
    assert OPEN.rows(1, 3, 3) == OPEN
    assert CAUSAL.select(torch.tensor([0])) == CAUSAL
    tensor = CAUSAL.tensor(2, 4, CPU)
    assert tensor is not None
    assert tensor.tolist() == [[True, True, True, False], [True] * 4]

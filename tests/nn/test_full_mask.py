"""The mask of a text that is read in both directions."""

import pytest
import torch

from limelight.errors import RequestError
from limelight.nn.mask import FullMasks

CPU = torch.device("cpu")


def test_without_padding_there_is_no_tensor() -> None:
    mask = FullMasks(torch.tensor([4, 4]), 4, None, CPU).for_window(None)
    assert mask.allowed is None
    assert not mask.causal


def test_padding_and_blocked_positions_are_hidden() -> None:
    visible = torch.tensor([[True, False, True, True], [True, True, True, True]])
    mask = FullMasks(torch.tensor([3, 2]), 4, visible, CPU).for_window(None)
    assert mask.allowed is not None
    assert mask.allowed.shape == (2, 1, 1, 4)
    assert mask.allowed[:, 0, 0].tolist() == [[True, False, True, False], [True, True, False, False]]


def test_a_window_reaches_as_far_on_both_sides_and_leaves_no_position_blind() -> None:
    masks = FullMasks(torch.tensor([5, 2]), 5, None, CPU)
    mask = masks.for_window(2)
    assert mask.allowed is not None
    near = (torch.arange(5) - torch.arange(5)[:, None]).abs() < 2
    assert torch.equal(mask.allowed[0, 0], near)
    assert torch.equal(mask.allowed[1, 0, :2], near[:2] & (torch.arange(5) < 2))
    assert mask.allowed.any(-1).all()
    assert masks.for_window(5) is masks.for_window(None)


@pytest.mark.parametrize("visible", [None, torch.tensor([[False, True], [True, True]])])
def test_a_row_with_nothing_to_see_is_refused(visible: torch.Tensor | None) -> None:
    lengths = torch.tensor([1, 2]) if visible is not None else torch.tensor([0, 2])
    with pytest.raises(RequestError, match="no word left"):
        FullMasks(lengths, 2, visible, CPU)

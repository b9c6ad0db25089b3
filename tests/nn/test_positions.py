"""Sinusoidal positions against the formula of the paper, and against Marian's table."""

import math

import pytest
import torch

from limelight.nn.positions import Positions, SinusoidalPositions

WIDTH, LENGTH = 12, 9


def vectors(layout: str) -> torch.Tensor:
    positions = Positions(torch.arange(LENGTH), LENGTH)
    return SinusoidalPositions(WIDTH, layout)(torch.zeros(1, LENGTH, WIDTH), positions)[0]


def formula(position: int, feature: int) -> float:
    angle = position / 10000 ** (feature // 2 * 2 / WIDTH)
    return math.cos(angle) if feature % 2 else math.sin(angle)


def test_interleaved_is_the_papers_formula() -> None:
    expected = torch.tensor([[formula(at, feature) for feature in range(WIDTH)] for at in range(LENGTH)])
    torch.testing.assert_close(vectors("interleaved"), expected)


def test_halves_hold_the_same_numbers_in_another_order() -> None:
    both = vectors("interleaved")
    torch.testing.assert_close(vectors("halves"), torch.cat((both[:, 0::2], both[:, 1::2]), -1), rtol=0, atol=0)


def test_rows_may_stand_at_different_positions() -> None:
    positions = Positions(torch.tensor([[0, 1], [5, 6]]), 7)
    found = SinusoidalPositions(WIDTH, "interleaved")(torch.zeros(2, 2, WIDTH), positions)
    whole = vectors("interleaved")
    torch.testing.assert_close(found, torch.stack((whole[:2], whole[5:7])))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_type_of_the_stream_stays(dtype: torch.dtype) -> None:
    positions = Positions(torch.arange(LENGTH), LENGTH)
    found = SinusoidalPositions(WIDTH, "halves")(torch.zeros(1, LENGTH, WIDTH, dtype=dtype), positions)
    assert found.dtype == dtype
    torch.testing.assert_close(found[0].float(), vectors("halves"), atol=1e-2, rtol=0)

"""The learning rate of each step, worked out by hand."""

import math

import pytest

from limelight.train.schedule import Schedule, rate


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("inverse-sqrt", [2, 4, 6, 8, 8 * (4 / 5) ** 0.5, 8 * (4 / 6) ** 0.5, 4, 4 * 0.8]),
        ("linear", [2, 4, 6, 8, 7, 6, 2, 2]),  # by 6 over 6 steps, and no lower than a quarter
        ("cosine", [2, 4, 6, 8, 5 + 3 * math.cos(math.pi / 6), 6.5, 2, 2]),
        ("constant", [2, 4, 6, 8, 8, 8, 8, 8]),
    ],
)
def test_rates_rise_for_four_steps_and_fall_until_the_tenth(schedule: Schedule, expected: list[float]) -> None:
    steps = [1, 2, 3, 4, 5, 6, 10 if schedule != "inverse-sqrt" else 16, 25]
    assert [rate(schedule, step, 10, 4, 8.0, 0.25) for step in steps] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("inverse-sqrt", [8, 4]),
        ("linear", [6, 0]),
        ("cosine", [4 + 4 * math.cos(math.pi / 4), 0]),
        ("constant", [8, 8]),
    ],
)
def test_without_a_rise_the_floor_is_nothing(schedule: Schedule, expected: list[float]) -> None:
    assert [rate(schedule, step, 4, 0, 8.0) for step in (1, 4)] == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_run_that_only_rises_ends_at_its_peak(schedule: Schedule) -> None:
    assert [rate(schedule, step, 3, 3, 6.0) for step in (1, 2, 3)] == [2, 4, 6]
    assert rate("inverse-sqrt", 0, 3, 0, 6.0) == 6

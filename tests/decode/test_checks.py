"""What an engine refuses, sentence by sentence, and how much it reads at a time."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from limelight.decode.checks import check_prompt, check_source
from limelight.decode.constraint import allowed
from limelight.decode.joining import fitting
from limelight.errors import RequestError

MODEL: Any = SimpleNamespace(context=2000, vocab=1500)


@pytest.mark.parametrize(
    ("prompt", "positions", "sentence"),
    [
        ([], 9, "it is empty; give at least one token to continue"),
        (
            [0] * 3500,
            4000,
            "it has 3,500 tokens and the model sees at most 2,000: shorten it by 1,500, "
            "or open a model with a longer context",
        ),
        ([0] * 1201, 1200, "it has 1,201 tokens and the cache holds 1,200: enlarge it"),
        ([3, -1], 9, "it holds a token outside the model's vocabulary of 1,500"),
        ([3, 1500], 9, "it holds a token outside the model's vocabulary of 1,500"),
    ],
)
def test_prompts_that_cannot_be_read_are_refused(prompt: list[int], positions: int, sentence: str) -> None:
    with pytest.raises(RequestError, match=f"^{re.escape(sentence)}$"):
        check_prompt(MODEL, prompt, positions, "it")


def test_prompts_at_each_limit_are_read() -> None:
    check_prompt(MODEL, [0, 1499] * 1000, 2000, "it")


def test_a_source_needs_an_encoder() -> None:
    check_source(MODEL, [], "it")
    with pytest.raises(RequestError, match=r"^it cannot be read: the model has no encoder; put it into the prompt$"):
        check_source(MODEL, [1], "it")


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (
            torch.ones(3),
            "the constraint's mask is torch.float32 [3]; it must be bool [3], one for each token of the vocabulary",
        ),
        (
            torch.ones(4, dtype=torch.bool),
            "the constraint's mask is torch.bool [4]; it must be bool [3], one for each token of the vocabulary",
        ),
        (torch.zeros(3, dtype=torch.bool), "the constraint allows no token here, not even one that ends the text"),
    ],
)
def test_masks_that_say_nothing_are_refused(mask: torch.Tensor, sentence: str) -> None:
    constraint: Any = SimpleNamespace(mask=lambda: mask)
    with pytest.raises(RequestError, match=f"^{re.escape(sentence)}$"):
        allowed(constraint, 3)


def test_a_mask_or_none_is_taken_as_it_is() -> None:
    mask = torch.tensor([False, True, False])
    for said in (mask, None):
        constraint: Any = SimpleNamespace(mask=lambda said=said: said)
        assert allowed(constraint, 3) is said


@pytest.mark.parametrize(
    ("unread", "most", "size"),
    [
        ([7], 100, 7),
        ([700], 100, 100),
        ([65, 1], 100, 65),  # 64 positions of padding are few, whatever share they are
        ([66, 1], 100, 1),  # 65 of 132 are more than a third
        ([300, 300, 1], 400, 300),  # 299 of 900 are less than a third
        ([300, 300, 0], 400, 300),  # and 300 of 900 are one exactly
        ([1200, 500, 400], 2000, 500),  # 1,500 of 3,600 are too many, 100 of 1,500 are not
        ([], 100, 1),
    ],
)
def test_as_much_is_read_as_leaves_little_padding(unread: list[int], most: int, size: int) -> None:
    assert fitting(unread, most) == size

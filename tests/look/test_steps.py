"""The nine steps: every number can be worked out again from the numbers before it, in every family."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from references import CONFIGS, GROWING, reference, saved
from torch.testing import assert_close

import limelight
from limelight.errors import RequestError
from limelight.look.plain import plain
from limelight.look.record import record
from limelight.look.steps import Steps

TEXT = " ".join(f"w{i}" for i in range(10, 22))
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
HEAD = (1, 3)


@pytest.fixture(scope="module", params=list(CONFIGS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> limelight.Model:
    folder = tmp_path_factory.mktemp(request.param)
    saved(request.param, folder)
    return limelight.open(folder)


def follow(model: limelight.Model, word: int = 9) -> Steps:
    return model.look(TEXT).steps(word, *HEAD)


def test_the_row_of_weights_is_worked_out_again_and_is_the_recorded_one(model: limelight.Model) -> None:
    seen = model.look(TEXT)
    steps = seen.steps(9, *HEAD)
    place, at = steps.tokens.place, steps.projected
    query, keys, scores, weights = at.query, at.keys, steps.scores, steps.weights
    recorded = seen.attention(*HEAD, tokens=True)[place]
    for key in range(len(steps.tokens.ids)):
        product = sum(float(a) * float(b) for a, b in zip(query, keys[key], strict=True))
        assert float(scores.products[key]) == pytest.approx(product, rel=1e-4, abs=1e-4)
        score = product * scores.scale
        if scores.cap is not None:
            score = float(torch.tensor(score / scores.cap).tanh()) * scores.cap
        share = float(torch.tensor(score - weights.highest).exp()) / weights.total if weights.visible[key] else 0.0
        assert share == pytest.approx(float(recorded[key]), abs=1e-5)
    assert_close(weights.values, recorded, **CLOSE)
    assert float(weights.values.sum()) == pytest.approx(1, abs=1e-5)
    expected = torch.arange(len(steps.tokens.ids)) <= place
    if weights.window is not None:
        expected &= torch.arange(len(steps.tokens.ids)) > place - weights.window
    assert torch.equal(weights.visible, expected)

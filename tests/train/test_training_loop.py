"""The loop: when it evaluates, tells and stops, what it keeps, which weights are its result, and what it refuses."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import gpt
from torch import Tensor

from limelight.errors import FileError, RequestError
from limelight.models.api import Network
from limelight.train import loop as module
from limelight.train.batches import Batch, Stream
from limelight.train.loop import Hooks, Result, State, _Watch, pace, train
from limelight.train.parallel import World
from limelight.train.report import Progress, lines
from limelight.train.run import Run
from limelight.train.settings import Settings

ALONE = World(0, 1, torch.device("cpu"))
PLAIN = {
    "batch_tokens": 32,
    "precision": "float32",
    "optimizer": "adamw",
    "threads": 1,
    "smoothing": 0.0,
    "schedule": "constant",
    "warmup": 1,
    "lr": 0.01,
}


def save(network: Network, folder: Path) -> None:
    folder.mkdir()
    save_file({name: p.detach().clone() for name, p in network.named_parameters()}, folder / "weights.safetensors")


def learn(folder: Path, scores: Iterator[float] | None = None, hooks: Mapping[str, Any] = {}, **options: Any) -> Result:
    """A few steps of a tiny GPT on numbers in turn; its scores are those that are given."""
    text = np.arange(400, dtype=np.int32) % 11
    more: dict[str, Any] = dict(hooks)
    if scores is not None:
        more["measures"] = lambda network: {"bleu": next(scores), "other": 7.0}
    run = Run(folder, Settings("generate", **PLAIN | options))
    return train(gpt(11), Stream(text[:300], 8), Stream(text[300:], 8), run, ALONE, Hooks(save, **more))


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No curve is drawn."""
    monkeypatch.setattr(module, "curve", lambda *_: None)


def kept(folder: Path) -> list[int]:
    return [step for step, _ in Run(folder, Settings("generate")).checkpoints()]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "weights.safetensors")


def test_the_mean_of_the_last_checkpoints_is_the_result_where_it_is_better(tmp_path: Path) -> None:
    result = learn(tmp_path, iter([5.0, 1.0, 2.0, 3.0, 6.0]), watch="bleu", steps=4, every=1, average=2, keep=1)
    assert (result.steps, result.score, result.model, result.metric) == (4, 6.0, tmp_path / "model", "bleu")
    assert kept(tmp_path) == [1, 3, 4]  # the best, and those that the mean was made of
    two = [weights(tmp_path / "checkpoints" / f"step-00000{step}" / "model") for step in (3, 4)]
    for name, weight in weights(tmp_path / "model").items():
        torch.testing.assert_close(weight, (two[0][name] + two[1][name]) / 2)
    facts = {"steps": 4, "loss": result.loss, "score": 6.0, "mean_of": [3, 4]}
    assert (tmp_path / "result.json").read_text() == json.dumps(facts) + "\n"
    assert learn(tmp_path) == result  # what is through is not learned again


@pytest.mark.parametrize(
    ("scores", "options", "best"),
    [
        ([1.0, 5.0, 2.0, 5.0], {}, 2),  # a mean that is as good is not better
        ([1.0, 2.0, 5.0, 9.0], {"ema": 0.5}, 3),  # no mean of what is one already
        ([1.0, 2.0, 5.0, 9.0], {"average": 1}, 3),
    ],
)
def test_else_the_result_is_the_best_checkpoint(
    tmp_path: Path, scores: list[float], options: dict[str, Any], best: int
) -> None:
    given = {"watch": "bleu", "steps": 3, "every": 1, "average": 3, "keep": 3, **options}
    result = learn(tmp_path, iter(scores), **given)
    assert result.score == 5.0
    place = tmp_path / "checkpoints" / f"step-00000{best}"
    facts = json.loads((place / "state.json").read_text())
    assert facts == {
        "step": best,
        "position": {"epoch": 0, "pool": 0, "batch": best},
        "best": -5.0,
        "best_step": best,
        "since": 0,
        "loss": result.loss,
        "score": 5.0,
        "torch": torch.__version__,
        "frozen": "",
    }
    found = weights(tmp_path / "model")
    assert all(torch.equal(weight, found[name]) for name, weight in weights(place / "model").items())
    assert json.loads((tmp_path / "result.json").read_text())["mean_of"] is None


@pytest.mark.parametrize(("patience", "steps"), [(1, 2), (2, 3), (0, 6)])
def test_it_stops_where_nothing_gets_better(tmp_path: Path, patience: int, steps: int) -> None:
    scores = iter([5.0, 5.0, 4.0, 5.0, 3.0, 1.0])
    result = learn(tmp_path, scores, watch="bleu", steps=6, every=1, average=1, keep=1, patience=patience)
    assert (result.steps, result.score) == (steps, 5.0)
    assert kept(tmp_path) == [1, steps]
    facts = json.loads((tmp_path / "checkpoints" / f"step-{steps:06d}" / "state.json").read_text())
    assert (facts["since"], facts["best"], facts["best_step"]) == (steps - 1, -5.0, 1)


def test_what_is_logged_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOGGED", 2)
    monkeypatch.setattr(module, "TOLD", 0.0)
    told: list[Progress] = []
    hooks = {"samples": lambda network: (f"in training: {network.training}",), "progress": told.append}
    result = learn(tmp_path, iter([2.0, 1.0]), hooks, steps=5, every=3, average=1, schedule="linear", floor=0.2)
    logged = lines(tmp_path / "log.jsonl")
    assert [entry["step"] for entry in logged] == [2, 3, 3, 4, 5, 5]
    trained, judged = ([entry for entry in logged if ("valid_loss" in entry) is side] for side in (False, True))
    assert [entry.keys() - {"time"} for entry in judged] == [{"step", "valid_loss", "bleu", "other"}] * 2
    assert [(entry["bleu"], entry["other"]) for entry in judged] == [(2.0, 7.0), (1.0, 7.0)]
    rates = [0.01 * (0.2 + 0.8 * (1 - (step - 1) / 4)) for step in (2, 3, 4, 5)]
    assert [entry["lr"] for entry in trained] == pytest.approx(rates)
    assert all(entry["loss"] == entry["smoothed_loss"] for entry in trained)
    assert all(0 < entry["norm"] < 10 < entry["tokens_per_second"] for entry in trained)
    assert all(abs(entry["loss"] - math.log(11)) < 0.5 for entry in trained)
    assert lines(tmp_path / "samples.jsonl") == [{"step": n, "texts": ["in training: False"]} for n in (3, 5)]
    first, last = (entry["valid_loss"] for entry in judged)
    assert [(each.step, each.steps) for each in told] == [(step, 5) for step in range(1, 6)]
    assert [each.best for each in told] == [None, None, first, first, min(first, last)]
    assert math.isnan(told[0].loss)
    losses = [entry["loss"] for entry in trained]
    assert [each.loss for each in told[1:]] == losses
    assert told[-1].left == 0
    assert result == Result(5, min(first, last), 1.0 if last < first else 2.0, tmp_path / "model")


def test_what_cannot_be_trained_is_said(tmp_path: Path) -> None:
    for options, hooks, message in (
        ({"watch": "bleu"}, {}, 'watch = "bleu" needs translations to score; watch the loss instead'),
        (
            {"watch": "f1"},
            {"metric": "accuracy"},
            'watch = "f1" is not what this model is scored by; watch accuracy or loss',
        ),
        (
            {"steps": 3, "every": 1, "lr": 1e30},
            {},
            "the loss is no longer a number at step 2; start again in a new folder with a lower lr than 1e+30 or a"
            " longer warmup",
        ),
    ):
        with pytest.raises(RequestError, match=f"^{re.escape(message)}$"):
            learn(tmp_path / "run", None, hooks, **options)
    folder = tmp_path / "through"
    (folder / "model").mkdir(parents=True)
    result = folder / "result.json"
    result.write_text('{"steps": 7, "loss": 2, "score": null}')
    assert learn(folder, None, {"metric": "f1"}) == Result(7, 2.0, None, folder / "model", "f1")
    for text, why in (("{", "Expecting property name"), ('{"steps": 7}', "'loss'"), ("[]", "list indices")):
        result.write_text(text)
        with pytest.raises(FileError, match=r"; delete it, and the same command writes it anew$") as refused:
            learn(folder)
        assert str(refused.value).startswith(f"{result} is damaged ({why}")


def test_a_run_begins_with_nothing_done() -> None:
    assert State() == State(0, module.Position(0, 0, 0), None, 0, 0)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)


def test_evaluations_count_towards_the_time_left_and_not_towards_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    watch = _Watch(10, 30)
    assert math.isnan(watch.tokens_per_second)
    clock.now += 4
    assert watch.speed(200) == watch.tokens_per_second == 50.0
    clock.now += 6  # an evaluation
    watch.skip()
    clock.now += 2
    assert watch.speed(200) == 100.0
    assert watch.left(14) == 12 / 4 * 16
    assert watch.due(14)
    clock.now += 0.75
    assert not watch.due(15)
    assert watch.due(30)  # the end is told at once
    clock.now += 1
    assert watch.due(16)
    assert watch.speed(0) == 0


def test_the_pace_is_that_of_the_steps_behind_the_first_two(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, seen = Clock(monkeypatch), list[tuple[Any, ...]]()

    class Trainee:
        def __init__(self, network: Network, settings: Settings, world: World, objective: object) -> None:
            seen.append((network is not given, objective))

        def step(self, parts: Iterator[Batch], predicted: int, rate: float, number: int) -> tuple[None, float]:
            clock.now += 1000 if number < 3 else 3
            seen.append((number, predicted, rate, [each.tokens.shape[0] for each in parts]))
            return None, 1.0

    monkeypatch.setattr(module, "Trainee", Trainee)
    given = gpt(11)
    settings = Settings("generate", batch_tokens=32, accumulate=2, lr=0.5, threads=1)
    assert pace(given, Stream(np.arange(257, dtype=np.int32) % 11, 8), settings, ALONE) == 3.0
    assert seen[0] == (True, module.predicting)
    assert [each[0] for each in seen[1:]] == [*range(1, 11)]
    assert seen[1:] == [(number, 32, 0.5, [2, 2]) for number in range(1, 11)]

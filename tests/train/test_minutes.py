"""A training by the clock: how many steps fit is found before the first one, and stands from then on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import gpt

from limelight.errors import RequestError
from limelight.tasks import learn as module
from limelight.tasks.learn import learn
from limelight.train.batches import Stream
from limelight.train.loop import pace
from limelight.train.parallel import World
from limelight.train.settings import Settings, from_toml


def options(folder: Path, **more: Any) -> dict[str, Any]:
    """A text of letters, learned by a model of a few hundred weights."""
    text = folder / "text.txt"
    text.write_text("abcd efgh " * 300)
    small = {"model": "gpt-tiny", "width": 8, "tokenizer": "character", "context": 16, "batch_tokens": 64, "threads": 1}
    return {"task": "generate", "train": [str(text)], **small, **more}


def test_as_many_steps_as_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "pace", lambda *_: 0.5)
    given, run = options(tmp_path, minutes=0.1, warmup=3), tmp_path / "run"
    assert learn(given, run).steps == 10  # 6 seconds, of which nine tenths are for steps
    settings = from_toml(run / "settings.toml")
    assert (settings["steps"], settings["minutes"], settings["warmup"], settings["every"]) == (10, 0.1, 3, 1)
    monkeypatch.setattr(module, "pace", lambda *_: pytest.fail("what has begun is not timed again"))
    assert learn(given, run).steps == 10
    with pytest.raises(RequestError, match=r"was started with minutes 0\.1"):
        learn(given | {"minutes": 5.0}, run)


def test_what_was_killed_before_its_first_checkpoint_is_timed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "pace", killed)
    given, run = options(tmp_path, minutes=0.1), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        learn(given, run)
    monkeypatch.setattr(module, "pace", lambda *_: 1.0)
    assert learn(given, run).steps == 5


def test_timing_leaves_the_network_as_it_is() -> None:
    torch.manual_seed(0)
    network = gpt(32)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    settings = Settings("generate", batch_tokens=64, lr=0.1, precision="float32", threads=1, optimizer="adamw")
    training = Stream(torch.arange(400).remainder(32).numpy().astype("int32"), 16)
    assert pace(network, training, settings, World(0, 1, torch.device("cpu"))) > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())

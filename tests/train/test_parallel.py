"""Two processes learn what one learns from the same batch, as copies (DDP) and with one model between them (FSDP2)."""

import shutil
import socket
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from run_tiny import run, start
from safetensors.torch import load_file
from small_models import gpt, letters

from limelight.checkpoints.open import open_checkpoint
from limelight.errors import RequestError
from limelight.train import parallel
from limelight.train.batches import IGNORE, Stream
from limelight.train.loop import _shares
from limelight.train.parallel import World, world
from limelight.train.report import lines

OPTIONS: dict[str, object] = {
    "model": "transformer2017-tiny",
    "tokenizer": "word",
    "batch_tokens": 200,
    "accumulate": 2,
    "steps": 4,
    "every": 2,
    "dropout": 0.0,
    "ema": 0.9,
    "precision": "float32",  # rounded sums differ more than is asked for here
    "eps": 1e-6,  # where a gradient is nothing but rounding, Adam would make a step of it
    "threads": 1,
}


def together(folder: Path, data: Path, options: dict[str, object]) -> None:
    """Two processes with the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    started = [start(folder, data, options, environment=place | rank) for rank in ranks]
    try:
        for process in started:
            process.join(600)
        assert [process.exitcode for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
            process.join()


def test_shares_lie_on_the_device_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to itself torch puts them on the GPU of a machine that has one."""
    meshes = []
    monkeypatch.setattr(parallel, "init_device_mesh", lambda *mesh: mesh)
    monkeypatch.setattr(parallel, "fully_shard", lambda _, mesh, **__: meshes.append(mesh))
    network = gpt(40)
    parallel.spread(network, network, World(0, 2, torch.device("cpu")), shard=True)
    assert meshes == [("cpu", (2,))] * 3  # two blocks and the rest


def test_one_process_needs_nobody() -> None:
    with world("cpu") as alone:
        values = torch.tensor([1.0, 2.0])
        assert alone.sum(values) is values
        assert values.tolist() == [1.0, 2.0]
        assert alone.from_main(1 / 3) == 1 / 3  # to the last bit
        alone.wait()
        assert (alone.main, alone.rank, alone.size, alone.device.type) == (True, 0, 1, "cpu")
    assert not World(1, 2, torch.device("cpu")).main


def test_on_cuda_each_process_takes_the_card_of_its_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []

    def alone(backend: str) -> None:
        raise RuntimeError(f"{backend} waits for rank 0")

    monkeypatch.setenv("WORLD_SIZE", "6")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", alone)
    with pytest.raises(RequestError, match=r"did not find each other \(nccl waits .*; start them"), world("cuda"):
        pass
    assert taken == [torch.device("cuda", 1)]


def test_processes_that_find_each_other_sum_and_share(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []

    def told(value: torch.Tensor, rank: int) -> None:
        said.append((value.dtype, rank))
        value.fill_(0.25)

    for name, value in (("WORLD_SIZE", "3"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    dist = torch.distributed
    monkeypatch.setattr(dist, "init_process_group", said.append)
    monkeypatch.setattr(dist, "get_rank", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda values: values.mul_(3))
    monkeypatch.setattr(dist, "broadcast", told)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: said.append("ended"))
    with world() as one:
        assert one == World(2, 3, torch.device("cpu"))
        assert one.sum(torch.tensor([1.0, 2.0])).tolist() == [3.0, 6.0]
        assert one.from_main(7.0) == 0.25
    assert said == ["gloo", (torch.float64, 0), "ended"]


def test_a_recurrent_model_is_not_cut() -> None:
    cell, network = torch.nn.LSTM(2, 2), gpt(40)
    alone, two = (World(0, size, torch.device("cpu")) for size in (1, 2))
    assert parallel.spread(cell, network, alone, shard=False) is cell
    with pytest.raises(RequestError) as refused:
        parallel.spread(cell, network, two, shard=True)
    assert str(refused.value) == (
        "a recurrent model is not cut into shares; leave out shard, and each process has a copy"
    )


def test_memory_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel.os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}.__getitem__)
    assert parallel.memory() == 4_096_000
    for error in (AttributeError, ValueError, OSError):
        monkeypatch.setattr(parallel.os, "sysconf", Mock(side_effect=error))
        assert parallel.memory() is None


def losses(folder: Path) -> list[float]:
    entries = lines(folder / "log.jsonl")
    return [value for entry in entries for name, value in entry.items() if name in {"loss", "valid_loss", "norm"}]


@pytest.mark.parametrize(
    ("shard", "optimizer"), [(True, "muon"), (False, "adamw")], ids=["muon-shares", "adamw-copies"]
)
def test_two_are_one(tmp_path: Path, shard: bool, optimizer: str) -> None:
    data = letters(tmp_path / "pairs.tsv", 150, turned=True)
    alone, both = tmp_path / "alone", tmp_path / "both"
    options = OPTIONS | {"optimizer": optimizer}
    run(alone, data, options)
    together(both, data, options | {"shard": shard})
    assert len(losses(alone)) == 6
    assert losses(both) == pytest.approx(losses(alone), rel=2e-4)
    first, second = (load_file(folder / "checkpoints/step-000004/state.safetensors") for folder in (alone, both))
    assert {name: t.shape for name, t in first.items()} == {name: t.shape for name, t in second.items()}
    assert all(torch.allclose(second[name], t, atol=2e-3) for name, t in first.items() if name.startswith("average/"))
    if shard:  # shares are whole on the disk, and go on as shares
        (both / "result.json").unlink()
        for gone in (both / "model", both / "checkpoints/step-000004"):
            shutil.rmtree(gone)
        together(both, data, options | {"shard": shard})
        again = load_file(both / "checkpoints/step-000004/state.safetensors")
        assert all(torch.allclose(again[name], t, atol=1e-5) for name, t in second.items())
    one, two = (open_checkpoint(folder / "model").network.state_dict() for folder in (alone, both))
    assert all(torch.allclose(two[name], t, atol=2e-3) for name, t in one.items())


def test_a_share_without_examples_asks_for_nothing() -> None:
    corpus, cpu = Stream(np.arange(100, dtype=np.int32), 8), torch.device("cpu")
    whole = corpus.batch(np.arange(3), 0)
    shares = [list(_shares(corpus, np.arange(3), 0, 2, World(rank, 2, cpu))) for rank in (0, 1)]
    for (rank, part), example in {(0, 0): 0, (0, 1): 1, (1, 0): 2}.items():
        assert torch.equal(shares[rank][part].tokens, whole.tokens[example : example + 1])
        assert torch.equal(shares[rank][part].targets, whole.targets[example : example + 1])
    empty = shares[1][1]
    assert torch.equal(empty.tokens, whole.tokens[:1])
    assert bool((empty.targets == IGNORE).all())

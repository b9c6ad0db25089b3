"""What the benchmarks tell: the best peer of a row, what is missing, and the other parts where one fails."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import __main__ as everything
from benchmarks.engines import MissingError, Remote, prompts
from benchmarks.report import beside, machine, table

LATE = {"slow": 4.0, "quick": 2.0}


@pytest.mark.parametrize(
    ("unit", "best", "ratio"), [("ms", "quick", 2.0), ("s", "quick", 2.0), ("tokens/s", "slow", 0.25)]
)
def test_ours_stands_beside_the_best_peer(unit: str, best: str, ratio: float) -> None:
    row = beside("a row", unit, 1.0, LATE, {})
    assert (row.peer_name, row.peer, row.ratio) == (best, LATE[best], ratio)


def test_missing_peers_are_named_in_the_row_and_the_table() -> None:
    some = beside("a row", "s", 1.0, LATE, {"absent": "not installed"})
    none = beside("another", "s", 1.0, {}, {"absent": "not installed"})
    assert some.peer_name == "quick (missing: absent)"
    assert (none.peer, none.ratio, none.peer_name) == (None, None, "missing: absent")
    rows = [vars(some), vars(none)]
    lines = table({"rows": rows, "missing": {"absent": "not installed"}, "machine": machine()}).splitlines()
    assert len({len(line) for line in lines[:4]}) == 1  # a table whose columns are aligned
    assert "not measured: absent (not installed)" in lines


def test_prompts_have_their_length_and_begin_differently() -> None:
    found = prompts([1, 2, 3], 7, 3)
    assert found == [[1, 2, 3, 1, 2, 3, 1], [2, 3, 1, 2, 3, 1, 2], [3, 1, 2, 3, 1, 2, 3]]


def test_an_engine_that_cannot_be_imported_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "absent_engine.py").write_text("def engine(name):\n    import no_such_engine\n")
    (tmp_path / "adding_engine.py").write_text(
        "def engine(name):\n    print('noise')\n    return Adder()\n\n\n"
        "class Adder:\n    def add(self, a, b):\n        print('noise')\n        return a + b\n"
    )
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MissingError, match="no_such_engine"):
        Remote("absent", "absent_engine")
    remote = Remote("adding", "adding_engine")
    try:
        assert remote.ask("add", 2, 3) == 5
        assert remote.peak_mb() > 1
    finally:
        remote.close()


def test_a_part_that_fails_or_is_missing_does_not_keep_the_others_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = ModuleType("benchmarks.good")
    good.measure = lambda: {"rows": [vars(beside("a row", "s", 1.0, LATE, {}))], "machine": machine()}
    good.table = table
    bad = ModuleType("benchmarks.bad")
    bad.measure = lambda: 1 / 0
    for module in (good, bad):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    parts = {name: lambda part: part.measure() for name in ("absent", "bad", "good")}
    monkeypatch.setattr(everything, "PARTS", parts)
    monkeypatch.setattr(everything, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(sys, "argv", ["benchmarks"])
    with pytest.raises(SystemExit) as ended:
        everything.main()
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "absent (No module named 'benchmarks.absent')" in out
    assert "bad (failed: division by zero)" in out
    assert "| a row |" in out
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["good"]["rows"][0]["peer_name"] == "quick"
    assert results["absent"]["rows"] == []


@pytest.mark.parametrize("name", list(everything.PARTS))
def test_every_part_finds_what_it_measures(name: str) -> None:
    assert callable(import_module(f"benchmarks.{name}").measure)


def test_what_training_is_measured_on_can_be_read(tmp_path: Path) -> None:
    from benchmarks import train

    for task in (train._translation(tmp_path), train._language()):
        batches = task.batches()
        assert len(batches) == train.STEPS + 1
        assert all(int((batch.targets != train.IGNORE).sum()) > 0 for batch in batches)


def test_the_accelerators_benchmark_runs_in_small_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import gpu

    def absent(bench: gpu.Bench, *given: object) -> float:
        raise ImportError("not here")

    monkeypatch.setattr(gpu, "RUNS", 1)
    monkeypatch.setattr(gpu.Bench, "_peer_training", absent)
    monkeypatch.setattr(gpu.Bench, "_peer_writing", lambda bench, prompts: 1.0)
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cpu", "--json"])
    gpu.main()
    result = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in result["rows"]] == [
        "write 1 behind 8", "write 4 behind 8", "read 32", "train GPT-2's shape"
    ]  # fmt: skip
    assert all(row["ours"] > 0 for row in result["rows"])
    assert [row["ratio"] is None for row in result["rows"]] == [False, False, False, True]
    assert result["missing"] == {"transformers, train GPT-2's shape": "ImportError: not here"}
    assert all(value == 0 for name, value in result.items() if name.startswith("from the CPU"))


def test_what_an_accelerator_gets_wrong_is_named() -> None:
    from benchmarks.gpu import faults

    assert faults({"logits, a": 1e-5, "tokens, a": 0.0, "8-bit logits, a": 1e-2}) == []
    assert faults({"logits, a": 1e-2, "tokens, a": 1.0, "loss, b": float("nan")}) == [
        "logits, a",
        "tokens, a",
        "loss, b",
    ]

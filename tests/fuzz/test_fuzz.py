"""The short form of `make fuzz`: spoilt files of every format give a result or one sentence, within their limits."""

from collections.abc import Iterator
from pathlib import Path

import fuzz_child
import fuzz_models
import fuzz_runner
import pytest
from fuzz_runner import FORMATS, Child, faults

FILES = 25
TEXTS = {"tokenizer", "tokenizer-config", "vocab", "merges", "gguf-tokens", "template"}
FEW = 12  # of those, which each start processes to be tried in
SEED = 1


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return fuzz_models.make(tmp_path_factory.mktemp("sound"))


def test_the_models_are_sound(models: list[Path]) -> None:
    """Else nothing behind the first refusal would be reached."""
    for folder in models:
        fuzz_child.use(folder)


@pytest.fixture(scope="module")
def child(models: list[Path]) -> Iterator[Child]:
    with Child(models[0]) as child:
        yield child


@pytest.mark.parametrize("name", FORMATS)
def test_spoilt_files_give_a_result_or_one_sentence(
    name: str, child: Child, models: list[Path], tmp_path: Path
) -> None:
    files = FEW if name in TEXTS else FILES
    found = [f"{name} {number}: {fault}" for number, fault in faults(child, models, name, SEED, files, tmp_path)]
    assert not found, "\n\n".join(found)


SCRIPT = """
import fuzz_child
fuzz_child.use = lambda path: exec(str(path))
fuzz_child.main()
"""
DEEDS = {
    "pass": "",
    "raise ValueError('x')": "ValueError: x",
    "bytearray(3 << 30)": "MemoryError",
    "import limelight; raise limelight.LimelightError('two\\nlines')": "not one sentence",
    "import limelight; raise limelight.LimelightError('one line')": "",
    "import os; os.abort()": "the process died with -6",
    "while True: pass": "no answer within",
    "import time; time.sleep(60)": "no answer within",
}


def test_every_kind_of_fault_is_noticed(models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "child.py").write_text(SCRIPT)
    with Child(models[0], tmp_path / "child.py") as child:
        for deed, fault in DEEDS.items():
            # By the clock only where nothing is computed: the machine may be busy.
            monkeypatch.setattr(fuzz_runner, "SECONDS", 1 if deed.startswith("while") else 10)
            monkeypatch.setattr(fuzz_runner, "PATIENCE", 1 if "sleep" in deed else 60)
            said = child.outcome(Path(deed))
            assert fault in said if fault else not said, deed

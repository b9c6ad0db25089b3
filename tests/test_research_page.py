"""The examples of docs/research.md, run in order; what they print is what the page shows."""

import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from limelight.checkpoints import wheel
from limelight.checkpoints.catalog import catalog

PAGE = Path(__file__).parents[1] / "docs" / "research.md"
EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```\n(.*?)```", re.DOTALL)
NUMBER = re.compile(r"[-−+]?\d+\.\d+(?:e-\d+)?")

pytestmark = pytest.mark.skipif(
    not wheel.path_of(catalog()["smollm2"]).is_file(), reason="smollm2 is not on this machine: limelight pull"
)


def examples() -> Iterator[tuple[str, str]]:
    """Each block of code and what it prints."""
    text = PAGE.read_text(encoding="utf-8")
    found = EXAMPLE.findall(text)
    assert len(found) == text.count("```python") > 5
    yield from found


def parted(printed: str) -> tuple[str, list[float]]:
    """The text without its fractions, and those."""
    numbers = [float(each.replace("−", "-")) for each in NUMBER.findall(printed)]
    return NUMBER.sub("#", printed), numbers


def test_the_page_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code, shown in examples():
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(code, str(PAGE), "exec"), names)
        (words, numbers), (expected, values) = parted(printed.getvalue()), parted(shown)
        assert words == expected
        assert numbers == pytest.approx(values, abs=0.015, rel=0.01)

"""The examples of the documentation, run in order; what they print is what the page shows."""

import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from limelight.checkpoints import wheel
from limelight.checkpoints.catalog import catalog

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```\n(.*?)```", re.DOTALL)
NUMBER = re.compile(r"[-−+]?\d+\.\d+(?:e-\d+)?")

pytestmark = pytest.mark.skipif(
    not wheel.path_of(catalog()["smollm2"]).is_file(), reason="smollm2 is not on this machine: limelight pull"
)


def examples(page: Path) -> Iterator[tuple[str, str]]:
    """Each block of code and what it prints."""
    text = page.read_text(encoding="utf-8")
    found = EXAMPLE.findall(text)
    assert len(found) == text.count("```python") >= 5
    yield from found


def parted(printed: str) -> tuple[str, list[float]]:
    """The text without its fractions, and those."""
    numbers = [float(each.replace("−", "-")) for each in NUMBER.findall(printed)]
    return NUMBER.sub("#", printed), numbers


@pytest.mark.parametrize("page", ["first-hour.md", "research.md"])
def test_a_page_prints_what_it_shows(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code, shown in examples(DOCS / page):
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(code, page, "exec"), names)
        (words, numbers), (expected, values) = parted(printed.getvalue()), parted(shown)
        assert words == expected
        assert numbers == pytest.approx(values, abs=0.015, rel=0.01)

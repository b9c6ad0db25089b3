"""The build hook: compiles where it can, says what was in the way where it cannot."""

import ctypes
import sys
import zlib
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
sys.path.insert(0, str(Path(__file__).parents[2]))

from hatch_build import build


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "small.cpp"
    path.write_text('#include <cstdint>\nextern "C" uint32_t limelight_source() { return SOURCE; }\n')
    return path


def test_a_library_carries_the_checksum_of_its_source(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    library = source.with_name("small.so")
    problem = build(source, library)
    if problem and problem.startswith("there is no C++ compiler"):
        pytest.skip(problem)
    assert problem is None
    checksum = ctypes.CDLL(str(library)).limelight_source
    checksum.restype = ctypes.c_uint32
    assert checksum() == zlib.crc32(source.read_bytes())
    assert sorted(path.name for path in source.parent.iterdir()) == ["small.cpp", "small.so"]


def test_no_compiler_is_said(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert build(source, source.with_name("small.so")) == "there is no C++ compiler (no-such-compiler)"


def test_a_failing_compiler_is_said_and_leaves_nothing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    source.write_text("this is not C++")
    library = source.with_name("small.so")
    assert build(source, library)
    assert not library.exists()

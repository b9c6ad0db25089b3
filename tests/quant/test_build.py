"""The build hook: compiles where it can, says what was in the way where it cannot."""

import ctypes
import os
import sys
import zlib
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
sys.path.insert(0, str(Path(__file__).parents[2]))

from hatch_build import build, built


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "native" / "small.cpp"
    path.parent.mkdir()
    path.write_text('#include <cstdint>\nextern "C" uint32_t limelight_source() { return SOURCE; }\n')
    return path


def test_a_library_carries_the_checksum_of_its_source(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    library = source.parents[1] / "small.so"
    problem = build(source, library)
    if problem and problem.startswith("there is no C++ compiler"):
        pytest.skip(problem)
    assert problem is None
    checksum = ctypes.CDLL(str(library)).limelight_source
    checksum.restype = ctypes.c_uint32
    assert checksum() == zlib.crc32(source.read_bytes())
    assert [path.name for path in source.parents[1].glob("small*")] == ["small.so"]


def test_a_library_is_built_again_only_when_it_has_to_be(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    library = source.parents[1] / "small.so"
    assert not built(source, library)
    if problem := build(source, library):
        pytest.skip(problem)
    assert built(source, library)
    monkeypatch.setenv("CXX", "another-compiler")
    assert not built(source, library)
    monkeypatch.delenv("CXX")
    os.utime(library, (0, 0))  # older than the hook, whose flags may have changed
    assert not built(source, library)
    os.utime(library)
    source.write_text(source.read_text() + "\n")
    assert not built(source, library)
    other = library.with_name("other.so")
    other.write_bytes(b"of another machine")
    assert not built(source, other)


def test_no_compiler_is_said(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert build(source, source.with_name("small.so")) == "there is no C++ compiler (no-such-compiler)"


def test_a_failing_compiler_is_said_and_leaves_nothing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    source.write_text("this is not C++")
    library = source.with_name("small.so")
    assert build(source, library)
    assert not library.exists()

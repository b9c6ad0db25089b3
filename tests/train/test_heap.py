"""What a training frees it takes again without asking the system, and afterwards all is as before."""

import ctypes
import sys
from types import SimpleNamespace

import pytest
import torch

from limelight.train.heap import kept

BYTES = 64 << 20

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="not under glibc"
)


def faults() -> int:
    """Pages that the system gave to this process so far."""
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def pages() -> int:
    """Those that it takes to fill a large tensor, which is then freed."""
    before = faults()
    torch.ones(BYTES, dtype=torch.uint8)
    return faults() - before


def test_freed_memory_stays_for_a_while() -> None:
    huge = BYTES // (2 << 20)  # of the largest pages that there may be
    assert pages() >= huge
    with kept():
        assert min(pages() for _ in range(5)) < huge / 2  # once there is a place that nothing small was put into
    assert pages() >= huge


def test_it_is_given_back_when_the_training_fails() -> None:
    @kept()
    def train() -> None:
        raise OverflowError

    with pytest.raises(OverflowError):
        train()
    assert pages() >= BYTES // (2 << 20)


def test_what_is_asked_of_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    libc = SimpleNamespace(mallopt=lambda *option: asked.append(option), malloc_trim=asked.append)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc if name is None else None)
    with kept():
        assert asked == [(-4, 0), (-1, -1)]  # no block of its own from the system, and none is given back
        asked.clear()
    assert asked == [(-4, 65536), (-3, 32 << 20), (-1, 64 << 20), 0]  # as glibc has them by itself, and gives back


@pytest.mark.parametrize("library", [OSError, TypeError, SimpleNamespace(), SimpleNamespace(mallopt=None)])
def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    def load(_: None) -> object:
        if isinstance(library, type):
            raise library
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)
    with kept():
        pass

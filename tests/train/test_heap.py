"""What a training frees it takes again without asking the system, and afterwards all is as before."""

import ctypes
import sys

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

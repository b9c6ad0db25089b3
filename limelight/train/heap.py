"""Memory that a training frees and takes again at every step."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # `mallopt(3)`
LARGEST = 32 << 20  # bytes; the most that glibc takes as MMAP_THRESHOLD, and comes to by itself


@contextmanager
def kept() -> Iterator[None]:
    """For a while freed memory stays with the process, under glibc.

    Else large blocks go back to the system at once, which hands them out again page by page, each filled with zeros:
    a step of a GPT of 30 million weights took half as long again. It costs a tenth to a third more memory.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except (AttributeError, OSError, TypeError):  # macOS, Windows, musl
        yield
        return
    mallopt(MMAP_MAX, 0)
    mallopt(TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        mallopt(MMAP_MAX, 65536)
        mallopt(MMAP_THRESHOLD, LARGEST)
        mallopt(TRIM_THRESHOLD, 2 * LARGEST)
        trim(0)

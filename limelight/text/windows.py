"""Texts that are longer than what is read at once."""

from collections.abc import Iterator


def windows(length: int, room: int, overlap: int) -> Iterator[range]:
    """Parts of a text of so many tokens: one if there is room for all, else windows of `room` that overlap."""
    start = 0
    while True:
        end = min(start + room, length)
        yield range(start, end)
        if end == length:
            return
        start = end - overlap

"""Sets a tenth of a folder of tunes aside: python prepare.py FOLDER OUT leaves train.abc and test.abc in OUT.

Which tunes those are follows from their notes alone (a hash of the steps of the first part), so that settings of one
tune in several keys or files are never on both sides.
"""

import hashlib
import sys
from itertools import pairwise
from pathlib import Path

from limelight.errors import RequestError
from limelight.music import abc
from limelight.train.data import lines

SHARE = 10
"""One in so many is set aside."""


def aside(text: str) -> bool:
    """Whether a tune is one to test on."""
    try:
        melody = abc.read(text).melody()[:16]
    except RequestError:
        return False  # of no use for either
    steps = repr([b - a for a, b in pairwise(melody)])
    return hashlib.sha256(steps.encode()).digest()[0] * SHARE < 256


def main(source: Path, out: Path) -> None:
    parts: dict[bool, list[str]] = {False: [], True: []}
    for path in sorted(source.glob("*.abc*")):
        for _, text in abc.tunes("\n".join(lines(path))):
            parts[aside(text)].append(text.strip())
    out.mkdir(parents=True, exist_ok=True)
    for name, found in (("train", parts[False]), ("test", parts[True])):
        (out / f"{name}.abc").write_text("\n\n".join(found) + "\n", encoding="utf-8")
        print(f"{name}: {len(found)} tunes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Shows that preparing a text takes no more memory for a larger one: `python tests/train/large_text.py 1000` (MB).

The peak counts pages of the mapped token file that were read, which the system takes back when it needs them.
"""

import random
import resource
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from limelight.train.batches import Batches, Position, Stream
from limelight.train.data import read_texts
from limelight.train.tokenfile import prepare_texts
from limelight.train.tokenizers import train_tokenizer


def generate(path: Path, megabytes: float) -> None:
    """A text of random words in lines."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(5000)]
    block = "".join(" ".join(draw.choices(words, k=12)) + "\n" for _ in range(5000))
    with path.open("w", encoding="utf-8") as file:
        for _ in range(max(1, round(megabytes * 1e6 / len(block)))):
            file.write(block)


def prepare(megabytes: float) -> tuple[int, int, int]:
    """Makes a text, prepares it and reads some batches: bytes of text, tokens, and how much the peak memory grew."""
    with tempfile.TemporaryDirectory() as name:
        text = Path(name) / "text.txt"
        generate(text, megabytes)
        tokenizer = train_tokenizer((piece for piece, _ in islice(read_texts([text]), 4)), "word", 6000, document=True)
        before = _peak()
        file = prepare_texts(read_texts([text]), tokenizer, Path(name) / "tokens", 2)
        corpus = Stream(file.tokens, 64)
        for _, indices in islice(Batches(corpus, 4096, 1).after(Position()), 20):
            corpus.batch(indices, 0)
        return text.stat().st_size, len(file.tokens), _peak() - before


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    began = time.perf_counter()
    size, tokens, grown = prepare(float(sys.argv[1]))
    took = time.perf_counter() - began
    print(f"{size / 1e6:.0f} MB, {tokens:,} tokens in {took:.0f} s; peak memory grew by {grown / 1e6:.0f} MB")

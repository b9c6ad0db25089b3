"""Multi30k as published results use it: Moses punctuation, lower case, Moses tokens.

python recipes/multi30k/prepare.py ../shared/data/multi30k runs/multi30k/data
"""

import gzip
import sys
from pathlib import Path

from sacremoses import MosesPunctNormalizer, MosesTokenizer

PARTS = ("train", "val", "test_2016_flickr")
LANGUAGES = ("en", "de")


def main(raw: Path, out: Path) -> None:
    """Reads PART.LANGUAGE.gz from `raw` and writes PART.LANGUAGE into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for language in LANGUAGES:
        normalizer, tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)
        for part in PARTS:
            with gzip.open(raw / f"{part}.{language}.gz", "rt", encoding="utf-8") as lines:
                cleaned = (normalizer.normalize(line.strip()).lower() for line in lines)
                done = [tokenizer.tokenize(line, return_str=True, escape=False) for line in cleaned]
            (out / f"{part}.{language}").write_text("".join(f"{line}\n" for line in done), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

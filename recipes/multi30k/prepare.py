"""Multi30k as published results use it: Moses punctuation, lower case, Moses tokens.

python recipes/multi30k/prepare.py ../shared/data/multi30k runs/multi30k/data de
"""

import gzip
import sys
from pathlib import Path

from sacremoses import MosesPunctNormalizer, MosesTokenizer

PARTS = ("train", "val", "test_2016_flickr")


def main(raw: Path, out: Path, to: str) -> None:
    """Reads PART.LANGUAGE.gz from `raw` for English and the language `to`, and writes PART.LANGUAGE into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    for language in ("en", to):
        normalizer, tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)
        for part in PARTS:
            with gzip.open(raw / f"{part}.{language}.gz", "rt", encoding="utf-8") as lines:
                cleaned = (normalizer.normalize(line.strip()).lower() for line in lines)
                done = [tokenizer.tokenize(line, return_str=True, escape=False) for line in cleaned]
            (out / f"{part}.{language}").write_text("".join(f"{line}\n" for line in done), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])

"""Texts with gaps: which tokens are to be guessed, and what stands in their places."""

from collections.abc import Iterator
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from limelight.text.tokenizer import Tokenizer
from limelight.text.windows import windows
from limelight.train.batches import IGNORE, Batch, padded
from limelight.train.tokenfile import Ints, TokenFile

LONGEST = 128  # tokens of a window, unless somebody says otherwise
SHARE = 0.15  # of a text's tokens that are to be guessed
MASKED, DRAWN = 0.8, 0.9  # up to where a number below 1 means the mask, and a token drawn at random; else it stays


def windowed(tokenizer: Tokenizer, text: str, longest: int) -> Iterator[tuple[list[int], int]]:
    """A text in windows of at most `longest` tokens, each between the model's marks, and how many tokens of each are no
    mark."""
    ids = tokenizer.encode(text).ids
    for part in windows(len(ids), longest - len(tokenizer.prefix) - len(tokenizer.suffix), 0):
        inside = ids[part.start : part.stop]
        words = sum(id not in tokenizer.controls for id in inside)
        yield [*tokenizer.prefix, *inside, *tokenizer.suffix], words


def chosen(ids: NDArray[np.int64], tokenizer: Tokenizer, draw: np.random.Generator) -> Ints:
    """The places in a text that are to be guessed, in their order: a share of those that are no mark of the model's,
    and at least one; none where all are."""
    places = np.flatnonzero(~np.isin(ids, list(tokenizer.controls)))
    return np.sort(draw.choice(places, wanted(len(places)), replace=False))


def wanted(tokens: int) -> int:
    """How many of so many tokens are to be guessed, as BERT's own data has it."""
    return min(tokens, max(1, round(SHARE * tokens)))


@final
class Gaps:
    """Texts for an encoder, in the frame of its marks, of which some tokens are to be guessed: others in each epoch. Of
    these 80 % are masked, 10 % are another token, and 10 % stay as they are (Devlin et al., 2019, section 3.1).

    file: tokens, and how many of them are no mark of the model's.
    """

    def __init__(self, file: TokenFile, tokenizer: Tokenizer, seed: int) -> None:
        assert tokenizer.mask is not None
        self.file, self.tokenizer, self.seed, self.mask = file, tokenizer, seed, tokenizer.mask
        self.words = np.setdiff1d(np.arange(tokenizer.vocab), list(tokenizer.controls))

    def __len__(self) -> int:
        return len(self.file) // 2

    def lengths(self, indices: Ints) -> tuple[Ints, Ints]:
        counts = [wanted(int(self.file[2 * int(i) + 1][0])) for i in indices]
        return self.file.lengths(2 * indices), np.array(counts, np.int64)

    def batch(self, indices: Ints, epoch: int) -> Batch:
        texts, targets = [], []
        for i in indices:
            ids = self.file[2 * int(i)].astype(np.int64)
            draw = np.random.default_rng((self.seed, epoch, int(i)))
            places = chosen(ids, self.tokenizer, draw)
            right = np.full_like(ids, IGNORE)
            right[places] = ids[places]
            kinds = draw.random(len(places))
            others = draw.choice(self.words, len(places))
            ids[places] = np.where(kinds < MASKED, self.mask, np.where(kinds < DRAWN, others, ids[places]))
            texts.append(tuple(ids.tolist()))
            targets.append(tuple(right.tolist()))
        lengths = torch.tensor([len(text) for text in texts])
        return Batch(padded(texts, self.tokenizer.pad or 0), padded(targets, IGNORE), None, lengths)

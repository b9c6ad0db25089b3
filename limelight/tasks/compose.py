"""To write music with a model that learned to: tunes whose key, metre and form are asked for, or chorales."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from limelight import given
from limelight.decode import Engine, Sampling
from limelight.errors import FileError, RequestError
from limelight.models.api import Decoder
from limelight.music import abc, bars, chorale
from limelight.music.copies import Windows
from limelight.music.tune import Tune
from limelight.tasks.pieces import Kind, Piece
from limelight.text.tokenizer import Tokenizer

ABOUT = "music.npz"
"""Beside a model's weights: what it writes, and the runs of notes that it must not copy."""

ROWS = 32  # pieces that are written together
APART = 2_654_435_761  # between the seeds of a piece's tries; torch takes the lower 32 bits
TRIES = 4  # until a piece has an end and keeps its key


@dataclass(frozen=True)
class About:
    """What a model writes, and hashes of the runs of notes in what it learned from, see `limelight.music.copies`."""

    kind: Kind
    windows: Windows

    def save(self, path: Path) -> None:
        """Writes the file."""
        np.savez(path, kind=np.array(self.kind), windows=self.windows)

    def of_tunes(self, name: str) -> None:
        """Raises RequestError for a model of chorales."""
        if self.kind != "tune":
            raise RequestError(f"{name} writes chorales; name a model of tunes")

    @staticmethod
    def of(path: Path) -> "About":
        """What stands beside a model. Raises RequestError for a model that did not learn to compose, FileError for a
        damaged file."""
        file = (path if path.is_dir() else path.parent) / ABOUT
        if not file.exists():
            raise RequestError(f"{path} did not learn to compose; train one with: limelight train compose")
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
                kind, windows = str(found["kind"]), found["windows"]
                if kind not in {"tune", "chorale"} or windows.dtype != np.uint64 or windows.ndim != 1:
                    raise ValueError("it holds something else")
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise FileError(f"{file} is damaged ({error}); copy it again from where the model was trained") from None
        return About("tune" if kind == "tune" else "chorale", windows)


@dataclass(frozen=True)
class Wish:
    """What is asked of a tune; what is empty or 0 is left to the model. key, metre, form: as ABC writes them, D, 6/8,
    AABB. bars: of each section. start: how it begins, in ABC. copies: whether it may copy more than 16 notes in a row
    from a tune that was learned from."""

    key: str = ""
    metre: str = ""
    form: str = ""
    bars: int = 0
    start: str = ""
    copies: bool = False


@final
class Written:
    """A piece by its tokens: text, as the model wrote it, and the piece that it is. ended: whether it has an end, or
    came to that of what the model reads."""

    def __init__(self, ids: Sequence[int], text: str, kind: Kind, *, ended: bool = True) -> None:
        self.ids = tuple(ids)
        self.ended = ended
        self.text = text
        self.kind = kind

    @cached_property
    def piece(self) -> Piece:
        """Raises RequestError if the text is none, or has no end."""
        if not self.ended:
            raise RequestError(f"in {TRIES} tries no end was found; ask for fewer bars or sections")
        return abc.read(self.text, abc.EIGHTH) if self.kind == "tune" else chorale.parse(self.text)

    def keeps(self, wish: Wish) -> bool:
        """Whether it can be read, and where a key was asked for, keeps it."""
        try:
            piece = self.piece
        except RequestError:
            return False
        return not wish.key or not isinstance(piece, Tune) or piece.keeps_key()


def compose(
    network: Decoder,
    tokenizer: Tokenizer,
    about: About,
    wishes: Sequence[Wish] = (Wish(),),
    sampling: Sampling = Sampling(temperature=1.0),  # noqa: B008 (frozen)
    *,
    free: bool = False,
    wrote: Callable[[int], None] | None = None,
) -> list[Written]:
    """A piece for each wish, of whole bars; with an end and in the key that was asked for by its notes, too (see
    `Tune.keeps_key`), if one is found in `TRIES` tries.

    free: only the header that was asked for is given, and what comes out may be no tune. wrote: told how many are done.
    With a seed, the n-th piece (from 0) is what `seed + n` gives alone. Raises RequestError for wishes that cannot be
    met.
    """
    made = [_constraints(about, wish, tokenizer, network, free) for wish in wishes]
    count = len(wishes)
    seed = sampling.seed if sampling.seed is not None else int(torch.randint(2**62, ()))
    front = tokenizer.prefix or (tokenizer.separator,)
    found: dict[int, Written] = {}
    waiting = [(number, 0) for number in range(count)]
    while waiting:
        engine = Engine(network, rows=min(ROWS, len(waiting)), chunk=512, keep=False)
        requests = [
            engine.submit(
                front,
                max_tokens=network.context - len(front),
                sampling=sampling,
                stop=tokenizer.eos,
                draft=None,
                generator=torch.Generator().manual_seed((seed + number + APART * trial) % (1 << 63)),
                constraint=made[number](),
            )
            for number, trial in waiting
        ]
        for step in engine.run():
            if wrote is not None and any(token.finish for token in step):
                wrote(count - len(waiting) + sum(request.finish is not None for request in requests))
        again = []
        for (number, trial), request in zip(waiting, requests, strict=True):
            if request.error is not None:
                raise request.error
            ids = [id for id in request.generated if id not in tokenizer.eos]
            written = Written(ids, tokenizer.decode(ids), about.kind, ended=request.finish == "stop")
            if written.ended or number not in found:  # the last that has an end, if none is as it was asked for
                found[number] = written
            if not free and not written.keeps(wishes[number]) and trial + 1 < TRIES:
                again.append((number, trial + 1))
        waiting = again
    return [found[number] for number in range(count)]


def _constraints(
    about: About, wish: Wish, tokenizer: Tokenizer, network: Decoder, free: bool
) -> Callable[[], "Lawful"]:
    """Makes what holds each piece to the wish. Raises RequestError for wishes that cannot be met."""
    spelled = [tokenizer.spell(id) if id < tokenizer.vocab else "" for id in range(network.vocab)]
    words = ["" if id in tokenizer.controls else text for id, text in enumerate(spelled)]
    if about.kind == "chorale":
        if wish != Wish(copies=wish.copies):
            raise RequestError("this model writes chorales; key, metre, form, bars and a start are asked of tunes")
        return lambda: Lawful(chorale.Rising(), words, tokenizer.eos)
    given.whole("bars", wish.bars, 0, bars.MOST)
    metre, key, form, text = wish.metre, wish.key, wish.form, ""
    if wish.start:
        start = abc.beginning(wish.start, metre, key)
        metre, key, text = start.metre, start.key, start.text
        form = form or _form(start.form)
    windows = None if wish.copies else about.windows

    def score() -> bars.Score:
        return bars.Score(metre, key, form, bars=wish.bars, start=text, windows=windows)

    score()
    for asked in (f"M:{metre}", f"K:{key}", text):
        if tokenizer.decode(tokenizer.encode(asked).ids) != asked:
            raise RequestError(f"the model never met all signs of {asked.strip()!r} where it learned; ask for another")
    if text:
        score().take(f"M:{metre}\nK:{key}\n% {form}\n{text}")
    if free:
        return lambda: Lawful(bars.Header(metre, key, form), words, tokenizer.eos)
    return lambda: Lawful(score(), words, tokenizer.eos)


def _form(begun: str) -> str:
    """A form that begins so, and has at least two sections."""
    letters = begun or "AA"
    twice = letters[-1:] == letters[-2:-1]
    return letters if len(set(letters)) > 1 else letters + ("BB" if twice else "B")


@final
class Lawful:
    """What may come next in a text that a `Score` follows, in tokens of any kind; see `limelight.decode.Constraint`."""

    def __init__(self, score: Any, words: Sequence[str], ends: frozenset[int]) -> None:
        self.score = score
        self.words = words
        self.ends = ends

    def mask(self) -> Tensor:
        """See `Constraint`."""
        mask = torch.tensor([self.score.fits(word) for word in self.words])
        if self.score.ends():
            mask[list(self.ends)] = True
        return mask

    def accept(self, token: int) -> None:
        """See `Constraint`."""
        if token not in self.ends:
            self.score.take(self.words[token])

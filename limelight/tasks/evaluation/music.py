"""How good a model of music is: what held-out pieces cost it, and what becomes of the pieces that it writes."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from limelight.decode import Sampling
from limelight.errors import LimelightError, RequestError
from limelight.models.api import Decoder
from limelight.music import copies
from limelight.music.tune import Tune
from limelight.tasks.compose import About, Wish, Written, compose
from limelight.tasks.pieces import Piece, texts
from limelight.text.tokenizer import Tokenizer
from limelight.train.batches import IGNORE, Batch, padded
from limelight.train.loss import Objective

ROWS = 16  # pieces that are read together


@dataclass(frozen=True)
class Cost:
    """What pieces cost. pieces: how many; units: of what was counted, in all; value: for each unit, in bits a character
    of tunes, in nats a step of chorales. left_out: pieces with characters that the model does not know, or too long."""

    pieces: int
    units: int
    value: float
    left_out: int


def cost(
    network: Decoder,
    tokenizer: Tokenizer,
    about: About,
    pieces: Sequence[Piece],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Cost:
    """What the pieces cost a model, exactly: all that it says of what comes next, in its own key.

    Of a tune all characters count, header and end included; of a chorale all notes and the ends of steps, but not where
    the piece ends, as for models of piano rolls, which say nothing of that. Raises RequestError if nothing is left.
    """
    mark = tokenizer.prefix[-1] if tokenizer.prefix else tokenizer.separator
    end = min(tokenizer.eos)
    tune = about.kind == "tune"
    known: list[tuple[int, list[int]]] = []
    for piece in pieces:
        text = next(texts(piece))
        ids = tokenizer.encode(text).ids
        if tokenizer.decode(ids) == text and len(ids) < network.context:
            known.append((len(text) if tune else len(piece), ids))  # type: ignore[arg-type]
    if not known:
        raise RequestError("the model knows none of these pieces' characters, or they are all too long for it")
    known.sort(key=lambda each: len(each[1]))
    objective = Objective(network, 0.0).eval()
    nats = 0.0
    for at in range(0, len(known), ROWS):
        rows = [tuple(ids) for _, ids in known[at : at + ROWS]]
        tokens = padded([(mark, *ids) for ids in rows], end)
        with torch.inference_mode():
            nats += float(
                objective(Batch(tokens, padded([(*ids, end if tune else IGNORE) for ids in rows], IGNORE)))[1]
            )
        progress(min(at + ROWS, len(known)), len(known))
    units = sum(size for size, _ in known)
    return Cost(len(known), units, nats / units / (math.log(2) if tune else 1), len(pieces) - len(known))


@dataclass(frozen=True)
class Kept:
    """What became of tunes that were written, in shares of all of them: parse: they can be read; bars: their bars add
    up; key, metre, form: they are in what was asked for, the key by their notes, see `Tune.keeps_key`. copied: the most
    notes in a row that each has from one training tune, sorted; empty if none were given."""

    tunes: int
    parse: float
    bars: float
    metre: float
    form: float
    key: float
    copied: tuple[int, ...]


def write(
    network: Decoder,
    tokenizer: Tokenizer,
    about: About,
    models: Sequence[Tune],
    count: int,
    sampling: Sampling,
    *,
    free: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[tuple[Wish, Written]]:
    """So many tunes, each in key, metre and form of one of the `models`, drawn by the sampling's seed.

    free: nothing is asked of their bars or notes; the header alone is given.
    """
    dice = random.Random(sampling.seed)
    wishes = []
    for _ in range(count):
        like = dice.choice(models)
        wishes.append(Wish(str(like.key), f"{like.metre[0]}/{like.metre[1]}", like.form))
    done = compose(network, tokenizer, about, wishes, sampling, free=free, wrote=lambda n: progress(n, count))
    return list(zip(wishes, done, strict=True))


def kept(written: Sequence[tuple[Wish, Written]], learned: Sequence[Tune] = ()) -> Kept:
    """Whether tunes are what was asked for. learned: the training tunes, from which they may have copied."""
    read: list[tuple[Wish, Tune]] = []
    for wish, each in written:
        try:
            piece = each.piece
        except LimelightError:
            continue
        if isinstance(piece, Tune):
            read.append((wish, piece))
    melodies = [tune.melody() for tune in learned]

    def share(right: Callable[[Wish, Tune], bool]) -> float:
        return sum(right(wish, tune) for wish, tune in read) / len(written)

    return Kept(
        len(written),
        len(read) / len(written),
        share(lambda wish, tune: tune.adds_up()),
        share(lambda wish, tune: "{}/{}".format(*tune.metre) == wish.metre),
        share(lambda wish, tune: tune.form == wish.form),
        share(lambda wish, tune: str(tune.key) == wish.key and tune.keeps_key()),
        tuple(sorted(copies.longest([tune.melody() for _, tune in read], melodies))) if melodies else (),
    )

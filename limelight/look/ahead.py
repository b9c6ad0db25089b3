"""The word that a model says next: its likeliest tokens, one after another, until the word is whole."""

from collections.abc import Sequence

import torch

from limelight.look.text import Reading
from limelight.models.api import Decoder
from limelight.text.stream import TextStream
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import Word

LONGEST = 16
"""Tokens after which a word is taken for whole."""

END = "(the end)"
"""What stands for the token by which a text ends."""


@torch.inference_mode()
def continued(network: Decoder, tokenizer: Tokenizer, reading: Reading) -> Reading:
    """The text with the next word behind it, as the last of its words, always the likeliest token being taken.

    White space in front of the word is part of it. Where the model would end the text, the word is `END`.
    """
    stream = TextStream(tokenizer, after=reading.tokens)
    state = network.start(1, len(reading.tokens) + LONGEST)
    ids: list[int] = []
    said, unseen, last = "", 0, list(reading.tokens)  # unseen: tokens at the end that have shown no text yet
    while len(ids) < LONGEST:
        id = int(network.step(torch.tensor([last], device=network.device), state, last=True)[0, -1].argmax())
        if id in tokenizer.controls:
            break
        piece = stream.push(id)
        if said.strip() and piece and not _joins(said, piece):
            ids = ids[: len(ids) - unseen]
            break
        ids.append(id)
        said, unseen, last = said + piece, 0 if piece else unseen + 1, [id]
    else:
        said += stream.close()
    if not said.strip():
        said, ids = ("", [id]) if not ids else (said, ids)
    return _with(reading, said, ids)


def _joins(said: str, piece: str) -> bool:
    """Whether a piece goes on with the word at the end of what was said."""
    return said[-1].isalnum() and piece[0].isalnum()


def _with(reading: Reading, said: str, ids: Sequence[int]) -> Reading:
    first = len(reading.tokens)
    start = len(reading.text) + len(said) - len(said.lstrip())
    shown = said.strip() or (said if said else END)
    word = Word(
        shown, min(start, len(reading.text) + len(said)), len(reading.text) + len(said), range(first, first + len(ids))
    )
    return Reading(reading.text + said, (*reading.tokens, *ids), (*reading.words, word), reading.spell)

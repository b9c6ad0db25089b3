"""The word that a model says next: its likeliest tokens, one after another, until the word is whole."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from limelight.look.text import Reading
from limelight.models.api import Decoder
from limelight.text.stream import TextStream
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import Word, pieces, words

LONGEST = 16
"""Tokens after which a word is taken for whole."""

CLOSE = 0.5
"""Natural logarithm of how many times likelier one token is than another, up to which a network in use, whose low-bit
products are rounded, may take the other for the likelier one."""

END = "(the end)"
"""What stands for the token by which a text ends."""


class _Said:
    """What is said behind a text, token by token. offsets: the characters of each id whose text is known."""

    def __init__(self, tokenizer: Tokenizer, after: Sequence[int]) -> None:
        self._spell = tokenizer.spell
        self._stream = TextStream(tokenizer, after=after)
        self.text = ""
        self.ids: list[int] = []
        self.offsets: list[tuple[int, int]] = []

    def push(self, id: int) -> None:
        piece, own = self._stream.push(id), self._spell(id)
        if own and piece.endswith(own):
            self._show(piece.removesuffix(own))  # held back by the tokens in front of it, as a run of bytes is
            piece = own
        self.ids.append(id)
        self._show(piece)

    def close(self) -> None:
        """Shows what is held back, and leaves out white space behind the last word."""
        self._show(self._stream.close())
        if self.text.strip():
            self.text = self.text.rstrip()
            self.offsets = [span for span in self.offsets if span[0] < len(self.text)]

    def _show(self, piece: str) -> None:
        """Adds a piece of text, the part of all tokens whose text was not known."""
        if piece:
            span = len(self.text), len(self.text) + len(piece)
            self.offsets += [span] * (len(self.ids) - len(self.offsets))
            self.text += piece

    @property
    def enough(self) -> bool:
        """Whether the first word is whole: "don" and "'" may still become "don't"."""
        return len(self.text.split()) > 1 or len(words(self.text, self.offsets)) > 2


@torch.inference_mode()
def continued(
    network: Decoder,
    tokenizer: Tokenizer,
    reading: Reading,
    tokens: bool = False,
    exact: Callable[[Sequence[int]], Tensor] | None = None,
) -> Reading:
    """The text with the next word behind it, as the last of its words, always the likeliest token being taken.

    White space in front of the word is part of the text. Where the model would end the text, the word is `END`.
    tokens: whether each token is a word, see `limelight.look.text.read`. exact: the logits [V] behind the text and some
    more tokens by the network by which the word will be looked at, if that is another one; where two tokens are close,
    it says which is likelier.
    """
    said = _Said(tokenizer, reading.tokens)
    most = min(LONGEST, network.context - len(reading.tokens))
    room = len(reading.tokens) + most
    state = network.start(1, room)
    last: Sequence[int] = reading.tokens
    while len(said.ids) < most and not said.enough:
        logits = network.step(torch.tensor([last], device=network.device), state, last=True)[0, -1]  # [V]
        first, second = logits.topk(2).values.tolist()
        if exact is not None and first - second < CLOSE:
            logits = exact(said.ids)
        id = int(logits.argmax())
        if id in tokenizer.controls:
            break
        said.push(id)
        last = [id]
    if not said.ids:
        return _with(reading, "", [id], Word(END, 0, 0, range(1)))
    said.close()
    found = (pieces if tokens else words)(said.text, said.offsets)
    word = found[0] if found else Word(said.text, 0, len(said.text), range(len(said.ids)))
    stop = word.tokens.stop
    end = max([word.end, *(span[1] for span in said.offsets[:stop])])
    return _with(reading, said.text[:end], said.ids[:stop], word)


def _with(reading: Reading, said: str, ids: Sequence[int], word: Word) -> Reading:
    """The text with `said`, in which a word stands, behind it."""
    at, first = len(reading.text), len(reading.tokens)
    place = range(first + word.tokens.start, first + word.tokens.stop)
    last = Word(word.text, at + word.start, at + word.end, place)
    return Reading(reading.text + said, (*reading.tokens, *ids), (*reading.words, last), reading.spell)

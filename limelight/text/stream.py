"""Tokens to text while they arrive, never showing half a character."""

import codecs
from collections.abc import Sequence
from typing import final

from limelight.text.tokenizer import Tokenizer

_KEEP = 8  # tokens of context; a character has at most 4 bytes, so its last 3 tokens are the most that can be open
_HALF = "\ufffd"  # what the decoder shows for bytes that are not a character (yet)


@final
class TextStream:
    """Turns ids into text piece by piece; all pieces together are `tokenizer.decode` of all ids.

    after: the tokens of a text that the pieces go on from, if there is one; then the text and all pieces together are
    `tokenizer.decode` of all of its ids and theirs. SentencePiece, Unigram and WordPiece write the space in front of a
    word only where something stands before it.

    Each piece costs the same however long the text is: only the last few tokens are decoded again, as context for
    leading spaces and for characters that are spread over tokens. Text is held back while it ends inside a character,
    and during a run of byte-fallback tokens, which the decoder judges as a whole. Where a text is the bytes of its
    tokens (`Tokenizer.byte_level`), nothing is decoded twice.
    """

    def __init__(self, tokenizer: Tokenizer, *, after: Sequence[int] = (), special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._window: list[int] = []
        self._shown = 0  # characters of the window's text that were given out
        if tokenizer.byte_level:  # what stands in front changes nothing
            after = ()
        self._before = [id for id in after if special or id not in tokenizer.controls][-_KEEP:]
        self._given = tokenizer.decode(self._before, special=special)
        self._bytes = codecs.getincrementaldecoder("utf-8")("replace") if tokenizer.byte_level else None

    def push(self, id: int) -> str:
        """The text that became certain with this token; often empty, sometimes several characters."""
        if id in self._tokenizer.controls and not self._special:
            return ""  # in the window it would push out context, and has no text
        if self._bytes is not None:
            return self._bytes.decode(self._tokenizer.written(id))
        self._window.append(id)
        if id in self._tokenizer.byte_pieces:
            return ""
        piece = self._rest(self._settled())
        if len(self._window) >= 2 * _KEEP:
            self._window = self._window[-_KEEP:]
            self._before, self._given = [], ""  # the window holds enough by now
            self._shown = len(self._settled())
        return piece

    def close(self) -> str:
        """What was held back: after the last token, half a character is shown as the decoder shows it."""
        if self._bytes is not None:
            return self._bytes.decode(b"", final=True)
        return self._rest(self._text())

    def _rest(self, text: str) -> str:
        piece = text[self._shown :]
        self._shown += len(piece)
        return piece

    def _settled(self) -> str:
        return self._text().removesuffix(_HALF)

    def _text(self) -> str:
        whole = self._tokenizer.decode([*self._before, *self._window], special=self._special)
        if whole.startswith(self._given):
            return whole[len(self._given) :]
        # Bytes behind bytes: together they are no characters. What was given stays as it was.
        return self._tokenizer.decode(self._window, special=self._special)

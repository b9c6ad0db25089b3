"""Tokens to words and back, by their places in the text.

A *word* is what a person sees: letters and digits with the marks on them. A contraction ("don't") and a decimal number
("3.14") are one word, a punctuation mark or a run of the same one ("...") is a word of its own, and so is a Chinese
character, a kana or an emoji. Words are never smaller than tokens: those that share a token become one.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from limelight import given
from limelight.errors import RequestError, suggestion

_JOINER = "\u200d"  # zero-width joiner: holds the parts of one emoji together
_APOSTROPHES = "'’"
_MANY = 40  # words listed in an error
_DIGITS = 10  # in the largest number that a word may have


@dataclass(frozen=True, slots=True)
class Word:
    """A word, its characters `[start, end)` in the text, and the tokens that it is made of."""

    text: str
    start: int
    end: int
    tokens: range


def words(text: str, offsets: Sequence[tuple[int, int]]) -> list[Word]:
    """The words of `text`, whose tokens stand at `offsets`, in order.

    Every token that stands for some text belongs to exactly one word. One that is only white space belongs to the
    word after it, or at the end of the text to the word before. Tokens with an empty offset, as special tokens have,
    belong to none (unless they stand in the middle of one). Text that no token covers is in no word.
    """
    pieces = list(_pieces(text))
    owner: dict[int, int] = {}  # visible character → piece
    for number, (start, end) in enumerate(pieces):
        owner.update(dict.fromkeys(range(start, end), number))

    found: list[tuple[int, int, int, int]] = []  # first and last piece, first and last token
    waiting: int | None = None  # the first of the white-space tokens since the last word
    last = -1
    for token, (start, end) in enumerate(offsets):
        if start >= end:
            continue
        last = token
        touched = [owner[at] for at in range(start, end) if at in owner]
        if not touched:
            waiting = token if waiting is None else waiting
            continue
        low, high, front = touched[0], touched[-1], token if waiting is None else waiting
        waiting = None
        while found and low <= found[-1][1]:  # shares a piece with the word before: one word
            low_before, high_before, front, _ = found.pop()
            low, high = min(low, low_before), max(high, high_before)
        found.append((low, high, front, token))

    if waiting is not None and found:
        low, high, front, _ = found.pop()
        found.append((low, high, front, last))
    elif waiting is not None:
        return [Word(text, 0, len(text), range(waiting, last + 1))]  # nothing but white space
    return [
        Word(text[pieces[low][0] : pieces[high][1]], pieces[low][0], pieces[high][1], range(front, back + 1))
        for low, high, front, back in found
    ]


def pieces(text: str, offsets: Sequence[tuple[int, int]]) -> list[Word]:
    """The tokens of `text` as if each were a word, without the white space in front of it.

    Tokens that share a character, as those of an emoji do, are one; one that is only white space belongs to the one
    after it, or at the end of the text to the one before.
    """
    found: list[Word] = []
    waiting: int | None = None
    for token, (start, end) in enumerate(offsets):
        start += len(text[start:end]) - len(text[start:end].lstrip())
        if start >= end:
            waiting = token if waiting is None else waiting
            continue
        front = token if waiting is None else waiting
        waiting = None
        if found and start < found[-1].end:
            before = found.pop()
            start, front = before.start, before.tokens.start
        end = start + len(text[start:end].rstrip())
        found.append(Word(text[start:end], start, end, range(front, token + 1)))
    if waiting is not None and found:
        last = found.pop()
        found.append(Word(last.text, last.start, last.end, range(last.tokens.start, len(offsets))))
    return found


def firsts(words: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """The first token of each word, words and tokens being given by their characters, both in order; None for a word
    without one."""
    found: list[int | None] = []
    at = 0
    for start, end in words:
        while at < len(offsets) and (offsets[at][1] <= start or offsets[at][0] >= offsets[at][1]):
            at += 1
        found.append(at if at < len(offsets) and offsets[at][0] < end else None)
    return found


def find(words: Sequence[Word], query: str | int, what: str = "word") -> int:
    """The place in `words`, from 0, of the word that a person asked for: by its number from 1, or by its text.

    A text that is no word may be a number, too ("8", but in a text with the word 8 it is that word). Exact case wins
    over any case, and of several equal words the last one, which has most before it that could matter. what: what an
    error calls them, "sentence", say. Raises RequestError listing the words if none fits.
    """
    if isinstance(query, str):
        asked = query.strip()
        for same in (str, str.casefold):
            for place in range(len(words) - 1, -1, -1):
                if same(words[place].text) == same(asked):
                    return place
        number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < _DIGITS else None
    elif isinstance(query, int) and not isinstance(query, bool):
        asked, number = "", query
    else:
        raise RequestError(f"{what} is {given.shown(query)}; it must be a {what} of the text, or its number from 1")
    if number is not None:
        if 1 <= number <= len(words):
            return number - 1
        raise RequestError(f"there is no {what} {number}: the {what}s are numbered 1 to {len(words)}{_listed(words)}")
    near = suggestion(asked, (word.text for word in words))
    raise RequestError(f"no {what} is {given.shown(query)}; the {what}s are{_listed(words)}{near}")


def _listed(words: Sequence[Word]) -> str:
    listed = ", ".join(f"{number} {word.text}" for number, word in enumerate(words[:_MANY], 1))
    return f": {listed}{', …' if len(words) > _MANY else ''}"


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Places of the words as the characters alone tell them, without white space."""
    start: int | None = None
    for at, character in enumerate(text):
        if character.isspace():
            if start is not None:
                yield start, at
            start = None
        elif start is None:
            start = at
        elif not _continues(text, start, at):
            yield start, at
            start = at
    if start is not None:
        yield start, len(text)


def _continues(text: str, start: int, at: int) -> bool:
    """Whether the character at `at` belongs to the word that began at `start` and reaches up to it."""
    character = text[at]
    if _extends(character) or text[at - 1] == _JOINER:
        return True
    base = _base(text, start, at - 1)
    before, after = text[base], text[at + 1 : at + 2]
    if _is_letter(character):
        within = base > start and _links(before, text[_base(text, start, base - 1)], character)
        return not _is_alone(character) and (within or (_is_letter(before) and not _is_alone(before)))
    if _links(character, before, after):
        return True
    if _is_flag(character):
        return _is_flag(before) and base == start
    return character == before and unicodedata.category(character) != "So"  # "..." is one word, two emoji are two


def _base(text: str, start: int, at: int) -> int:
    """The place of the character that `at` is or extends, within the word from `start`."""
    while at > start and _extends(text[at]):
        at -= 1
    return at


def _links(mark: str, before: str, after: str) -> bool:
    """An apostrophe between letters, a decimal mark between digits."""
    if mark in _APOSTROPHES:
        return before.isalpha() and after.isalpha()
    return mark in ".," and before.isdigit() and after.isdigit()


def _extends(character: str) -> bool:
    """Combining marks, joiners and other characters without a place of their own, and skin tones."""
    return unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf") or "\U0001f3fb" <= character <= "\U0001f3ff"


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"


def _is_alone(character: str) -> bool:
    """Scripts written without spaces, where a character is about a word: Chinese characters and kana."""
    return (
        "\u3040" <= character <= "\u30ff"
        or "\u3400" <= character <= "\u4dbf"
        or "\u4e00" <= character <= "\u9fff"
        or "\uf900" <= character <= "\ufaff"
        or "\U00020000" <= character <= "\U0003ffff"
    )


def _is_flag(character: str) -> bool:
    """Regional indicators: two of them are a flag."""
    return "\U0001f1e6" <= character <= "\U0001f1ff"

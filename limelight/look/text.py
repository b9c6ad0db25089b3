"""A text as a model sees it and as a person sees it: tokens, and words over them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from limelight import given
from limelight.errors import RequestError
from limelight.text.tokenizer import Tokenizer
from limelight.text.words import Word, pieces, words


@dataclass(frozen=True)
class Reading:
    """tokens: ids, the first of which may be no part of the text. words: `word.tokens` are places in `tokens`. spell:
    a token's text."""

    text: str
    tokens: tuple[int, ...]
    words: tuple[Word, ...]
    spell: Callable[[int], str]


def read(text: str, tokenizer: Tokenizer, front: Sequence[int], tokens: bool = False) -> Reading:
    """The text behind the tokens `front`. Raises RequestError if it has no words.

    tokens: whether each token that shows is a word of its own; a character that is several tokens stays one.
    """
    coded = tokenizer.encode(given.text("text", text))
    shift = len(front)
    cut = pieces if tokens else words
    found = tuple(
        Word(word.text, word.start, word.end, range(word.tokens.start + shift, word.tokens.stop + shift))
        for word in cut(text, coded.offsets)
        if word.text.strip()
    )
    if not found:
        raise RequestError("the text has no words to look at; give at least one")
    return Reading(text, (*front, *coded.ids), found, tokenizer.spell)


def known(ids: Sequence[int], tokenizer: Tokenizer, vocab: int) -> Sequence[int]:
    """`ids`, if a model of that vocabulary has a row for each. Raises RequestError naming the token that has none."""
    for id in ids:
        if id >= vocab:
            raise RequestError(
                f"the text has the token {tokenizer.token(id)!r} in it, which was added to the tokenizer and not to "
                "the model; leave it out"
            )
    return ids


def speller(tokenizer: Tokenizer) -> Callable[[int], str]:
    """What each token is in a text: nothing if it only steers the model, or if the tokenizer has none of that id."""
    return lambda token: "" if token in tokenizer.controls or token >= tokenizer.vocab else tokenizer.spell(token)


def sink_tokens(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens to stand in front of a text whose words are judged: the model's own document separator.

    Heads rest attention that they have no use for on the first position; with the separator there, the first word is
    judged for what it says and not for where it stands.
    """
    return tokenizer.prefix or (tokenizer.separator,)

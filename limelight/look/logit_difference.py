"""What comes behind a text: one answer rather than another, as the difference of their logits."""

from typing import TYPE_CHECKING

from limelight import given
from limelight.errors import RequestError
from limelight.look.question import NextWord
from limelight.look.text import known
from limelight.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from limelight.look.seen import Seen


def asked(
    tokenizer: Tokenizer, seen: "Seen", answer: str | None, foil: str | None, other: "Seen | None" = None
) -> NextWord:
    """Why `answer` rather than `foil` comes behind a text: the log-odds between them, the difference of their logits.

    Of a word of several tokens the first one is asked for. Without an answer it is the likeliest token; without a foil
    the likeliest one behind `other`, or the likeliest other one behind the text itself. Raises RequestError where the
    two are the same token.
    """
    said = _first(tokenizer, seen, answer, "answer") if answer is not None else _likeliest(seen, 1)[0]
    if foil is not None:
        rather = _first(tokenizer, seen, foil, "foil")
    elif other is not None:
        rather = _likeliest(other, 1)[0]
    else:
        rather = next(id for id in _likeliest(seen, 2) if id != said)
    if said == rather:
        spelled = seen.reading.spell(said)
        if answer is not None and foil is not None:
            raise RequestError(f"{given.shown(answer)} and {given.shown(foil)} begin with the same token, {spelled!r}")
        raise RequestError(f"both texts go on with {spelled!r}; name an answer and a foil")
    return NextWord((len(seen.ids) - 1,), (said,), rather)


def spelled(seen: "Seen", question: NextWord) -> tuple[str, str]:
    """The answer and the foil as text, white space as Python writes it where it is all there is."""
    assert question.foil is not None
    tokens = [seen.reading.spell(id) for id in (question.answer[0], question.foil)]
    first, second = (token.strip() or repr(token) for token in tokens)
    return first, second


def value(seen: "Seen", question: NextWord) -> float:
    """The question's value behind a text."""
    return float(question.value(seen.session.logits(slice(-1, None))[None])[0])


def _likeliest(seen: "Seen", n: int) -> list[int]:
    found: list[int] = seen.session.logits(slice(-1, None))[0].topk(n).indices.tolist()
    return found


def _first(tokenizer: Tokenizer, seen: "Seen", word: str, name: str) -> int:
    """The first token of a word that comes behind the text, with a space in front of it where it needs one."""
    if not given.text(name, word).strip():
        raise RequestError(f"{name} is an empty text; give a word that could come next")
    spaced = word if word[0].isspace() or not word[0].isalnum() or seen.text[-1:].isspace() else f" {word}"
    front, whole = (tokenizer.encode(text).ids for text in (seen.text, seen.text + spaced))
    if whole[: len(front)] != front or len(whole) == len(front):
        raise RequestError(
            f"{name} {given.shown(word)} becomes one token with the end of the text; end the text before it"
        )
    return known(whole[len(front) :], tokenizer, seen.session.network.vocab)[0]

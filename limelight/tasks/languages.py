"""The languages between which one model translates, by the codes that its tokenizer has as special tokens."""

import re
from collections.abc import Mapping

from limelight import given
from limelight.errors import RequestError, suggestion
from limelight.text.tokenizer import Tokenizer

_CODES = (
    re.compile(r"__([a-z]{2,3})__"),  # M2M-100
    re.compile(r"([a-z]{2,3}_[A-Z]{2})"),  # mBART
    re.compile(r"([a-z]{3}_[A-Z][a-z]{3})"),  # NLLB
    re.compile(r">>([^<>]+)<<"),  # Marian, of targets alone
)


def codes_of(tokenizer: Tokenizer) -> tuple[dict[str, int], bool]:
    """The languages that a tokenizer has codes for, by what people call them, and whether they are of targets alone."""
    for pattern in _CODES:
        spelled = ((pattern.fullmatch(tokenizer.token(id)), id) for id in sorted(tokenizer.controls))
        found = {match[1]: id for match, id in spelled if match}
        if len(found) > 1:
            return found, pattern is _CODES[-1]
    return {}, False


def code(name: str, language: str, codes: Mapping[str, int]) -> int:
    """The token of a language, called by its code or by what stands before the underscore if no other has the same.

    name: what the language is to the translation, for messages. Raises RequestError for one that the model does not
    know, with the nearest that it knows.
    """
    asked = given.text(name, language).strip("_<> ")
    starts = [each for each in sorted(codes) if each.partition("_")[0].lower() == asked.lower()]
    found = asked if asked in codes else starts[0] if len(starts) == 1 else None
    if found is None:
        heads = {each.partition("_")[0] for each in codes}
        near = f"; it has {', '.join(starts)}" if starts else suggestion(asked, codes) or suggestion(asked, heads)
        raise RequestError(
            f"{name} is {given.shown(language)}, which is none of the model's {len(codes)} languages{near}"
            + ("" if near else f"; they are {', '.join(sorted(codes)[:20])}{', …' * (len(codes) > 20)}")
        )
    return codes[found]

"""What a page draws of the inside of a network: what parts of it add to an answer, carry of it, or are needed for."""

from typing import Any, Literal

from limelight.errors import RequestError
from limelight.look import Seen
from limelight.look.grid import Grid
from limelight.look.inquiry import MORE
from limelight.look.session import Progress
from limelight.views.numbers import Numbers
from limelight.views.text import TextViews

Kind = Literal["adds", "needs", "carries", "brings"]
"""Direct logit attribution, ablation of heads, and patching of the stream or of heads: see docs/research.md."""

STRONGEST = 5
"""Numbers that are told in words."""

TOO_LONG = 60
"""Words beyond which patching takes too long to be waited for."""


def inside(
    views: TextViews,
    kind: Kind,
    word: int,
    foil: str | None = None,
    *,
    changed: int | None = None,
    instead: str | None = None,
    progress: Progress | None = None,
) -> Numbers:
    """Numbers by layer, and by head or word, of the answer that stands at `word` rather than `foil`.

    Patching compares with another text: `instead`, or the one in which another likely word stands in place of the word
    `changed`. values: [n][m]. Raises RequestError as the verbs do, and for a text that is too long.
    """
    seen, answer = views.before(word)
    if kind in ("adds", "needs"):
        attributed = kind == "adds"
        found: Grid = (
            seen.logit_attribution(answer, foil=foil)
            if attributed
            else seen.ablate(answer, foil=foil, progress=progress)
        )
        return _numbers(found, "log-odds", sign=1 if attributed else -1)
    if len(seen.words) > TOO_LONG:
        raise RequestError(f"the text has {len(seen.words)} words, and patching takes long; shorten it to {TOO_LONG}")
    part = "residual" if kind == "carries" else "heads"
    if instead is not None:
        other = views.other(instead)
        return _numbers(seen.patch_into(other, answer, foil=foil, part=part, progress=progress), "share", other.text)
    refused: RequestError | None = None
    for other in _others(seen, changed):
        try:
            return _numbers(
                seen.patch_into(other, answer, foil=foil, part=part, progress=progress), "share", other.text
            )
        except RequestError as error:  # of another number of tokens, or it makes no difference
            refused = error
    raise refused or RequestError("no other likely word makes a difference here; write another text to compare with")


def _others(seen: Seen, changed: int | None) -> list[Seen]:
    """The text with other likely words in place of one."""
    place = 0 if changed is None or changed >= len(seen.words) else changed
    span = seen.words[place].tokens
    likely = [tokens for tokens in seen.session.likely(span, 3 * MORE) if len(tokens) == len(span)]
    words = ["".join(seen.reading.spell(id) for id in tokens).strip() for tokens in likely]
    return [seen.replace(place + 1, word) for word in words if word]


def _numbers(found: Any, unit: str, other: str | None = None, sign: int = 1) -> Numbers:
    strongest = [
        {"layer": layer, "column": column, "value": sign * value} for layer, column, value in found.strongest(STRONGEST)
    ]
    return {
        "columns": list(found.columns),
        "values": (sign * found.values).tolist(),
        "strongest": strongest,
        "unit": unit,
        "answer": found.answer,
        "foil": found.foil,
        "other": other,
    }

"""An answer in plain words, the same for every kind of model: what was said, what it hangs on, whether that holds."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from limelight.look.answer import Importance

CERTAIN = 1e6
"""Times less likely beyond which no number is told."""


LONG = 60
"""Characters of a text in a sentence; of a longer one its beginning and its end stand there."""


def times(loss: float) -> float:
    """How many times less likely an answer is whose log-probability is lower by `loss`; below 1 it is likelier."""
    return math.exp(min(loss, 700.0))


def sentences(found: "Importance") -> list[str]:
    """What the model said, what it hangs on, and the check of that."""
    return [sentence for sentence in (expected(found), hangs(found), *checked(found)) if sentence]


def expected(found: "Importance") -> str:
    """What the model says, or what it would have said in place of a word that it did not choose."""
    if math.isnan(found.logprob):
        return ""
    chance = percent(math.exp(found.logprob))
    if found.rank is None or found.rank == 1:
        return f"The model says {quoted(found.target.text)} ({chance})."
    instead = f"expected {quoted(found.expected)}" if found.expected else "expected something else"
    return f"The model {instead}; {quoted(found.target.text)} is its no. {found.rank:,} ({chance})."


def hangs(found: "Importance") -> str:
    """The words that are named and what the answer loses without them."""
    said = quoted(found.target.text)
    if not found.named:
        return f"No few words decide: {said} hangs on all of the text a little."
    names = listed([quoted(found.words[place].word) for place in found.named])
    one = len(found.named) == 1
    if (loss := found.losses.get("replaced")) is not None:
        instead = "another likely word in its place" if one else "other likely words in their place"
        return f"It hangs most on {names}: with {instead} {lost(found, loss, 'at least ')}."
    return (
        f"It hangs most on {names}: without {'it' if one else 'them'} {lost(found, next(iter(found.losses.values())))}."
    )


def checked(found: "Importance") -> list[str]:
    """The check in a sentence, and another where the ways to take words away disagree."""
    told = []
    replaced, blocked = found.losses.get("replaced"), found.losses.get("blocked")
    if replaced is not None and blocked is not None and blocked <= replaced / 4:
        told.append(f"Hidden from all other words instead, {lost(found, blocked)}.")
    if (check := found.check) is None:
        return told
    if check.short:
        return [*told, "The text is too short to tell whether these stand out."]
    other = f"Of {'all ' if check.every else ''}{check.sets} other ways to delete as many"
    how = {0: "none lowers it as much", 1: "one lowers it as much"}.get(
        check.better, f"{check.better} lower it as much"
    )
    if check.holds:
        return [*told, f"{other}, {how}."]
    if check.loss <= check.least:
        return [*told, f"Deleted instead, {lost(found, check.loss)}: the ways to measure disagree here."]
    return [*told, f"{other}, {how}: the ways to measure disagree here."]


def lost(found: "Importance", loss: float, bound: str = "") -> str:
    """What an answer loses, as a clause."""
    said = quoted(found.target.text)
    if found.unit in ("score", "cosine"):
        name = "the score" if found.unit == "score" else "the similarity"
        return f"{name} {'falls' if loss >= 0 else 'rises'} by {bound if loss >= 0 else ''}{abs(loss):.2f}"
    beside = f" beside {quoted(found.foil)}" if found.foil else ""
    if abs(loss) <= 0.14:
        return f"{said} stays about as likely{beside}"
    return f"{said} is {bound if loss > 0 else ''}{folded(loss)} likely{beside}"


def folded(loss: float) -> str:
    """A loss as “30 times less” or “2 times more”."""
    fold = times(abs(loss))
    said = "more than a million" if fold > CERTAIN else f"{fold:,.0f}" if fold >= 10 else f"{fold:.1f}"
    return f"{said} times {'less' if loss >= 0 else 'more'}"


def percent(probability: float) -> str:
    """A probability as people read it."""
    hundred = 100 * probability
    if hundred < 0.01:
        return "less than 0.01 %"
    return f"{hundred:.0f} %" if hundred >= 10 else f"{hundred:.2g} %"


def quoted(text: str) -> str:
    """A word, or a longer text, as it stands in a sentence; white space alone by its escapes."""
    shown = text if text.strip() else text.encode("unicode_escape").decode()
    if len(shown) > LONG:
        shown = f"{shown[: LONG // 2].rstrip()} … {shown[-LONG // 2 :].lstrip()}"
    return f"“{' '.join(shown.split())}”"


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
